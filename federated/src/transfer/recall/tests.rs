use super::*;
use crate::fixture::{Scene, blob, peer_id};
use crate::session::Question;
use relay_proto::peer::Hops;
use relay_proto::peer_messages::message::Body;
use std::sync::atomic::{AtomicUsize, Ordering};

const SOON: Duration = Duration::from_secs(10);

fn recalls(scene: &Scene) -> Recalls {
    Recalls::new(scene.context(SOON))
}

fn wanted(numbers: &[u8]) -> Vec<(PeerId, BlobName)> {
    numbers.iter().map(|number| (peer_id(1), blob(*number).name())).collect()
}

fn offered(number: u8) -> OfferedBlob {
    OfferedBlob::new(blob(number), Hops::said(1))
}

fn names(question: Body) -> Vec<BlobName> {
    match Question::read(question) {
        Ok(Question::Recall(names)) => names,
        other => panic!("{other:?}"),
    }
}

/// An honest peer that holds some blobs.
fn holding(numbers: &'static [u8]) -> impl FnMut(Body) -> Option<Body> + Send + 'static {
    move |question| {
        let (mut blobs, mut missing) = (Vec::new(), Vec::new());
        for name in names(question) {
            match numbers.iter().find(|number| blob(**number).name() == name) {
                Some(number) => blobs.push(offered(*number)),
                None => missing.push(name),
            }
        }
        Some(body::recall_ack(blobs, missing))
    }
}

#[tokio::test]
async fn what_a_peer_holds_comes_and_what_it_lost_is_told_to_storage() {
    let scene = Scene::set();
    let _peer = scene.peer(1, holding(&[1, 2]));
    let (mut came, missing) = recalls(&scene).bring_within(wanted(&[1, 2, 3]), SOON).await;
    came.sort_by_key(|blob| blob.mailbox.as_bytes()[0]);
    assert_eq!((came, missing), (vec![blob(1), blob(2)], vec![blob(3).name()]));
    let inside = scene.store.inside();
    assert_eq!(inside.missing, [names_of(peer_id(1), vec![blob(3).name()])]);
    assert_eq!(scene.metrics.recalled.get(), 2);
}

#[tokio::test]
async fn nothing_comes_that_was_not_asked_for_or_is_not_what_it_says() {
    let scene = Scene::set();
    let _peer = scene.peer(1, |_| {
        let mut torn = offered(1);
        torn.blob.ciphertext = blob(2).ciphertext;
        let mut far = offered(1);
        far.hops = Hops::said(2);
        Some(body::recall_ack(vec![torn, far, offered(7)], vec![blob(7).name()]))
    });
    assert!(recalls(&scene).bring_within(wanted(&[1]), Duration::from_millis(200)).await.0.is_empty());
    assert!(scene.store.inside().missing.is_empty(), "a peer cannot lose what nobody asked for");
}

#[tokio::test]
async fn an_answer_in_parts_is_asked_for_again() {
    let scene = Scene::set();
    let _peer = scene.peer(1, |question| {
        let name = names(question)[0];
        let number = name.mailbox.as_bytes()[0];
        Some(body::recall_ack(vec![offered(number)], Vec::new()))
    });
    assert_eq!(recalls(&scene).bring_within(wanted(&[1, 2, 3]), SOON).await.0.len(), 3);
}

#[tokio::test]
async fn who_waits_for_the_same_blob_shares_it() {
    let scene = Scene::set();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let mut honest = holding(&[1]);
    let _peer = scene.peer(1, move |question| {
        counted.fetch_add(1, Ordering::Relaxed);
        honest(question)
    });
    let recalls = recalls(&scene);
    let mut waiting: Vec<_> = (0..50).filter_map(|_| recalls.0.queue(peer_id(1), blob(1).name())).collect();
    for arrival in waiting.drain(..) {
        assert_eq!(arrival.await, Ok(RecallArrival::Came(blob(1))));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one message does for all that wait");
}

#[tokio::test]
async fn a_silent_peer_costs_a_fetch_its_time_and_the_next_ones_none() {
    let scene = Scene::set();
    let _peer = scene.peer(1, |_| None);
    let recalls = recalls(&scene);
    assert!(recalls.bring_within(wanted(&[1]), Duration::from_millis(50)).await.0.is_empty());
    // It had its time, and is left alone for a while.
    scene.registry.recall_answered(&peer_id(1), false);
    assert!(recalls.bring_within(wanted(&[1]), Duration::MAX / 4).await.0.is_empty());
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_not_waited_for() {
    let scene = Scene::set();
    assert!(recalls(&scene).bring_within(wanted(&[1]), Duration::from_secs(3600)).await.0.is_empty());
    let peer = scene.peer(1, |_| None);
    let recalls = recalls(&scene);
    let bringing = recalls.bring_within(wanted(&[1]), Duration::from_secs(3600));
    let leaving = async {
        tokio::task::yield_now().await;
        drop(peer);
    };
    let (came, ()) = tokio::join!(bringing, leaving);
    assert!(came.0.is_empty());
}

#[tokio::test]
async fn an_empty_answer_is_not_asked_for_again() {
    let scene = Scene::set();
    let _peer = scene.peer(1, |_| Some(body::recall_ack(Vec::new(), Vec::new())));
    assert!(recalls(&scene).bring_within(wanted(&[1]), Duration::from_secs(3600)).await.0.is_empty());
}

#[tokio::test]
async fn names_that_wait_are_bounded() {
    let scene = Scene::set();
    let _peer = scene.peer(1, |_| None);
    let recalls = recalls(&scene);
    let waiting: Vec<_> =
        (0..2 * QUEUE).filter_map(|_| recalls.0.queue(peer_id(1), blob(1).name())).collect();
    assert!(waiting.len() <= QUEUE + AT_ONCE);
}

#[tokio::test]
async fn what_storage_does_not_take_as_lost_is_not_lost_yet() {
    let scene = Scene::set();
    scene.store.inside().is_away = true;
    let _peer = scene.peer(1, holding(&[]));
    let (came, missing) = recalls(&scene).bring_within(wanted(&[1]), SOON).await;
    assert!(came.is_empty() && missing.is_empty());
}

#[tokio::test]
async fn a_request_is_bounded_and_whole() {
    let scene = Scene::set();
    let recalls = recalls(&scene);
    let bring = async |wanted| {
        let request = Request::new(BringRequest { wanted, millis: 10 });
        replied(recalls_server::Recalls::bring(&recalls, request).await).map(|reply| reply.blobs.len())
    };
    let good = Wanted { peer: peer_id(1).into(), name: Some(blob(1).name().into()) };
    assert_eq!(bring(vec![good.clone(); MAX_MOVED_BLOBS]).await, Ok(0));
    assert_eq!(bring(vec![good.clone(); MAX_MOVED_BLOBS + 1]).await, Err(StorageError::invalid("wanted")));
    assert_eq!(bring(vec![Wanted { name: None, ..good.clone() }]).await, Err(StorageError::invalid("name")));
    let stranger = Wanted { peer: bytes::Bytes::from_static(&[1; 31]), ..good };
    assert_eq!(bring(vec![stranger]).await, Err(StorageError::invalid("peer")));
}
