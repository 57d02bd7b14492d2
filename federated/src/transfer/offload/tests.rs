use super::*;
use crate::fixture::{Scene, blob, peer_id};
use relay_proto::messages;
use relay_proto::peer::Hello;
use relay_proto::peer_messages::message::Body;
use relay_proto::peer_messages::{Capacity, Offload};

const ROOM: Capacity = Capacity { free_bytes: 1000, accepting: true };

fn accepted(question: Body) -> Option<Body> {
    let Body::Offload(Offload { blobs, .. }) = question else { return None };
    Some(body::offload_ack(&vec![OfferResult::Accepted; blobs.len()], ROOM))
}

fn all_are(settle: &SettleRequest, said: messages::OfferResult) -> bool {
    settle.settlements.iter().all(|settlement| settlement.verdict() == said)
}

fn offloader(scene: &Scene, draining: bool) -> Offloader {
    Offloader {
        context: scene.context(Duration::from_millis(500)),
        ratios: Ratios { threshold: 0.8, refuse: 0.95 },
        draining: Arc::new(AtomicBool::new(draining)),
    }
}

fn full(scene: &Scene, live_bytes: u64) {
    let mut inside = scene.store.inside();
    inside.capacity.live_bytes = live_bytes;
    inside.own = (1..=4).map(blob).collect();
}

/// Lets the offloader work until a condition holds.
async fn work(scene: &Scene, draining: bool, what: &str, holds: impl FnMut(&crate::fixture::Inside) -> bool) {
    let shutdown = scene.shutdown.clone();
    tokio::select! {
        () = offloader(scene, draining).run(&shutdown) => {}
        () = scene.until(what, holds) => {}
    }
}

#[tokio::test]
async fn what_a_peer_took_is_settled_as_taken_and_the_room_it_has_left_is_noted() {
    let scene = Scene::set();
    full(&scene, 900);
    let _peer = scene.peer(1, accepted);
    work(&scene, false, "two settlements", |inside| inside.settled.len() == 2).await;
    let inside = scene.store.inside();
    for settle in &inside.settled {
        assert!(settle.peer == peer_id(1).as_bytes()[..] && !settle.home);
        assert!(all_are(settle, messages::OfferResult::Accepted));
    }
    let settled: Vec<_> = inside.settled.iter().flat_map(|settle| &settle.settlements).collect();
    assert_eq!(settled.len(), 4);
    assert!(inside.leases.iter().all(|lease| lease.max_bytes <= 100), "no more than is too much");
}

#[tokio::test]
async fn below_the_threshold_and_without_peers_nothing_is_leased() {
    let scene = Scene::set();
    full(&scene, 770);
    let peer = scene.peer(1, accepted);
    let shutdown = scene.shutdown.clone();
    let looked = async {
        while !scene.registry.own_capacity().accepting {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = offloader(&scene, false).run(&shutdown) => {}, () = looked => {} }
    drop(peer);
    full(&scene, 1000);
    let looked = async {
        while scene.registry.own_capacity().accepting {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = offloader(&scene, false).run(&shutdown) => {}, () = looked => {} }
    assert!(scene.store.inside().leases.is_empty());
}

#[tokio::test]
async fn a_peer_that_has_no_room_is_left_and_another_one_asked() {
    let scene = Scene::set();
    full(&scene, 900);
    let full_room = Capacity { free_bytes: 0, accepting: false };
    let _full = scene.peer(1, move |question| {
        let Body::Offload(Offload { blobs, .. }) = question else { return None };
        Some(body::offload_ack(&vec![OfferResult::NotNow; blobs.len()], full_room))
    });
    scene.registry.set_capacity(&peer_id(1), Capacity { free_bytes: 5000, accepting: true });
    let _other = scene.peer(2, accepted);
    work(&scene, false, "the other peer", |inside| {
        inside.settled.iter().any(|settle| settle.peer == peer_id(2).as_bytes()[..])
    })
    .await;
    let inside = scene.store.inside();
    let first = &inside.settled[0];
    assert!(first.peer == peer_id(1).as_bytes()[..] && all_are(first, messages::OfferResult::NotNow));
    assert!(!scene.registry.places().iter().any(|place| place.peer == peer_id(1)));
    assert!(scene.metrics.offloads_declined.get() >= 2);
}

#[tokio::test]
async fn what_was_offered_in_vain_is_settled_by_nothing_and_free_once_nothing_is_on_its_way() {
    let scene = Scene::set();
    full(&scene, 900);
    // As a conversation does that gives a question up: no answer to it comes.
    let _silent = scene.peer(1, |_| Some(body::DRAIN_ACK));
    work(&scene, false, "leases that are ended", |inside| inside.resumed > 0).await;
    let inside = scene.store.inside();
    assert!(!inside.leases.is_empty() && inside.settled.is_empty());
}

#[tokio::test]
async fn a_relay_that_is_emptied_gives_back_first_and_then_gives_away() {
    let scene = Scene::set();
    full(&scene, 10);
    scene.store.inside().held = vec![blob(9)];
    let _peer = scene.peer(1, accepted);
    work(&scene, true, "all of it", |inside| {
        inside.settled.iter().map(|settle| settle.settlements.len()).sum::<usize>() == 5
    })
    .await;
    assert!(!scene.registry.own_capacity().accepting, "it takes nothing");
    let homes: Vec<_> = scene.store.inside().settled.iter().map(|settle| settle.home).collect();
    assert_eq!(homes.iter().filter(|home| **home).count(), 1);
}

#[tokio::test]
async fn a_peer_is_offered_nothing_that_outlasts_the_time_for_which_it_keeps_mail() {
    let scene = Scene::set();
    full(&scene, 900);
    let (_brief, mut commands) =
        scene.registry.join(&Hello { keeps_secs: 7200, ..crate::registry::tests::hello(1) }).unwrap();
    let _silent = tokio::spawn(async move { while commands.recv().await.is_some() {} });
    work(&scene, true, "what is the peer's and what is this relay's own", |inside| inside.leases.len() >= 2)
        .await;
    let now = relay_daemon::Clock::system().now();
    for lease in &scene.store.inside().leases {
        let latest = (lease.latest_expiry > 0).then_some(lease.latest_expiry);
        assert_eq!(latest.is_none(), lease.home);
        assert!(latest.is_none_or(|latest| (now.get() + 3600..=now.get() + 3 * 3600).contains(&latest)));
    }
}

#[tokio::test]
async fn a_peer_that_nothing_can_be_offered_to_keeps_no_other_one_from_its_share() {
    let scene = Scene::set();
    full(&scene, 900);
    // Most room, and nothing in the store is for it.
    scene.store.inside().nothing_for = Some(peer_id(1));
    let (_roomy, _commands) = scene
        .registry
        .join(&Hello {
            capacity: Capacity { free_bytes: u64::MAX, accepting: true },
            ..crate::registry::tests::hello(1)
        })
        .unwrap();
    let _peer = scene.peer(2, accepted);
    work(&scene, false, "a settlement", |inside| !inside.settled.is_empty()).await;
    assert_eq!(scene.store.inside().settled[0].peer, peer_id(2).as_bytes()[..]);
}

#[tokio::test]
async fn where_its_own_mail_needs_the_room_a_relay_gives_back_first_and_takes_nothing_in() {
    let scene = Scene::set();
    full(&scene, 940);
    scene.store.inside().capacity.foreign_bytes = 300;
    scene.store.inside().held = vec![blob(9)];
    let _peer = scene.peer(1, accepted);
    work(&scene, false, "a settlement", |inside| !inside.settled.is_empty()).await;
    assert!(scene.store.inside().settled[0].home, "before its own");
    assert!(!scene.registry.own_capacity().accepting, "or it would come back");
    work(&scene, false, "its own mail, once nothing is left to give back", |inside| {
        inside.settled.iter().any(|settle| !settle.home)
    })
    .await;
}
