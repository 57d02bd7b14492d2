use super::*;
use crate::fixture::{Scene, blob, peer_id};
use crate::link::channel::tests::pair;
use crate::link::stream::Priority;
use crate::registry::tests::hello;
use crate::session::body;
use relay_daemon::ManualClock;
use relay_proto::UnixSeconds;
use relay_proto::mail::BlobName;
use relay_proto::peer_messages::Capacity;
use relay_proto::transfer::Direction;
use tokio::io::DuplexStream;

const LONG: Duration = Duration::from_secs(10 * 3600);

/// One end of a channel, driven for the peer of that number.
fn end(
    scene: &Scene,
    channel: Channel<DuplexStream>,
    peer: u8,
    patience: Duration,
) -> Connection<DuplexStream> {
    let (joined, commands) = scene.registry.join(&hello(peer)).unwrap();
    Connection { channel, joined, commands, context: scene.context(patience), keys: Keys::Awaited }
}

/// The connection's context with this clock.
fn on(connection: &Connection<DuplexStream>, clock: &ManualClock) -> Arc<Context> {
    Arc::new(Context { clock: clock.clock(), ..Context::clone(&connection.context) })
}

async fn open_pair() -> [Channel<DuplexStream>; 2] {
    let [mut left, mut right] = pair().await;
    left.open();
    right.open();
    [left, right]
}

/// What comes next, signs of life aside.
async fn heard(channel: &mut Channel<DuplexStream>) -> Event {
    loop {
        match channel.next(true).await {
            Event::Alive => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn questions_cross_both_ways_and_are_answered_from_storage() {
    let [left, right] = open_pair().await;
    let (near, far) = (Scene::set(), Scene::set());
    far.store.inside().held = vec![blob(5)];
    near.store.inside().held = vec![blob(6)];
    tokio::spawn(end(&near, left, 2, LONG).run());
    tokio::spawn(end(&far, right, 1, LONG).run());
    let recall = |name: BlobName| body::recall(vec![name]);
    let (to_far, to_near) = (peer_id(2), peer_id(1));
    let (one, other) = tokio::join!(
        near.registry.ask(&to_far, recall(blob(5).name()), LONG),
        far.registry.ask(&to_near, recall(blob(6).name()), LONG),
    );
    for (answer, number) in [(one, 5), (other, 6)] {
        let Ok(Answer::Recall { blobs, missing }) = answer else { panic!("{answer:?}") };
        assert!(missing.is_empty() && blobs.into_iter().map(|found| found.blob).eq([blob(number)]));
    }
    let offered = vec![relay_proto::peer::OfferedBlob::new(blob(7), relay_proto::peer::Hops::said(1))];
    let offload = body::offload(Direction::ToHolder, offered);
    let answer = near.registry.ask(&to_far, offload, LONG).await;
    assert!(matches!(answer, Ok(Answer::Offload { .. })), "{answer:?}");
    assert_eq!((far.store.inside().accepted.len(), far.metrics.offloads_received.get()), (1, 1));
    assert_eq!(
        near.registry.ask(&to_far, body::forget(vec![blob(7).name()]), LONG).await,
        Ok(Answer::Forget { done: true })
    );
    assert_eq!(far.store.inside().forgotten.len(), 1);
    assert_eq!(near.registry.ask(&to_far, body::DRAIN, LONG).await, Ok(Answer::Drain));
    assert!(far.metrics.drain_notices.get() == 1 && far.registry.places().is_empty());
}

#[tokio::test]
async fn when_storage_is_away_peers_are_told_to_come_again() {
    let [left, right] = open_pair().await;
    let (near, far) = (Scene::set(), Scene::set());
    far.store.inside().is_away = true;
    tokio::spawn(end(&near, left, 2, LONG).run());
    tokio::spawn(end(&far, right, 1, LONG).run());
    let name = blob(5).name();
    let to_far = peer_id(2);
    let nothing = Answer::Recall { blobs: Vec::new(), missing: Vec::new() };
    assert_eq!(
        near.registry.ask(&to_far, body::recall(vec![name]), LONG).await,
        Ok(nothing),
        "and not: missing"
    );
    assert_eq!(
        near.registry.ask(&to_far, body::forget(vec![name]), LONG).await,
        Ok(Answer::Forget { done: false })
    );
    let offered = vec![relay_proto::peer::OfferedBlob::new(blob(7), relay_proto::peer::Hops::said(1))];
    let Ok(Answer::Offload { verdicts, .. }) =
        near.registry.ask(&to_far, body::offload(Direction::ToHolder, offered), LONG).await
    else {
        panic!("no verdict")
    };
    assert_eq!(verdicts, [relay_proto::transfer::OfferResult::NotNow]);
    assert_eq!(far.metrics.offloads_rejected.get(), 1);
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_is_told_and_left() {
    let greeting_again = peer::encode(&peer::notice(Body::Hello(hello(1).into())));
    for message in [b"\xff\xff\xff".to_vec(), greeting_again] {
        let [mut peer, channel] = open_pair().await;
        let scene = Scene::set();
        let driving = tokio::spawn(end(&scene, channel, 1, LONG).run());
        peer.push(message, Priority::Prompt, 0);
        assert_eq!(heard(&mut peer).await, Event::Closed(Reason::Broken));
        assert_eq!(driving.await.unwrap(), End::Broken);
        assert!(scene.registry.connected().is_empty());
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_one_that_answers_pings_is_not() {
    let [_silent, channel] = open_pair().await;
    let scene = Scene::set();
    let patience = Duration::from_millis(800);
    assert_eq!(end(&scene, channel, 1, patience).run().await, End::Lost);

    let [mut alive, channel] = open_pair().await;
    let driving = end(&scene, channel, 1, patience).run();
    let mut signs = 0;
    let living = async {
        while signs < 8 {
            alive.next(true).await;
            signs += 1;
        }
    };
    tokio::select! { end = driving => panic!("{end:?}"), () = living => {} }
}

#[tokio::test]
async fn a_peer_that_lives_and_answers_nothing_is_given_up() {
    let [mut peer, channel] = open_pair().await;
    let scene = Scene::set();
    let driving = tokio::spawn(end(&scene, channel, 1, LONG).run());
    let registry = Arc::clone(&scene.registry);
    let within = Duration::from_millis(300);
    let asking =
        tokio::spawn(async move { registry.offer(&peer_id(1), body::recall(Vec::new()), within).await });
    // The peer gives signs of life for as long as the connection stands.
    while peer.next(true).await != Event::Cut {}
    assert_eq!(driving.await.unwrap(), End::Lost);
    assert!(asking.await.unwrap().is_err());
}

#[tokio::test]
async fn a_connection_closes_once_what_was_asked_is_answered() {
    let [mut peer, channel] = open_pair().await;
    let scene = Scene::set();
    let driving = tokio::spawn(end(&scene, channel, 1, LONG).run());
    let registry = Arc::clone(&scene.registry);
    let asking = tokio::spawn(async move { registry.ask(&peer_id(1), body::recall(Vec::new()), LONG).await });
    let Event::Message(question) = heard(&mut peer).await else { panic!("no question") };
    scene.registry.close_all(Reason::Stopping).await;
    let request = peer::decode(question).unwrap().request;
    let answer = body::recall_ack(Vec::new(), Vec::new());
    peer.push(peer::encode(&peer::message(request, answer.clone())), Priority::Prompt, 0);
    assert_eq!(heard(&mut peer).await, Event::Closed(Reason::Stopping));
    assert_eq!(asking.await.unwrap().ok(), Answer::read(answer).ok());
    assert_eq!(driving.await.unwrap(), End::Closing);
}

#[tokio::test]
async fn room_is_told_and_heard_and_a_closed_channel_is_an_end() {
    let [mut peer, channel] = open_pair().await;
    let scene = Scene::set();
    let driving = tokio::spawn(end(&scene, channel, 1, LONG).run());
    let room = Capacity { free_bytes: 77, accepting: true };
    scene.registry.tell_all(room);
    let Event::Message(told) = heard(&mut peer).await else { panic!("no word") };
    assert_eq!(peer::decode(told).unwrap(), peer::notice(Body::Capacity(room)));
    peer.push(peer::encode(&peer::notice(Body::Capacity(room))), Priority::Prompt, 0);
    peer.close(Reason::TooMuch).await;
    assert_eq!(driving.await.unwrap(), End::Closed(Reason::TooMuch));
}

#[tokio::test]
async fn worn_keys_are_told_to_who_renews_them_and_end_the_channel_of_who_waits() {
    let clock = ManualClock::at(UnixSeconds::new(0));
    for renews in [true, false] {
        let [mut peer, channel] = open_pair().await;
        let scene = Scene::set();
        let mut connection = end(&scene, channel, 1, LONG);
        let worn = Arc::new(Notify::new());
        connection.context = on(&connection, &clock);
        if renews {
            connection.keys = Keys::Renewed(Arc::clone(&worn));
        }
        let driving = tokio::spawn(connection.run());
        // The loop has begun once it says something.
        scene.registry.tell_all(Capacity::default());
        assert!(matches!(heard(&mut peer).await, Event::Message(_)));
        clock.advance(KEYS_LAST);
        if renews {
            worn.notified().await;
            driving.abort();
        } else {
            clock.advance(KEYS_LAST);
            assert_eq!(heard(&mut peer).await, Event::Closed(Reason::Ended));
            assert_eq!(driving.await.unwrap(), End::Closing);
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_set_ends_the_connection_so_that_the_next_greeting_tells_the_time() {
    let [left, mut right] = open_pair().await;
    let scene = Scene::set();
    let clock = ManualClock::at(UnixSeconds::new(1_000_000));
    let mut connection = end(&scene, left, 2, LONG);
    connection.context = on(&connection, &clock);
    let driving = tokio::spawn(connection.run());
    // It begins before the clock is set.
    tokio::task::yield_now().await;
    clock.jump_to(UnixSeconds::new(1_000_100));
    assert!(matches!(heard(&mut right).await, Event::Closed(Reason::Ended)));
    assert_eq!(driving.await.unwrap(), End::Closing);
}
