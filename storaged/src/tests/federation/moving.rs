//! The two phases of a move, and what may come between them.

use crate::tests::federation::*;

#[tokio::test]
async fn a_blob_that_moved_is_at_the_peer_and_hinted_at_here() {
    let (origin, peer) = moved_pair().await;
    let page = origin.page(&[mailbox(1)]).await.unwrap();
    assert!(page.blobs.is_empty() && !page.truncated);
    assert_eq!(page.moved.len(), 1);
    let blob = &page.moved[0];
    let id = Bytes::from(name(mailbox(1), b"one").blob_id);
    assert_eq!((&blob.blob_id, &blob.peer), (&id, &Bytes::from(B)));
    assert_eq!(blob.created_at, START.hour_floor().get());
    assert!(peer.holds_for(A, name(mailbox(1), b"one")).await);
    assert_eq!(peer.fetch(mailbox(1)).await, [b"one"], "a client that follows the hint finds it");
    assert_eq!((origin.store.gauges.of(Total::BLOBS), origin.store.gauges.of(Total::HINTS)), (0, 1));
    assert_eq!((peer.store.gauges.of(Total::BLOBS), peer.store.gauges.of(Total::HELD)), (1, 1));
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn everything_about_a_blob_travels_with_it() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    origin.register(&[1], Some(&key(1))).await.unwrap();
    let hint = relay_proto::OriginHint::try_from(Bytes::from(vec![7; 74])).unwrap();
    let sent = messages::Send { origin_hint: Some(hint.as_bytes().clone()), ..blob(mailbox(1), b"one") };
    origin.send_blob(sent).await.unwrap();
    origin.clock.advance(5 * HOUR);
    peer.clock.advance(5 * HOUR);
    let before = origin.lease(B, false, 1).await.remove(0);
    assert_eq!(before.owner, Some(public(&key(1)).owner()));
    assert_eq!(before.origin_hint, Some(hint));
    assert_eq!(before.created_at, START.hour_floor());
    assert_eq!(peer.accept_one(A, before.clone()).await, OfferResult::Accepted);
    let after = peer.find(A, before.name()).await;
    assert_eq!(after, before, "and comes back as it went");
}

#[tokio::test]
async fn an_offered_blob_is_served_until_the_peer_has_it() {
    let (origin, _) = pair().await;
    let blobs = origin.lease(B, false, 10).await;
    assert_eq!(contents(&blobs), [b"one"]);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    assert!(origin.lease(B, false, 10).await.is_empty(), "nobody else gets it meanwhile");
    assert!(origin.lease(C, false, 10).await.is_empty());
}

#[tokio::test]
async fn an_offer_without_an_answer_is_made_again_when_its_time_is_over() {
    let (origin, peer) = pair().await;
    let lost = origin.lease(B, false, 10).await;
    peer.accept(A, false, lost).await;
    origin.clock.advance(Duration::from_secs(LEASE_SECS.into()));
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1, "the peer keeps it once and says so");
    assert_eq!((peer.store.gauges.of(Total::BLOBS), origin.store.gauges.of(Total::BLOBS)), (1, 0));
    peer.recount();
}

#[tokio::test]
async fn what_an_earlier_life_of_federation_offered_is_offered_again_at_once() {
    let (origin, _) = pair().await;
    origin.lease(B, false, 10).await;
    origin.resume().await;
    assert_eq!(contents(&origin.lease(C, false, 10).await), [b"one"]);
}

#[tokio::test]
async fn an_offer_and_a_hint_outlive_a_restart_of_storage() {
    let (origin, peer) = pair().await;
    let blobs = origin.lease(B, false, 10).await;
    let origin = origin.restart(&[]).await;
    assert!(origin.lease(C, false, 10).await.is_empty(), "it is still on offer");
    let verdicts = peer.accept(A, false, blobs.clone()).await;
    assert_eq!(origin.settle(B, false, &blobs, verdicts[0]).await, 1);
    let (origin, peer) = (origin.restart(&[]).await, peer.restart(&[]).await);
    assert_eq!(origin.page(&[mailbox(1)]).await.unwrap().moved.len(), 1);
    assert!(peer.holds_for(A, blobs[0].name()).await);
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn the_oldest_go_first_and_no_more_than_asked_for() {
    let relay = Relay::start(&[]);
    for content in [b"one", b"two", b"six"] {
        relay.send(mailbox(1), content).await.unwrap();
        relay.clock.advance(HOUR);
    }
    assert_eq!(contents(&relay.lease(B, false, 2).await), [b"one", b"two"]);
    assert_eq!(contents(&relay.lease(B, false, 2).await), [b"six"]);
    assert!(relay.lease(B, false, 0).await.is_empty());
}

#[tokio::test]
async fn an_offer_holds_as_many_bytes_as_asked_for_or_one_blob() {
    let relay = Relay::start(&[]);
    for number in 0..4 {
        relay.send(mailbox(number), &[number; 1000]).await.unwrap();
    }
    let lease = |max_bytes| relay.leased(LeaseRequest { max_blobs: 9, max_bytes, ..all_of(B) });
    assert_eq!(lease(10).await.unwrap().len(), 1);
    assert_eq!(lease(2000).await.unwrap().len(), 2);
    assert_eq!(lease(2000).await.unwrap().len(), 1, "what did not fit comes next");
}

#[tokio::test]
async fn what_has_expired_is_not_offered() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "3600")]);
    relay.send(mailbox(1), b"one").await.unwrap();
    relay.clock.advance(2 * HOUR);
    assert!(relay.lease(B, false, 10).await.is_empty());
}

#[tokio::test]
async fn a_damaged_blob_is_not_offered() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), b"one").await.unwrap();
    relay.sql().execute("UPDATE blobs SET ciphertext = x'00'", []).unwrap();
    assert!(relay.lease(B, false, 10).await.is_empty());
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1);
}

#[tokio::test]
async fn memory_gives_nothing_away_and_takes_nothing() {
    let relay = Relay::start(&[("RELAY_STORAGE_BACKEND", "memory")]);
    relay.send(mailbox(1), b"one").await.unwrap();
    assert!(relay.lease(B, false, 10).await.is_empty());
    let blob = carried(mailbox(2), b"two", START.plus(7200));
    assert_eq!(relay.accept(A, false, vec![blob.clone()]).await, [OfferResult::NotNow]);
    assert_eq!(relay.accept(A, true, vec![blob]).await, [OfferResult::NotNow]);
}

#[tokio::test]
async fn a_move_takes_nothing_from_what_is_promised_about_repetitions() {
    let (origin, peer) = moved_pair().await;
    let id = name(mailbox(1), b"one").blob_id;
    assert_eq!(origin.send(mailbox(1), b"one").await, Ok(id), "a repetition stores nothing");
    assert_eq!(origin.store.gauges.of(Total::BLOBS), 0);
    assert_eq!(origin.ack(mailbox(1), id).await, Ok(true));
    assert_eq!(origin.ack(mailbox(1), id).await, Ok(false));
    assert_eq!(origin.send(mailbox(1), b"one").await, Ok(id), "nor does one of what was acked");
    assert_eq!(origin.store.gauges.of(Total::BLOBS), 0);
    assert_eq!(origin.metrics.blobs_acked.get(), 1);
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 1);
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
    origin.clock.advance(4 * DAY);
    peer.clock.advance(4 * DAY);
    assert_eq!(origin.send(mailbox(1), b"one").await, Ok(id));
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"], "after three days it counts as new");
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1, "for the peer too");
}

#[tokio::test]
async fn a_peer_is_offered_only_what_it_would_keep_to_its_end() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "86400")]);
    relay.send(mailbox(1), b"old").await.unwrap();
    relay.clock.advance(22 * HOUR);
    relay.send(mailbox(1), b"new").await.unwrap();
    relay.accept_one(B, carried(mailbox(2), b"theirs", START.plus(86_400 + 20 * 3600))).await;
    let lease = async |peer, home, latest_expiry: Option<UnixSeconds>| {
        let latest_expiry = latest_expiry.map_or(0, UnixSeconds::get);
        relay.leased(LeaseRequest { home, max_blobs: 9, latest_expiry, ..all_of(peer) }).await.unwrap()
    };
    let now = START.plus(22 * 3600);
    let fits = relay_proto::Ttl::from_secs(4 * 3600).expiry(now);
    assert!(lease(C, false, Some(now.plus(3600))).await.is_empty());
    let offered = lease(C, false, Some(fits)).await;
    assert_eq!(contents(&offered), [b"old"]);
    relay.settle(C, false, &offered, OfferResult::NotNow).await;
    // What came to nothing is not offered past that either.
    assert!(lease(B, false, Some(now.plus(3600))).await.is_empty());
    assert_eq!(lease(B, false, Some(UnixSeconds::new(u64::MAX))).await.len(), 2);
    assert_eq!(lease(B, true, None).await.len(), 1);
}

#[tokio::test]
async fn what_outlasts_the_time_of_every_peer_is_counted() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "86400")]);
    for number in 0..3 {
        relay.send(mailbox(number), b"own").await.unwrap();
    }
    relay.accept_one(B, carried(mailbox(9), b"theirs", START.plus(86_400))).await;
    let count = |latest| crate::db::blob_rows::count_outlasting(&relay.sql(), latest, 2).unwrap();
    assert_eq!(count(START.plus(23 * 3600)), 2, "up to the limit");
    assert_eq!(count(relay_proto::Ttl::from_secs(86_400).expiry(START)), 0);
    relay.clock.advance(HOUR);
    relay.send(mailbox(4), b"own").await.unwrap();
    assert_eq!(count(relay_proto::Ttl::from_secs(86_400).expiry(START)), 1);
}
