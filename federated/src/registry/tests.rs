use super::peer::CLOCKS_APART;
use super::*;
use crate::session::body;
use bytes::Bytes;
use relay_daemon::ManualClock;
use relay_proto::messages::Link;
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

pub(crate) fn registry(urls: &[&str], per_minute: u32) -> (Arc<PeerRegistry>, ManualClock) {
    let clock = ManualClock::at(UnixSeconds::new(1000));
    let metrics = Arc::new(Metrics::new().unwrap().0);
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    (Arc::new(PeerRegistry::new(urls, per_minute, clock.clock(), metrics)), clock)
}

#[test]
fn a_peer_is_there_while_it_has_a_connection() {
    let (registry, _) = registry(&[], 60);
    let (first, _a) = registry.join(&hello(1)).unwrap();
    let (second, _b) = registry.join(&hello(1)).unwrap();
    assert_eq!(registry.connected(), [id(1)]);
    assert_eq!(registry.metrics.peers_connected.get(), 1);
    drop(first);
    assert!(registry.answers(&id(1)) && !registry.places().is_empty());
    drop(second);
    assert!(!registry.answers(&id(1)) && registry.places().is_empty() && registry.connected().is_empty());
    assert_eq!(registry.metrics.peers_connected.get(), 0);
}

#[test]
fn connections_and_peers_are_bounded() {
    let (registry, _) = registry(&[], 60);
    let mut held: Vec<_> = (0..LINKS_EACH).map(|_| registry.join(&hello(1)).unwrap()).collect();
    assert_eq!(registry.join(&hello(1)).err(), Some(Crowded));
    held.pop();
    assert!(registry.join(&hello(1)).is_ok());
    for number in 0..MAX_PEERS {
        let mut identity = [9; 32];
        identity[..8].copy_from_slice(&(number as u64).to_be_bytes());
        drop(registry.join(&Hello { identity: PeerId::from_bytes(identity), ..hello(1) }));
    }
    assert_eq!(registry.join(&hello(200)).err(), Some(Crowded));
}

#[test]
fn a_peer_may_send_so_much_over_all_its_connections() {
    let (registry, clock) = registry(&[], 2);
    assert!(registry.admits(&id(1)) && registry.admits(&id(1)) && !registry.admits(&id(1)));
    assert!(registry.admits(&id(2)));
    clock.advance(Duration::from_secs(30));
    assert!(registry.admits(&id(1)) && !registry.admits(&id(1)));
}

#[test]
fn mail_goes_to_who_takes_it() {
    let (registry, _) = registry(&[], 60);
    let _links: Vec<_> = (1..=4).map(|number| registry.join(&hello(number)).unwrap()).collect();
    registry.set_capacity(&id(1), Capacity { free_bytes: 7, accepting: true });
    registry.set_capacity(&id(2), Capacity { free_bytes: 7, accepting: false });
    registry.leaves(&id(3));
    registry.set_capacity(&id(3), Capacity { free_bytes: 7, accepting: false });
    registry.is_full(&id(4));
    assert_eq!(registry.places(), [PeerCapacity { peer: id(1), free_bytes: 7 }]);
    assert_eq!(registry.metrics.drain_notices.get(), 1);
    registry.set_capacity(&id(4), Capacity { free_bytes: 9, accepting: true });
    assert_eq!(registry.places().len(), 2);
    registry.set_capacity(&id(3), Capacity { free_bytes: 9, accepting: true });
    assert_eq!(registry.places().len(), 3, "it stays after all");
}

#[test]
fn a_peer_that_left_a_recall_unanswered_is_avoided_for_a_while() {
    let (registry, clock) = registry(&[], 60);
    let _link = registry.join(&hello(1)).unwrap();
    registry.recall_answered(&id(1), false);
    assert!(!registry.answers(&id(1)));
    assert_eq!(
        (registry.states()[0].link, registry.states()[0].trouble.as_str()),
        (i32::from(Link::Down), "does not answer")
    );
    clock.advance(AVOIDED);
    assert!(registry.answers(&id(1)));
    registry.recall_answered(&id(1), false);
    registry.recall_answered(&id(1), true);
    assert!(registry.answers(&id(1)));
}

#[test]
fn operators_see_configured_peers_first_and_why_they_are_not_there() {
    let (registry, _) = registry(&["ws://a", "ws://b"], 60);
    let (_near, _a) = registry.join(&hello(1)).unwrap();
    let (_far, _b) = registry.join(&hello(2)).unwrap();
    registry.dialled(1, Some(id(2)), false, "");
    let states = registry.states();
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
    registry.dialled(0, None, true, "its key has changed");
    assert_eq!(registry.states()[0].link, i32::from(Link::PinChanged));
    registry.count(&id(2), Counts { sent: 1, received: 2, recalled: 3 });
    let state = &registry.states()[1];
    assert_eq!((state.blobs_sent, state.blobs_received, state.blobs_recalled), (1, 2, 3));
}

#[tokio::test]
async fn questions_go_over_the_newest_connection_and_answers_come_back() {
    let (registry, _) = registry(&[], 60);
    let (_old, mut unused) = registry.join(&hello(1)).unwrap();
    let (_new, mut commands) = registry.join(&hello(1)).unwrap();
    let question = body::recall(Vec::new());
    let one = id(1);
    let (answer, ()) = tokio::join!(registry.ask(&one, question.clone(), Duration::from_secs(5)), async {
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
    assert_eq!(registry.ask(&id(7), question, Duration::from_secs(5)).await, Err(Unanswered));
}

#[tokio::test]
async fn a_turn_of_taking_mail_is_told_at_once_and_other_changes_are_not() {
    let (registry, _) = registry(&[], 60);
    let (_link, mut commands) = registry.join(&hello(1)).unwrap();
    let room = |free_bytes, accepting| Capacity { free_bytes, accepting };
    registry.set_own_capacity(room(10, true));
    assert!(matches!(commands.try_recv(), Ok(Command::Tell(told)) if told == room(10, true)));
    registry.set_own_capacity(room(9, true));
    assert!(commands.try_recv().is_err());
    assert_eq!(registry.own_capacity(), room(9, true));
    registry.tell_all(room(8, true));
    assert!(matches!(commands.try_recv(), Ok(Command::Tell(told)) if told == room(8, true)));
}

#[test]
fn no_mail_moves_while_the_clocks_are_apart_and_what_a_peer_holds_is_asked_for_all_the_same() {
    let (registry, clock) = registry(&[], 60);
    let now = clock.clock().now();
    for (said, ahead) in [(None, None), (Some(now), Some(0)), (Some(now.plus(300)), Some(300))] {
        let (_joined, _commands) = registry.join(&Hello { time: said, ..hello(1) }).unwrap();
        assert!(registry.agrees_on_time(&id(1)) && registry.places().len() == 1, "{said:?}");
        assert_eq!(
            (registry.states()[0].clock_ahead_secs, registry.states()[0].trouble.as_str()),
            (ahead, "")
        );
    }
    for (said, ahead) in [(now.plus(301), 301), (now.minus(301), -301)] {
        let (_joined, _commands) = registry.join(&Hello { time: Some(said), ..hello(1) }).unwrap();
        assert!(!registry.agrees_on_time(&id(1)) && registry.places().is_empty());
        assert!(registry.answers(&id(1)) && registry.connected() == [id(1)]);
        let state = registry.states().remove(0);
        assert_eq!(state.link, i32::from(Link::Up));
        assert_eq!((state.clock_ahead_secs, state.trouble.as_str()), (Some(ahead), CLOCKS_APART));
        assert_eq!(registry.metrics.clocks_apart.get(), 1);
        // This relay's own clock was the wrong one, and is set.
        clock.jump_to(said);
        assert!(registry.agrees_on_time(&id(1)) && registry.states()[0].trouble.is_empty());
        assert_eq!(registry.metrics.clocks_apart.get(), 0);
        clock.jump_to(now);
    }
}
