//! Deletions at the origin, and how they reach the peers.

use crate::tests::federation::*;

#[tokio::test]
async fn an_ack_while_a_blob_is_offered_or_moved_counts_at_once_and_reaches_the_peer() {
    for has_moved in [false, true] {
        let (origin, peer) = pair().await;
        let blobs = origin.lease(B, false, 10).await;
        let id = blobs[0].blob_id;
        let verdicts = peer.accept(A, false, blobs.clone()).await;
        if has_moved {
            origin.settle(B, false, &blobs, verdicts[0]).await;
        }
        assert_eq!(origin.ack(mailbox(1), id).await, Ok(true));
        let page = origin.page(&[mailbox(1)]).await.unwrap();
        assert!(page.blobs.is_empty() && page.moved.is_empty());
        assert_eq!(origin.settle(B, false, &blobs, verdicts[0]).await, 0);
        let origin = origin.restart(&[]).await;
        assert_eq!(deliver((&origin, A), (&peer, B)).await, 1, "moved: {has_moved}");
        assert!(!peer.holds_for(A, blobs[0].name()).await);
        assert!(origin.waiting(B).await.is_empty());
        assert_eq!(peer.accept_one(A, blobs[0].clone()).await, OfferResult::Refused, "a late copy");
        let peer = peer.restart(&[]).await;
        assert_eq!(peer.accept_one(A, blobs[0].clone()).await, OfferResult::Refused);
        assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
        origin.recount();
        peer.recount();
    }
}

#[tokio::test]
async fn a_deletion_is_told_until_the_peer_has_carried_it_out() {
    let (origin, peer) = moved_pair().await;
    let name = name(mailbox(1), b"one");
    origin.ack(mailbox(1), name.blob_id).await.unwrap();
    for _ in 0..2 {
        assert_eq!(origin.waiting(B).await, [name]);
    }
    assert!(origin.waiting(C).await.is_empty(), "nobody else hears of it");
    let origin = origin.restart(&[]).await;
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 1);
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 0);
    assert_eq!(peer.forget(A, vec![name]).await, 0, "told twice it changes nothing");
}

#[tokio::test]
async fn a_purge_reaches_what_is_offered_and_what_has_moved() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let owner = key(1);
    let own = MailboxHash::of_public_key(&public(&owner));
    origin.send(own, b"own").await.unwrap();
    origin.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 2);
    // Registered after it moved: the peer knows nothing of the owner.
    origin.register(&[1], Some(&owner)).await.unwrap();
    origin.send(mailbox(1), b"two").await.unwrap();
    origin.lease(B, false, 10).await;
    origin.send(mailbox(2), b"another's").await.unwrap();
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1);
    assert_eq!(origin.purge(origin.purge_request(&owner, 1)).await, Ok(3));
    let page = origin.page(&[own, mailbox(1)]).await.unwrap();
    assert!(page.blobs.is_empty() && page.moved.is_empty());
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 3);
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 1);
    assert!(peer.holds_for(A, name(mailbox(2), b"another's")).await);
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn a_deletion_that_was_not_told_yet_can_be_taken_back() {
    let (origin, peer) = pair().await;
    let blob = origin.lease(B, false, 10).await;
    peer.accept(A, false, blob.clone()).await;
    origin.clock.advance(Duration::from_secs(LEASE_SECS.into()));
    // To somebody else, who does not want it: the first one is to forget it, and then gets it after all.
    let offered = origin.lease(C, false, 10).await;
    assert_eq!(origin.store.gauges.of(Total::OUTBOX), 1);
    origin.settle(C, false, &offered, OfferResult::Refused).await;
    origin.clock.advance(HOUR);
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1);
    assert!(origin.waiting(B).await.is_empty());
    assert!(peer.holds_for(A, blob[0].name()).await);
    origin.recount();
}

#[tokio::test]
async fn a_blob_is_not_offered_to_a_peer_that_may_just_be_hearing_of_its_deletion() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let owner = key(1);
    let own = MailboxHash::of_public_key(&public(&owner));
    origin.send(own, b"own").await.unwrap();
    carry((&origin, A), (&peer, B), false).await;
    origin.purge(origin.purge_request(&owner, 1)).await.unwrap();
    assert_eq!(origin.waiting(B).await.len(), 1, "on its way from here on");
    // What was purged is not forgotten before three days are over.
    for relay in [&origin, &peer] {
        relay.clock.advance(3 * DAY + HOUR);
    }
    origin.send(own, b"own").await.unwrap();
    assert!(
        origin.lease(B, false, 10).await.is_empty(),
        "the deletion could overtake the offer, or follow it"
    );
    assert_eq!(contents(&origin.lease(C, false, 10).await), [b"own"], "others may have it");
    let offered = origin.leased(LeaseRequest { max_blobs: 1, max_bytes: 1, ..all_of(C) });
    assert!(offered.await.unwrap().is_empty());
    deliver((&origin, A), (&peer, B)).await;
    origin.clock.advance(HOUR);
    assert_eq!(
        carry((&origin, A), (&peer, B), false).await,
        0,
        "for three days it counts as a late copy there"
    );
    assert_eq!(origin.fetch(own).await, [b"own"]);
}

#[tokio::test]
async fn what_was_purged_does_not_come_home_from_a_peer_that_heard_too_late() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let own = MailboxHash::of_public_key(&public(&key(1)));
    origin.send(own, b"own").await.unwrap();
    carry((&origin, A), (&peer, B), false).await;
    let on_its_way = peer.lease(A, true, 10).await;
    assert_eq!(on_its_way.len(), 1);
    origin.purge(origin.purge_request(&key(1), 1)).await.unwrap();
    for delivered in [false, true] {
        if delivered {
            deliver((&origin, A), (&peer, B)).await;
        }
        let verdict = origin.accept(B, true, on_its_way.clone()).await;
        assert_eq!(verdict, [OfferResult::Accepted], "the peer is to let go of it");
        assert!(origin.fetch(own).await.is_empty());
    }
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
}

#[tokio::test]
async fn what_expires_is_not_told_and_what_was_to_be_told_of_it_ends_some_days_later() {
    let variables = [("RELAY_BLOB_TTL_SECS", "7200")];
    let (origin, peer) = (Relay::start(&variables), Relay::start(&variables));
    for content in [b"one", b"two", b"six"] {
        origin.send(mailbox(1), content).await.unwrap();
    }
    let blobs = origin.lease(B, false, 2).await;
    peer.accept(A, false, blobs.clone()).await;
    origin.settle(B, false, &blobs, OfferResult::Accepted).await;
    origin.lease(B, false, 1).await;
    origin.ack(mailbox(1), blobs[0].blob_id).await.unwrap();
    for relay in [&origin, &peer] {
        relay.clock.advance(4 * HOUR);
        relay.sweep.sweep().await.unwrap();
        relay.recount();
    }
    assert_eq!(origin.metrics.hints_expired.get(), 1);
    let gauges = &origin.store.gauges;
    assert_eq!(
        [
            gauges.of(Total::BLOBS),
            gauges.of(Total::HINTS),
            gauges.of(Total::LEASES),
            gauges.of(Total::OUTBOX)
        ],
        [0, 0, 0, 1]
    );
    assert_eq!([peer.store.gauges.of(Total::BLOBS), peer.store.gauges.of(Total::HELD)], [0, 0]);
    origin.clock.advance(2 * DAY);
    origin.sweep.sweep().await.unwrap();
    assert_eq!(origin.store.gauges.of(Total::OUTBOX), 0);
}

#[tokio::test]
async fn a_clock_that_jumps_takes_no_hint_and_no_deletion_with_it() {
    let origin = Relay::start(&[]);
    for chunk in 0..10_u8 {
        let blobs = (0..100).map(|number: u8| blob(mailbox(number), &[chunk, number]));
        assert!(origin.write_all(sends(blobs)).await.unwrap().iter().all(Result::is_ok));
    }
    loop {
        let blobs = origin.lease(B, false, 100).await;
        if blobs.is_empty() {
            break;
        }
        origin.settle(B, false, &blobs, OfferResult::Accepted).await;
    }
    origin.ack(mailbox(0), BlobId::derive(&mailbox(0), &[0, 0])).await.unwrap();
    origin.clock.jump_to(START.plus(200 * 86_400));
    origin.sweep.sweep().await.unwrap();
    assert!(!origin.time.is_trusted());
    origin.clock.jump_to(START);
    origin.sweep.sweep().await.unwrap();
    assert!(origin.time.is_trusted());
    assert_eq!((origin.store.gauges.of(Total::HINTS), origin.store.gauges.of(Total::OUTBOX)), (999, 1));
}
