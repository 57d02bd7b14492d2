use super::*;
use crate::session::body;
use relay_daemon::ManualClock;
use relay_proto::{Signature, UnixSeconds};

pub(crate) fn hello(number: u8) -> Hello {
    Hello {
        version: 1,
        identity: id(number),
        signature: Signature::from_bytes([0; 64]),
        relay_id: "relay".to_owned(),
        client_url: String::new(),
        messages_per_minute: 300,
        capacity: Capacity { free_bytes: 1000, accepting: true },
        time: None,
        keeps_secs: 0,
        lists: true,
    }
}

pub(crate) fn id(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

pub(crate) fn roster(urls: &[&str], per_minute: u32) -> (Arc<Roster>, ManualClock) {
    let clock = ManualClock::at(UnixSeconds::new(1000));
    let metrics = Arc::new(Metrics::new().unwrap());
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    (Arc::new(Roster::new(urls, per_minute, clock.clock(), metrics)), clock)
}

#[test]
fn a_peer_is_there_while_it_has_a_connection() {
    let (roster, _) = roster(&[], 60);
    let (first, _a) = roster.join(&hello(1)).unwrap();
    let (second, _b) = roster.join(&hello(1)).unwrap();
    assert_eq!(roster.connected(), [id(1)]);
    assert_eq!(roster.metrics.peers_connected.get(), 1);
    drop(first);
    assert!(roster.answers(&id(1)) && !roster.places().is_empty());
    drop(second);
    assert!(!roster.answers(&id(1)) && roster.places().is_empty() && roster.connected().is_empty());
    assert_eq!(roster.metrics.peers_connected.get(), 0);
}

#[test]
fn connections_and_peers_are_bounded() {
    let (roster, _) = roster(&[], 60);
    let mut held: Vec<_> = (0..LINKS_EACH).map(|_| roster.join(&hello(1)).unwrap()).collect();
    assert_eq!(roster.join(&hello(1)).err(), Some(Crowded));
    held.pop();
    assert!(roster.join(&hello(1)).is_ok());
    for number in 0..MAX_PEERS {
        let mut identity = [9; 32];
        identity[..8].copy_from_slice(&(number as u64).to_be_bytes());
        drop(roster.join(&Hello { identity: PeerId::from_bytes(identity), ..hello(1) }));
    }
    assert_eq!(roster.join(&hello(200)).err(), Some(Crowded));
}

#[test]
fn a_peer_may_send_so_much_over_all_its_connections() {
    let (roster, clock) = roster(&[], 2);
    assert!(roster.admits(&id(1)) && roster.admits(&id(1)) && !roster.admits(&id(1)));
    assert!(roster.admits(&id(2)));
    clock.advance(Duration::from_secs(30));
    assert!(roster.admits(&id(1)) && !roster.admits(&id(1)));
}

#[test]
fn mail_goes_to_who_takes_it() {
    let (roster, _) = roster(&[], 60);
    let _links: Vec<_> = (1..=4).map(|number| roster.join(&hello(number)).unwrap()).collect();
    roster.set_room(&id(1), Capacity { free_bytes: 7, accepting: true });
    roster.set_room(&id(2), Capacity { free_bytes: 7, accepting: false });
    roster.leaves(&id(3));
    roster.set_room(&id(3), Capacity { free_bytes: 7, accepting: false });
    roster.is_full(&id(4));
    assert_eq!(roster.places(), [Place { peer: id(1), free_bytes: 7 }]);
    assert_eq!(roster.metrics.drain_notices.get(), 1);
    roster.set_room(&id(4), Capacity { free_bytes: 9, accepting: true });
    assert_eq!(roster.places().len(), 2);
    roster.set_room(&id(3), Capacity { free_bytes: 9, accepting: true });
    assert_eq!(roster.places().len(), 3, "it stays after all");
}

#[test]
fn a_peer_that_left_a_recall_unanswered_is_avoided_for_a_while() {
    let (roster, clock) = roster(&[], 60);
    let _link = roster.join(&hello(1)).unwrap();
    roster.recall_answered(&id(1), false);
    assert!(!roster.answers(&id(1)));
    assert_eq!(
        (roster.states()[0].link, roster.states()[0].trouble.as_str()),
        (i32::from(Link::Down), "does not answer")
    );
    clock.advance(AVOIDED);
    assert!(roster.answers(&id(1)));
    roster.recall_answered(&id(1), false);
    roster.recall_answered(&id(1), true);
    assert!(roster.answers(&id(1)));
}

#[test]
fn operators_see_configured_peers_first_and_why_they_are_not_there() {
    let (roster, _) = roster(&["ws://a", "ws://b"], 60);
    let (_near, _a) = roster.join(&hello(1)).unwrap();
    let (_far, _b) = roster.join(&hello(2)).unwrap();
    roster.dialled(1, Some(id(2)), false, "");
    let states = roster.states();
    let seen: Vec<_> = states
        .iter()
        .map(|state| (state.url.as_str(), state.identity.clone(), state.link, state.trouble.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("ws://a", Bytes::new(), Link::Down.into(), "not reached yet"),
            ("ws://b", id(2).into(), Link::Up.into(), ""),
            ("", id(1).into(), Link::Up.into(), ""),
        ]
    );
    roster.dialled(0, None, true, "its key has changed");
    assert_eq!(roster.states()[0].link, i32::from(Link::PinChanged));
    roster.count(&id(2), Counts { sent: 1, received: 2, recalled: 3 });
    let state = &roster.states()[1];
    assert_eq!((state.blobs_sent, state.blobs_received, state.blobs_recalled), (1, 2, 3));
}

#[tokio::test]
async fn questions_go_over_the_newest_connection_and_answers_come_back() {
    let (roster, _) = roster(&[], 60);
    let (_old, mut unused) = roster.join(&hello(1)).unwrap();
    let (_new, mut commands) = roster.join(&hello(1)).unwrap();
    let question = body::recall(Vec::new());
    let one = id(1);
    let (answer, ()) = tokio::join!(roster.ask(&one, question.clone(), Duration::from_secs(5)), async {
        match commands.recv().await.unwrap() {
            Command::Ask(asked, _, reply) => {
                assert_eq!(*asked, question);
                reply.send(Answer::Drain).unwrap();
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(answer, Ok(Answer::Drain));
    assert!(unused.try_recv().is_err());
    assert_eq!(roster.ask(&id(7), question, Duration::from_secs(5)).await, Err(Unanswered));
}

#[tokio::test]
async fn a_turn_of_taking_mail_is_told_at_once_and_other_changes_are_not() {
    let (roster, _) = roster(&[], 60);
    let (_link, mut commands) = roster.join(&hello(1)).unwrap();
    let room = |free_bytes, accepting| Capacity { free_bytes, accepting };
    roster.set_own_room(room(10, true));
    assert!(matches!(commands.try_recv(), Ok(Command::Tell(told)) if told == room(10, true)));
    roster.set_own_room(room(9, true));
    assert!(commands.try_recv().is_err());
    assert_eq!(roster.own_room(), room(9, true));
    roster.tell_all(room(8, true));
    assert!(matches!(commands.try_recv(), Ok(Command::Tell(told)) if told == room(8, true)));
}

#[test]
fn no_mail_moves_while_the_clocks_are_apart_and_what_a_peer_holds_is_asked_for_all_the_same() {
    let (roster, clock) = roster(&[], 60);
    let now = clock.clock().now();
    for (said, ahead) in [(None, None), (Some(now), Some(0)), (Some(now.plus(300)), Some(300))] {
        let (_joined, _commands) = roster.join(&Hello { time: said, ..hello(1) }).unwrap();
        assert!(roster.agrees_on_time(&id(1)) && roster.places().len() == 1, "{said:?}");
        assert_eq!((roster.states()[0].clock_ahead_secs, roster.states()[0].trouble.as_str()), (ahead, ""));
    }
    for (said, ahead) in [(now.plus(301), 301), (now.minus(301), -301)] {
        let (_joined, _commands) = roster.join(&Hello { time: Some(said), ..hello(1) }).unwrap();
        assert!(!roster.agrees_on_time(&id(1)) && roster.places().is_empty());
        assert!(roster.answers(&id(1)) && roster.connected() == [id(1)]);
        let state = roster.states().remove(0);
        assert_eq!(state.link, i32::from(Link::Up));
        assert_eq!((state.clock_ahead_secs, state.trouble.as_str()), (Some(ahead), CLOCKS_APART));
        assert_eq!(roster.metrics.clocks_apart.get(), 1);
        // This relay's own clock was the wrong one, and is set.
        clock.jump_to(said);
        assert!(roster.agrees_on_time(&id(1)) && roster.states()[0].trouble.is_empty());
        assert_eq!(roster.metrics.clocks_apart.get(), 0);
        clock.jump_to(now);
    }
}
