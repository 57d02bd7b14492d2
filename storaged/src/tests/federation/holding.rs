//! Mail that a relay holds for others: what it takes, whom it listens to.

use crate::tests::federation::*;

#[tokio::test]
async fn what_is_offered_twice_is_kept_once() {
    let relay = Relay::start(&[]);
    let blob = carried(mailbox(1), b"one", START.plus(86_400));
    for _ in 0..2 {
        assert_eq!(relay.accept_one(A, blob.clone()).await, OfferResult::Accepted);
    }
    assert_eq!((relay.store.gauges.of(Total::BLOBS), relay.store.gauges.of(Total::HELD)), (1, 1));
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_name_says_is_refused() {
    let relay = Relay::start(&[]);
    let mut blob = carried(mailbox(1), b"one", START.plus(86_400));
    blob.ciphertext = Ciphertext::try_from(Bytes::from_static(b"two")).unwrap();
    assert_eq!(relay.accept(A, false, vec![blob.clone()]).await, [OfferResult::Refused]);
    assert_eq!(relay.accept(A, true, vec![blob]).await, [OfferResult::Refused]);
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
}

#[tokio::test]
async fn a_blob_that_is_over_or_would_outlive_the_relays_own_or_is_too_large_is_refused() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "86400"), ("RELAY_MAX_MESSAGE_SIZE", "1024")]);
    let at = |ends| carried(mailbox(1), b"one", ends);
    for ends in [START, START.minus(1), START.plus(86_400 + 3 * 3600), UnixSeconds::new(u64::MAX)] {
        assert_eq!(relay.accept_one(A, at(ends)).await, OfferResult::Refused, "{ends:?}");
    }
    let large = carried(mailbox(1), &[1; 1025], START.plus(3600));
    assert_eq!(relay.accept_one(A, large).await, OfferResult::Refused);
    assert_eq!(relay.accept_one(A, at(START.plus(86_400))).await, OfferResult::Accepted);
}

#[tokio::test]
async fn the_hour_of_arrival_is_believed_within_reason() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "86400")]);
    let ends = START.plus(3600);
    let (oldest, newest) = (START.minus(86_400).hour_floor(), START.hour_floor());
    let cases = [(0, oldest), (u64::MAX, newest), (START.get() - 7200, START.minus(7200).hour_floor())];
    for (number, (claimed, kept)) in (0_u8..).zip(cases) {
        let created_at = UnixSeconds::new(claimed);
        let blob = TransferBlob { created_at, ..carried(mailbox(number), b"one", ends) };
        assert_eq!(relay.accept_one(A, blob).await, OfferResult::Accepted);
        assert_eq!(relay.page(&[mailbox(number)]).await.unwrap().blobs[0].created_at, kept.get());
    }
}

#[tokio::test]
async fn only_the_relay_that_brought_a_blob_reads_it_or_has_it_forgotten() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), b"own").await.unwrap();
    let blob = carried(mailbox(1), b"one", START.plus(86_400));
    relay.accept_one(A, blob.clone()).await;
    let own = name(mailbox(1), b"own");
    for (peer, name) in [(C, blob.name()), (C, own), (A, own)] {
        assert!(!relay.holds_for(peer, name).await);
        assert_eq!(relay.forget(peer, vec![name]).await, 0);
    }
    assert_eq!(relay.accept_one(C, blob.clone()).await, OfferResult::Refused, "it is another's");
    assert!(relay.holds_for(A, blob.name()).await);
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 2);
    assert_eq!(relay.forget(A, vec![blob.name(), own]).await, 1);
    assert_eq!(relay.fetch(mailbox(1)).await, [b"own"]);
    relay.recount();
}

#[tokio::test]
async fn what_is_read_is_there_and_whole_and_fits_into_a_message() {
    let relay = Relay::start(&[("RELAY_MAX_MESSAGE_SIZE", "3000000")]);
    let blobs =
        [1, 2, 3].map(|number| carried(mailbox(number), &vec![number; 2_500_000], START.plus(86_400)));
    for blob in &blobs {
        assert_eq!(relay.accept_one(A, blob.clone()).await, OfferResult::Accepted);
    }
    let mut names: Vec<_> = blobs.iter().map(TransferBlob::name).collect();
    names.insert(0, name(mailbox(9), b"unknown"));
    let (found, missing) = relay.find_all(A, names).await;
    assert_eq!((found.len(), missing.len()), (1, 1), "the rest is in neither list");
    relay.sql().execute("UPDATE blobs SET ciphertext = x'00' WHERE size = 2500000", []).unwrap();
    assert!(!relay.holds_for(A, blobs[0].name()).await, "what is damaged is not there");
}

#[tokio::test]
async fn a_held_blob_that_a_client_acked_here_does_not_come_back() {
    let (origin, peer) = moved_pair().await;
    let name = name(mailbox(1), b"one");
    let copy = peer.find(A, name).await;
    assert_eq!(peer.ack(mailbox(1), name.blob_id).await, Ok(true));
    assert_eq!(peer.accept_one(A, copy).await, OfferResult::Refused);
    assert!(!peer.holds_for(A, name).await);
    assert_eq!(origin.lose(B, vec![name]).await, 1);
    assert_eq!(origin.store.gauges.of(Total::HINTS), 0);
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn a_purge_here_takes_what_is_held_of_the_owners() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let owner = key(1);
    let own = MailboxHash::of_public_key(&public(&owner));
    origin.register(&[1], Some(&owner)).await.unwrap();
    for (to, content) in [(own, b"own"), (mailbox(1), b"one"), (mailbox(2), b"two")] {
        origin.send(to, content).await.unwrap();
    }
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 3);
    assert_eq!(peer.purge(peer.purge_request(&owner, 1)).await, Ok(2));
    assert_eq!((peer.store.gauges.of(Total::BLOBS), peer.store.gauges.of(Total::HELD)), (1, 1));
    assert!(peer.holds_for(A, name(mailbox(2), b"two")).await);
    let ends = START.plus(86_400);
    for late in [carried(own, b"own", ends), carried(mailbox(1), b"one", ends)] {
        assert_eq!(peer.accept_one(A, late).await, OfferResult::Refused, "a late copy");
    }
    peer.recount();
}

#[tokio::test]
async fn what_a_client_acks_or_purges_at_the_peer_does_not_come_back_at_its_origin() {
    for purges in [false, true] {
        let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
        let own = MailboxHash::of_public_key(&public(&key(1)));
        let id = origin.send_blob(hinted(own, b"own")).await.unwrap();
        assert_eq!(carry((&origin, A), (&peer, B), false).await, 1);
        if purges {
            assert_eq!(peer.purge(peer.purge_request(&key(1), 1)).await, Ok(1));
        } else {
            assert_eq!(peer.ack(own, id).await, Ok(true));
        }
        assert_eq!(deliver((&peer, B), (&origin, A)).await, 1);
        assert_eq!(origin.send_blob(hinted(own, b"own")).await, Ok(id), "as if it were new");
        let page = origin.page(&[own]).await.unwrap();
        assert!(page.blobs.is_empty() && page.moved.is_empty());
        for relay in [&origin, &peer] {
            relay.recount();
            relay.clock.advance(3 * DAY + HOUR);
        }
        origin.send(own, b"own").await.unwrap();
        assert_eq!(carry((&origin, A), (&peer, B), false).await, 1, "it is other mail by then");
    }
}

#[tokio::test]
async fn a_blob_is_not_taken_again_while_its_origin_may_be_hearing_of_its_deletion() {
    let (origin, peer) = moved_pair().await;
    let name = name(mailbox(1), b"one");
    peer.ack(mailbox(1), name.blob_id).await.unwrap();
    assert_eq!(peer.waiting(A).await.len(), 1, "on its way from here on");
    origin.lose(B, vec![name]).await;
    for relay in [&origin, &peer] {
        relay.clock.advance(3 * DAY + HOUR);
    }
    origin.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 0);
    assert_eq!(deliver((&peer, B), (&origin, A)).await, 1);
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"], "it is no peer's word that deletes it");
    origin.recount();
    peer.recount();
}

#[tokio::test]
async fn an_owner_that_became_known_later_is_remembered_with_the_next_offer() {
    let relay = Relay::start(&[]);
    let blob = carried(mailbox(1), b"one", START.plus(86_400));
    relay.accept_one(A, blob.clone()).await;
    let owner: OwnerHash = public(&key(1)).owner();
    assert_eq!(
        relay.accept_one(A, TransferBlob { owner: Some(owner), ..blob.clone() }).await,
        OfferResult::Accepted
    );
    assert_eq!(relay.accept_one(A, blob).await, OfferResult::Accepted);
    assert_eq!(relay.purge(relay.purge_request(&key(1), 1)).await, Ok(1));
}

#[tokio::test]
async fn a_copy_lasts_as_long_as_the_last_offer_of_it() {
    let variables = [("RELAY_BLOB_TTL_SECS", "86400")];
    let (origin, peer) = (Relay::start(&variables), Relay::start(&variables));
    origin.send(mailbox(1), b"one").await.unwrap();
    let first = origin.lease(B, false, 10).await;
    peer.accept(A, false, first).await;
    for relay in [&origin, &peer] {
        relay.clock.advance(12 * HOUR);
    }
    // It was purged at the origin and sent again, and the peer heard of neither.
    let later = carried(mailbox(1), b"one", START.hour_ceil().plus(86_400 + 12 * 3600));
    assert_eq!(peer.accept_one(A, later.clone()).await, OfferResult::Accepted);
    peer.clock.advance(13 * HOUR);
    peer.sweep.sweep().await.unwrap();
    let found = peer.find(A, later.name()).await;
    assert_eq!(found, TransferBlob { created_at: START.hour_floor(), ..later });
    peer.recount();
}

#[tokio::test]
async fn what_a_client_left_here_too_is_not_the_peers_to_delete() {
    for adopted_late in [false, true] {
        let (origin, peer) = moved_pair().await;
        let name = name(mailbox(1), b"one");
        peer.clock.advance(10 * DAY);
        assert_eq!(peer.send(mailbox(1), b"one").await, Ok(name.blob_id));
        assert!(peer.holds_for(A, name).await, "it is held for the peer as before");
        peer.recount();
        if adopted_late {
            assert_eq!(carry((&peer, B), (&origin, A), true).await, 1);
            assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
        } else {
            assert_eq!(peer.forget(A, vec![name]).await, 1);
        }
        assert!(!peer.holds_for(A, name).await);
        assert_eq!(peer.fetch(mailbox(1)).await, [b"one"]);
        peer.clock.advance(119 * DAY);
        peer.sweep.sweep().await.unwrap();
        assert_eq!(peer.fetch(mailbox(1)).await, [b"one"], "it lasts from when it was left here");
        assert_eq!(peer.ack(mailbox(1), name.blob_id).await, Ok(true));
        assert_eq!((peer.store.gauges.of(Total::BLOBS), peer.store.gauges.of(Total::HELD)), (0, 0));
        peer.recount();
    }
}

#[tokio::test]
async fn what_is_held_for_a_relay_that_lost_its_keys_is_given_to_its_new_ones_and_to_nobody_else() {
    let relay = Relay::start(&[]);
    let ends = START.plus(86_400);
    for round in 0..11_u8 {
        let blobs = (0..100).map(|number| carried(mailbox(number), &[round, number], ends));
        relay.accept(A, false, blobs.collect()).await;
    }
    let kept = carried(mailbox(200), b"another's", ends);
    relay.accept_one(C, kept.clone()).await;
    let offered = relay.lease(A, true, 1).await;
    let give = |limit| {
        let write = move |write: &mut crate::db::batch::Write<'_>| {
            crate::transfer::foreign_blobs::reassign(write.sql, &A, &B, limit)
        };
        relay.store.writer.run_one(write)
    };
    assert_eq!(give(500).await.unwrap(), 500);
    assert_eq!(give(500).await.unwrap(), 500);
    assert_eq!(give(500).await.unwrap(), 100);
    assert_eq!(give(500).await.unwrap(), 0);
    let one = name(mailbox(3), &[10, 3]);
    assert!(relay.holds_for(B, one).await && !relay.holds_for(A, one).await);
    assert!(relay.holds_for(C, kept.name()).await);
    assert_eq!(relay.settle(A, true, &offered, OfferResult::Accepted).await, 0, "said of the old keys");
    assert_eq!(relay.forget(A, vec![one]).await, 0);
    assert_eq!(relay.forget(B, vec![one]).await, 1);
    relay.recount();
}
