//! What a peer says of an offer, in time, too late, or wrongly.

use crate::tests::federation::*;

#[tokio::test]
async fn a_peer_that_refuses_costs_no_blob_and_another_is_asked() {
    let (origin, _) = pair().await;
    let blobs = origin.lease(B, false, 10).await;
    assert_eq!(origin.settle(B, false, &blobs, OfferResult::Refused).await, 0);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    assert!(origin.lease(B, false, 10).await.is_empty(), "it is not asked over and over");
    assert_eq!(contents(&origin.lease(C, false, 10).await), [b"one"]);
    let moved = origin.settle(C, false, &blobs, OfferResult::Refused).await;
    assert_eq!(
        (moved, origin.store.gauges.of(Total::LEASES)),
        (0, 0),
        "who refuses has no copy to be told of"
    );
    origin.clock.advance(HOUR);
    assert_eq!(
        contents(&origin.lease(B, false, 10).await),
        [b"one"],
        "after an hour it may have changed its mind"
    );
}

#[tokio::test]
async fn a_blob_that_is_refused_does_not_stand_in_the_way_of_others() {
    let origin = Relay::start(&[]);
    for content in [b"one", b"two"] {
        origin.send(mailbox(1), content).await.unwrap();
    }
    let first = origin.lease(B, false, 1).await;
    origin.settle(B, false, &first, OfferResult::Refused).await;
    assert_eq!(contents(&origin.lease(B, false, 1).await), [b"two"]);
}

#[tokio::test]
async fn what_a_peer_has_no_room_for_is_offered_again_and_the_peer_hears_of_its_end() {
    let (origin, _) = pair().await;
    let blobs = origin.lease(B, false, 10).await;
    origin.settle(B, false, &blobs, OfferResult::NotNow).await;
    assert_eq!(contents(&origin.lease(B, false, 10).await), [b"one"]);
    origin.settle(B, false, &blobs, OfferResult::NotNow).await;
    // It may have said so without knowing what became of its commit.
    origin.ack(mailbox(1), blobs[0].blob_id).await.unwrap();
    assert_eq!(origin.waiting(B).await, [blobs[0].name()]);
    origin.recount();
}

#[tokio::test]
async fn a_refusal_after_an_offer_that_was_never_answered_proves_nothing() {
    let (origin, _) = pair().await;
    origin.lease(B, false, 10).await;
    origin.clock.advance(Duration::from_secs(LEASE_SECS.into()));
    let blobs = origin.lease(B, false, 10).await;
    origin.settle(B, false, &blobs, OfferResult::Refused).await;
    assert!(origin.lease(B, false, 10).await.is_empty());
    origin.ack(mailbox(1), blobs[0].blob_id).await.unwrap();
    assert_eq!(origin.waiting(B).await, [blobs[0].name()], "the first offer may still arrive there");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_moves_nothing() {
    let (origin, _) = pair().await;
    let blobs = origin.lease(B, false, 10).await;
    origin.clock.advance(Duration::from_secs(LEASE_SECS.into()));
    assert_eq!(origin.settle(B, false, &blobs, OfferResult::Accepted).await, 0);
    let blobs = origin.lease(C, false, 10).await;
    assert_eq!(origin.settle(B, false, &blobs, OfferResult::Accepted).await, 0, "it is another's now");
    origin.resume().await;
    assert_eq!(origin.settle(C, false, &blobs, OfferResult::Accepted).await, 0);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
}

#[tokio::test]
async fn an_answer_to_what_was_not_offered_moves_nothing() {
    let (origin, _) = pair().await;
    let named = [carried(mailbox(1), b"one", START), carried(mailbox(1), b"never sent", START)];
    for home in [false, true] {
        assert_eq!(origin.settle(B, home, &named, OfferResult::Accepted).await, 0);
    }
    origin.lease(B, false, 10).await;
    assert_eq!(origin.settle(B, true, &named, OfferResult::Accepted).await, 0, "own mail has no other home");
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    assert_eq!(origin.metrics.hints_stored.get(), 0);
}

#[tokio::test]
async fn a_peer_that_may_have_a_copy_hears_that_another_got_the_blob() {
    let (origin, peer) = pair().await;
    let lost = origin.lease(B, false, 10).await;
    peer.accept(A, false, lost).await;
    origin.clock.advance(Duration::from_secs(LEASE_SECS.into()));
    let third = Relay::start(&[]);
    assert_eq!(carry((&origin, A), (&third, C), false).await, 1);
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 1);
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
    assert!(third.holds_for(A, name(mailbox(1), b"one")).await);
    origin.recount();
}
