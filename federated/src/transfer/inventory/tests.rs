use super::*;
use crate::fixture::{Scene, blob, peer_id};
use crate::session::Question;
use relay_proto::{BlobId, MailboxHash};
use std::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(20);

fn name(number: u8) -> BlobName {
    BlobName { mailbox: MailboxHash::from_bytes([number; 32]), blob_id: BlobId::from_bytes([number; 16]) }
}

/// A part without blobs.
fn part(until: Option<relay_proto::messages::BlobName>) -> Listing {
    Listing { ids: relay_proto::transfer::NameSum::default().ids(), until, ..Listing::default() }
}

/// What a walk asks for: the beginning of each part, and whether with names. `part` answers where it ends and whether
/// names are needed.
fn walked(mut part: impl FnMut(Option<BlobName>, bool) -> (Option<BlobName>, bool)) -> Vec<(u8, bool)> {
    let mut walk = Walk::default();
    let mut asked = Vec::new();
    loop {
        asked.push((walk.after.map_or(0, |name| name.blob_id.as_bytes()[0]), walk.names));
        let (until, needs_names) = part(walk.after, walk.names);
        if !walk.next(until, needs_names) || asked.len() > 20 {
            return asked;
        }
    }
}

#[test]
fn relays_that_agree_ask_for_no_names() {
    let parts = |after: Option<BlobName>, _| (after.is_none().then(|| name(5)), false);
    assert_eq!(walked(parts), [(0, false), (5, false)]);
}

#[test]
fn names_are_asked_for_where_a_part_differs_and_up_to_its_end() {
    // Parts of number and sum end with 6 and 12; parts of names are shorter by far.
    let parts = |after: Option<BlobName>, names: bool| {
        let after = after.map_or(0, |name| name.blob_id.as_bytes()[0]);
        match (after, names) {
            (0, false) => (Some(name(6)), true),
            (6, false) => (Some(name(12)), false),
            (_, false) => (None, false),
            (_, true) => (Some(name(after + 3)), false),
        }
    };
    assert_eq!(walked(parts), [(0, false), (0, true), (3, true), (6, false), (12, false)]);
    let all_differs = |after: Option<BlobName>, names: bool| match (after, names) {
        (None, false) => (None, true),
        (None, true) => (Some(name(9)), false),
        (Some(_), _) => (None, false),
    };
    assert_eq!(walked(all_differs), [(0, false), (0, true), (9, true)]);
}

#[test]
fn a_peer_whose_parts_go_in_circles_is_left() {
    assert_eq!(walked(|_, _| (Some(name(5)), false)).len(), 2);
    assert_eq!(walked(|_, _| (Some(name(5)), true)).len(), 4);
    let backwards =
        |after: Option<BlobName>, _| (Some(if after.is_none() { name(5) } else { name(4) }), false);
    assert_eq!(walked(backwards).len(), 2);
}

#[test]
fn a_round_begins_at_a_hello_and_every_ten_minutes_and_not_more_often() {
    let began = Instant::now();
    let last = Round { began, hello: 1 };
    assert!(is_due(None, 1, began));
    for (hello, seconds, due) in
        [(1, 0, false), (2, 0, false), (2, 59, false), (2, 60, true), (1, 599, false), (1, 600, true)]
    {
        assert_eq!(
            is_due(Some(&last), hello, began + Duration::from_secs(seconds)),
            due,
            "{hello} {seconds}"
        );
    }
}

#[tokio::test]
async fn what_a_peer_says_reaches_storage_part_by_part() {
    let scene = Scene::set();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let _peer = scene.peer(2, move |question| {
        let Ok(Question::Inventory { after, names }) = Question::read(question) else { return None };
        heard.lock().unwrap().push((after, names));
        let until = (after.is_none() && names).then(|| blob(1).name().into());
        Some(body::inventory_ack(Some(part(until))))
    });
    scene.store.inside().needs_names = true;
    let context = scene.context(PATIENCE);
    compare(&context, peer_id(2)).await;
    let first = Some(blob(1).name());
    assert_eq!(*asked.lock().unwrap(), [(None, false), (None, true), (first, true)]);
    let inside = scene.store.inside();
    let after = |part: &ReconcileRequest| part.after.clone().map(|name| BlobName::try_from(name).unwrap());
    let parts: Vec<_> = inside.reconciled.iter().map(|part| (after(part), part.names)).collect();
    assert_eq!(parts, [(None, false), (None, true), (first, true)]);
    assert!(inside.reconciled.iter().all(|part| part.peer == peer_id(2).as_bytes()[..]));
}

#[tokio::test]
async fn a_peer_that_does_not_look_or_a_store_that_does_not_answer_ends_the_round() {
    let scene = Scene::set();
    let context = scene.context(PATIENCE);
    let peer = scene.peer(2, |_| Some(body::inventory_ack(None)));
    compare(&context, peer_id(2)).await;
    assert!(scene.store.inside().reconciled.is_empty());
    drop(peer);
    compare(&context, peer_id(2)).await;
    let _peer = scene.peer(2, |_| Some(body::inventory_ack(Some(part(Some(name(3).into()))))));
    scene.store.inside().is_away = true;
    compare(&context, peer_id(2)).await;
    assert!(scene.store.inside().reconciled.is_empty());
}

#[tokio::test]
async fn only_peers_that_list_are_asked() {
    let scene = Scene::set();
    let _old = scene.older_peer(3);
    let _peer = scene.peer(2, |_| Some(body::inventory_ack(Some(part(None)))));
    let asked: Vec<PeerId> = scene.registry.listing().into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(asked, [peer_id(2)]);
    let context = scene.context(PATIENCE);
    let shutdown = scene.shutdown.clone();
    let running = tokio::spawn(async move { run(&context, &shutdown).await });
    scene.until("a part", |inside| !inside.reconciled.is_empty()).await;
    scene.shutdown.begin();
    running.await.unwrap();
}
