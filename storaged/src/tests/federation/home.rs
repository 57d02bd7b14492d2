//! Mail that comes back from a peer.

use crate::tests::federation::*;

#[tokio::test]
async fn a_blob_comes_home_to_its_old_place() {
    let (origin, peer) = moved_pair().await;
    origin.send(mailbox(1), b"two").await.unwrap();
    assert_eq!(carry((&peer, B), (&origin, A), true).await, 1);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one", b"two"], "in the order of arrival");
    assert!(origin.page(&[mailbox(1)]).await.unwrap().moved.is_empty());
    assert_eq!((peer.store.gauges.of(Total::BLOBS), peer.store.gauges.of(Total::HELD)), (0, 0));
    assert_eq!(peer.metrics.hints_stored.get(), 0);
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn only_what_is_held_for_a_peer_goes_home_to_it() {
    let peer = Relay::start(&[]);
    peer.send(mailbox(1), b"own").await.unwrap();
    peer.accept_one(C, carried(mailbox(1), b"a third one's", START.plus(86_400))).await;
    assert!(peer.lease(A, true, 10).await.is_empty());
    assert_eq!(contents(&peer.lease(C, true, 10).await), [b"a third one's"]);
    assert_eq!(contents(&peer.lease(C, false, 10).await), [b"own"], "and what is held moves no further");
}

#[tokio::test]
async fn what_comes_home_stays_for_an_hour_and_its_deletion_reaches_the_peer() {
    let (origin, peer) = moved_pair().await;
    let on_its_way = peer.lease(A, true, 10).await;
    assert_eq!(origin.accept(B, true, on_its_way.clone()).await, [OfferResult::Accepted]);
    // The peer does not hear of it, and keeps its copy.
    assert!(origin.lease(B, false, 10).await.is_empty());
    assert_eq!(origin.ack(mailbox(1), on_its_way[0].blob_id).await, Ok(true));
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 1);
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn an_answer_from_before_a_blob_came_home_does_not_send_it_away() {
    let (origin, peer) = pair().await;
    let offered = origin.lease(B, false, 10).await;
    let verdicts = peer.accept(A, false, offered.clone()).await;
    // While that answer is under way the peer is emptied: it brings the blob, and lets go of it.
    assert_eq!(carry((&peer, B), (&origin, A), true).await, 1);
    assert_eq!(origin.settle(B, false, &offered, verdicts[0]).await, 0);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    origin.recount();
}

#[tokio::test]
async fn a_peer_that_took_a_blob_again_does_not_let_go_of_it_for_what_was_said_before() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let own = MailboxHash::of_public_key(&public(&key(1)));
    origin.send(own, b"own").await.unwrap();
    carry((&origin, A), (&peer, B), false).await;
    let on_its_way = peer.lease(A, true, 10).await;
    origin.purge(origin.purge_request(&key(1), 1)).await.unwrap();
    let let_go = origin.accept(B, true, on_its_way.clone()).await;
    assert_eq!(let_go, [OfferResult::Accepted]);
    // While that is under way the same is sent anew, as there was no room to remember the purge, and offered to the
    // peer, which has it still.
    origin.sql().execute("DELETE FROM acked", []).unwrap();
    origin.send(own, b"own").await.unwrap();
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1);
    assert_eq!(peer.settle(A, true, &on_its_way, let_go[0]).await, 0);
    assert!(peer.holds_for(A, name(own, b"own")).await);
}

#[tokio::test]
async fn what_was_acked_does_not_come_home() {
    let (origin, peer) = moved_pair().await;
    let on_its_way = peer.lease(A, true, 10).await;
    origin.ack(mailbox(1), on_its_way[0].blob_id).await.unwrap();
    assert_eq!(origin.accept(B, true, on_its_way.clone()).await, [OfferResult::Accepted]);
    deliver((&origin, A), (&peer, B)).await;
    origin.clock.advance(4 * DAY);
    peer.clock.advance(4 * DAY);
    assert!(origin.fetch(mailbox(1)).await.is_empty());
    assert_eq!(peer.settle(A, true, &on_its_way, OfferResult::Accepted).await, 0);
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
}

#[tokio::test]
async fn what_another_peer_is_said_to_hold_comes_home_from_this_one_all_the_same() {
    // The note may be from before a backup was restored: it is no reason to let this copy go.
    let (origin, other) = moved_pair().await;
    let copy = carried(mailbox(1), b"one", START.plus(86_400));
    assert_eq!(origin.accept(C, true, vec![copy]).await, [OfferResult::Accepted]);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    assert!(origin.page(&[mailbox(1)]).await.unwrap().moved.is_empty());
    assert_eq!(deliver((&origin, A), (&other, B)).await, 1);
    assert_eq!((other.store.gauges.of(Total::BLOBS), origin.store.gauges.of(Total::HELD)), (0, 0));
    origin.recount();
}

#[tokio::test]
async fn a_relay_whose_backup_knows_nothing_of_a_blob_takes_it_home_and_believes_no_time() {
    let origin = Relay::start(&[("RELAY_BLOB_TTL_SECS", "86400")]);
    let blob = TransferBlob {
        created_at: UnixSeconds::new(u64::MAX),
        ..carried(mailbox(1), b"one", UnixSeconds::new(u64::MAX))
    };
    assert_eq!(origin.accept(B, true, vec![blob.clone()]).await, [OfferResult::Accepted]);
    let page = origin.page(&[mailbox(1)]).await.unwrap();
    assert_eq!(page.blobs[0].created_at, START.hour_floor().get());
    assert_eq!(origin.store.gauges.of(Total::HELD), 1, "it counts as mail of others: nobody vouches for it");
    origin.clock.advance(26 * HOUR);
    assert!(origin.fetch(mailbox(1)).await.is_empty());
    assert_eq!(
        origin.accept(B, true, vec![TransferBlob { expires_at: START, ..blob }]).await,
        [OfferResult::Accepted]
    );
    origin.recount();
}

#[tokio::test]
async fn nobody_fills_a_mailbox_or_the_store_by_calling_it_home() {
    let origin = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "2"), ("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let ends = START.plus(86_400);
    let blobs = [b"one", b"two", b"six"].map(|content| carried(mailbox(250), content, ends));
    let verdicts = origin.accept(B, true, blobs.to_vec()).await;
    assert_eq!(verdicts, [OfferResult::Accepted; 3]);
    for content in [b"own", b"too"] {
        origin.send(mailbox(250), content).await.unwrap();
    }
    assert_eq!(origin.send(mailbox(250), b"more").await, Err(StorageError::QuotaExceeded));
    origin.fill_up().await;
    let stranger = carried(mailbox(251), b"stranger", ends);
    assert_eq!(origin.accept(B, true, vec![stranger]).await, [OfferResult::NotNow]);
}

/// A relay to which a peer brought a blob that nothing there told of.
async fn brought() -> (Relay, TransferBlob) {
    let origin = Relay::start(&[]);
    let blob = carried(mailbox(1), b"one", START.plus(86_400));
    assert_eq!(origin.accept(B, true, vec![blob.clone()]).await, [OfferResult::Accepted]);
    (origin, blob)
}

#[tokio::test]
async fn what_a_peer_brought_and_nobody_vouches_for_goes_to_no_other_peer() {
    let (origin, blob) = brought().await;
    for advance in [HOUR, 2 * HOUR] {
        origin.clock.advance(advance);
        assert!(origin.lease(C, false, 10).await.is_empty());
        assert!(origin.lease(C, true, 10).await.is_empty() && origin.lease(B, true, 10).await.is_empty());
    }
    // It may go back to that peer, as this relay's mail.
    let peer = Relay::start(&[]);
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1);
    assert!(origin.waiting(B).await.is_empty() && peer.holds_for(A, blob.name()).await);
    assert_eq!((origin.store.gauges.of(Total::HELD), origin.store.gauges.of(Total::HINTS)), (0, 1));
    origin.recount();
}

#[tokio::test]
async fn an_offer_of_what_was_brought_that_came_to_nothing_is_in_nobodys_way() {
    let (origin, _) = brought().await;
    let leased = origin.lease(B, false, 10).await;
    origin.settle(B, false, &leased, OfferResult::NotNow).await;
    origin.send(mailbox(2), b"own").await.unwrap();
    assert_eq!(contents(&origin.lease(C, false, 1).await), [b"own"]);
    assert_eq!(contents(&origin.lease(B, false, 10).await), [b"one"]);
}

#[tokio::test]
async fn no_peer_has_a_say_in_what_it_brought_home() {
    let (origin, blob) = brought().await;
    for peer in [B, C] {
        assert!(!origin.holds_for(peer, blob.name()).await);
        assert_eq!(origin.forget(peer, vec![blob.name()]).await, 0);
        assert_eq!(origin.accept_one(peer, blob.clone()).await, OfferResult::Refused);
    }
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    // The peer may not have heard that it was taken: it hears of the ack.
    assert_eq!(origin.ack(mailbox(1), blob.blob_id).await, Ok(true));
    assert_eq!(origin.waiting(B).await, [blob.name()]);
    assert_eq!((origin.store.gauges.of(Total::BLOBS), origin.store.gauges.of(Total::HELD)), (0, 0));
    origin.recount();
}

#[tokio::test]
async fn what_was_brought_and_is_sent_by_a_client_too_is_the_relays_own() {
    let (origin, blob) = brought().await;
    origin.clock.advance(HOUR);
    origin.send(mailbox(1), b"one").await.unwrap();
    assert_eq!((origin.store.gauges.of(Total::BLOBS), origin.store.gauges.of(Total::HELD)), (1, 0));
    origin.clock.advance(48 * HOUR);
    origin.sweep.sweep().await.unwrap();
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"], "it lasts from when it was sent");
    let peer = Relay::start(&[]);
    assert_eq!(carry((&origin, A), (&peer, C), false).await, 1);
    assert_eq!(origin.waiting(B).await, [blob.name()], "the peer that brought it may have kept its copy");
    origin.recount();
}

#[tokio::test]
async fn what_there_is_a_hint_for_comes_home_above_the_ratio_of_refusal_but_not_into_a_full_store() {
    let variables = [
        ("RELAY_MAX_STORAGE_BYTES", "1048576"),
        ("RELAY_FEDERATION_OFFLOAD_REFUSE", "0.5"),
        ("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.4"),
    ];
    let origin = Relay::start(&variables);
    let peer = Relay::start(&[]);
    for content in [b"one", b"two"] {
        origin.send(mailbox(1), content).await.unwrap();
    }
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 2);
    for number in 100..165 {
        origin.send(mailbox(number), &vec![number; 8000]).await.unwrap();
    }
    assert!(origin.store.gauges.fill() > 0.5);
    let stranger = carried(mailbox(99), b"stranger", START.plus(86_400));
    assert_eq!(origin.accept(B, true, vec![stranger.clone()]).await, [OfferResult::NotNow]);
    assert_eq!(origin.accept_one(B, stranger).await, OfferResult::NotNow);
    let homewards = peer.lease(A, true, 10).await;
    assert_eq!(origin.accept(B, true, homewards[..1].to_vec()).await, [OfferResult::Accepted]);
    origin.fill_up().await;
    assert_eq!(origin.accept(B, true, homewards[1..].to_vec()).await, [OfferResult::NotNow]);
    assert_eq!(origin.page(&[mailbox(1)]).await.unwrap().moved.len(), 1, "the peer has it still");
}
