use super::*;
use crate::fixture::{Scene, blob};
use relay_proto::peer_messages::message::Body;

const PATIENCE: Duration = Duration::from_secs(5);

fn put(scene: &Scene, entries: u64) {
    scene.store.inside().outbox =
        (0..entries).map(|number| OutboxEntry { number, name: Some(blob(1).name().into()) }).collect();
}

#[tokio::test]
async fn a_peer_hears_of_all_deletions_in_messages_of_bounded_length() {
    let scene = Scene::set();
    put(&scene, 300);
    let _peer = scene.peer(1, |question| match question {
        Body::Forget(forget) if forget.names.len() <= MAX_CARRIED_BLOBS => Some(body::forget_ack(true)),
        other => panic!("{other:?}"),
    });
    let (context, shutdown) = (scene.context(PATIENCE), scene.shutdown.clone());
    tokio::select! {
        () = run(&context, &shutdown) => {}
        () = scene.until("an empty outbox", |inside| inside.outbox.is_empty()) => {}
    }
}

#[tokio::test]
async fn what_a_peer_does_not_confirm_stays_to_be_told() {
    let scene = Scene::set();
    put(&scene, 3);
    let (asked, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let _peer = scene.peer(1, move |_| {
        asked.send(()).unwrap();
        Some(body::forget_ack(false))
    });
    let (context, shutdown) = (scene.context(PATIENCE), scene.shutdown.clone());
    tokio::select! {
        () = run(&context, &shutdown) => {}
        () = async { heard.recv().await; heard.recv().await; } => {}
    }
    assert_eq!(scene.store.inside().outbox.len(), 3);
    assert_eq!(scene.metrics.deletions_sent.get(), 0);
}
