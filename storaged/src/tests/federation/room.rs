//! Relays that are full, or being emptied.

use crate::tests::federation::*;

const SMALL: &[(&str, &str)] =
    &[("RELAY_MAX_STORAGE_BYTES", "1048576"), ("RELAY_MAX_BLOBS_PER_USER", "100000")];

#[tokio::test]
async fn a_relay_takes_mail_of_others_up_to_the_ratio_of_refusal() {
    let relay = Relay::start(&[
        ("RELAY_MAX_STORAGE_BYTES", "1048576"),
        ("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.3"),
        ("RELAY_FEDERATION_OFFLOAD_REFUSE", "0.5"),
    ]);
    let mut taken = 0_u8;
    loop {
        // Each has a share of its own; together they meet the ratio.
        let peer = PeerId::from_bytes([taken % 8; 32]);
        match relay.accept_one(peer, carried(mailbox(taken), &[taken; 8000], START.plus(86_400))).await {
            OfferResult::Accepted => taken += 1,
            verdict => {
                assert_eq!(verdict, OfferResult::NotNow);
                break;
            }
        }
    }
    assert!((0.5..0.6).contains(&relay.store.gauges.fill()), "{}", relay.store.gauges.fill());
    relay.send(mailbox(200), b"its own mail it takes as before").await.unwrap();
    for number in 0..2 {
        relay.forget(PeerId::from_bytes([number; 32]), vec![name(mailbox(number), &[number; 8000])]).await;
    }
    let again = carried(mailbox(201), b"there is room again", START.plus(86_400));
    assert_eq!(relay.accept_one(A, again).await, OfferResult::Accepted);
}

#[tokio::test]
async fn one_peer_takes_half_of_what_is_free_and_leaves_the_rest_to_others() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "4194304")]);
    // A relay of its own, that is more than half full.
    for number in 0..30 {
        relay.send(mailbox(100 + number), &[number; 70_000]).await.unwrap();
    }
    let free = relay.store.gauges.byte_space().free;
    let take = async |peer, from: u8| {
        let mut taken = 0_u8;
        loop {
            let blob = carried(mailbox(from + taken), &[from + taken; 20_000], START.plus(86_400));
            match relay.accept_one(peer, blob).await {
                OfferResult::Accepted => taken += 1,
                verdict => {
                    assert_eq!(verdict, OfferResult::NotNow);
                    return u64::from(taken) * 20_480;
                }
            }
        }
    };
    let first = take(A, 0).await;
    // As less is free, its share becomes smaller as well.
    assert!((free / 3..=free / 2).contains(&first), "{first} of {free}");
    assert!(take(B, 50).await > free / 5, "of what is left");
    assert!(!relay.store.gauges.is_full());
    let again = carried(mailbox(99), &[99; 20_000], START.plus(86_400));
    assert_eq!(relay.accept_one(A, again.clone()).await, OfferResult::NotNow);
    relay.clock.advance(std::time::Duration::from_secs(43_200));
    assert_eq!(relay.accept_one(A, again).await, OfferResult::Accepted, "half a day later");
}

#[tokio::test]
async fn mail_of_all_peers_together_takes_half_of_the_store_at_most() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let others = (2..8).map(|number| PeerId::from_bytes([100 + number; 32]));
    let peers: Vec<_> = [A, B].into_iter().chain(others).collect();
    for (taken, peer) in (0_u8..).zip(peers.into_iter().cycle()) {
        let blob = carried(mailbox(taken), &[taken; 8000], START.plus(86_400));
        if relay.accept_one(peer, blob).await == OfferResult::NotNow {
            break;
        }
    }
    let foreign = relay.store.gauges.foreign_bytes();
    assert!((500_000..=524_288).contains(&foreign), "{foreign}");
    // An empty database takes a fifth of so small a store.
    assert!(relay.store.gauges.fill() < 0.8, "{}", relay.store.gauges.fill());
    // What a client leaves here as well is nobody else's any more, and makes room.
    relay.send(mailbox(0), &[0; 8000]).await.unwrap();
    let more = |number| carried(mailbox(number), &[number; 7000], START.plus(86_400));
    assert_eq!(relay.accept_one(A, more(201)).await, OfferResult::Accepted);
    assert_eq!(relay.accept_one(B, more(202)).await, OfferResult::NotNow);
    relay.forget(A, vec![name(mailbox(8), &[8; 8000])]).await;
    assert_eq!(relay.accept_one(B, more(202)).await, OfferResult::Accepted);
    relay.recount();
    let relay = relay.restart(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]).await;
    assert_eq!(relay.accept_one(B, more(203)).await, OfferResult::NotNow, "and after a restart");
}

#[tokio::test]
async fn a_relay_that_is_being_emptied_takes_nothing_for_others() {
    let relay = Relay::start(&[]);
    relay.mailbox.peering.set_draining(true);
    let blob = carried(mailbox(1), b"one", START.plus(86_400));
    assert_eq!(relay.accept_one(A, blob).await, OfferResult::NotNow);
    assert!(relay.tell(Vec::new()).await.unwrap().draining);
}

/// Fills a relay to where it takes no mail with blobs of its own and blobs it holds, half of the first at a peer.
async fn full() -> (Relay, Vec<BlobName>, Vec<BlobName>) {
    let relay = Relay::start(SMALL);
    let own = MailboxHash::of_public_key(&public(&key(1)));
    let (mut sent, mut held) = (Vec::new(), Vec::new());
    for number in 0_u32.. {
        let content = [number.to_be_bytes(); 16].concat();
        if relay.send(own, &content).await.is_err() {
            break;
        }
        sent.push(name(own, &content));
        if number % 2 == 0 {
            let blob = carried(mailbox(1), &content, START.plus(86_400));
            if relay.accept_one(A, blob.clone()).await == OfferResult::Accepted {
                held.push(blob.name());
            }
        }
        if number % 128 == 0 {
            let blobs = relay.lease(B, false, 64).await;
            relay.settle(B, false, &blobs, OfferResult::Accepted).await;
        }
    }
    assert!(relay.store.gauges.is_full());
    assert!(relay.store.gauges.of(Total::HINTS) > 100 && held.len() > 100);
    (relay, sent, held)
}

#[tokio::test]
async fn a_full_relay_acks_forgets_settles_and_tells() {
    let (relay, sent, held) = full().await;
    // Answers of peers make room, and so do deletions.
    let blobs = relay.lease(B, false, 64).await;
    assert_eq!(relay.settle(B, false, &blobs, OfferResult::Accepted).await, 64);
    for names in held.chunks(100) {
        assert_eq!(relay.forget(A, names.to_vec()).await, u32::try_from(names.len()).unwrap());
    }
    for name in &sent {
        assert_eq!(relay.ack(name.mailbox, name.blob_id).await, Ok(true));
    }
    assert!(relay.page(&[sent[0].mailbox]).await.unwrap().moved.is_empty());
    loop {
        let entries = relay.outbox(B, 100).await;
        if entries.is_empty() {
            break;
        }
        relay.delivered(entries.iter().map(|(number, _)| *number).collect()).await;
    }
    let gauges = &relay.store.gauges;
    assert_eq!(
        [gauges.of(Total::BLOBS), gauges.of(Total::HINTS), gauges.of(Total::HELD), gauges.of(Total::OUTBOX)],
        [0; 4]
    );
    relay.recount();
}

#[tokio::test]
async fn a_full_relay_purges_what_has_moved() {
    let (relay, sent, _) = full().await;
    let deleted = relay.purge(relay.purge_request(&key(1), 1)).await;
    assert_eq!(deleted, Ok(sent.len() as u64));
    assert_eq!(relay.store.gauges.of(Total::HINTS), 0);
    relay.recount();
}

#[tokio::test]
async fn a_peer_that_forgets_without_end_fills_nothing() {
    let relay = Relay::start(SMALL);
    let before = relay.store.gauges.live_bytes();
    let mut last = Vec::new();
    for round in 0..40_u8 {
        last = (0..100).map(|number| name(mailbox(round), &[number])).collect();
        relay.forget(A, last.clone()).await;
    }
    assert!(relay.rows("forgotten") <= 1024, "{}", relay.rows("forgotten"));
    assert!(relay.store.gauges.live_bytes() - before < 100 << 10);
    for number in 0..100 {
        let late = carried(mailbox(39), &[number], START.plus(86_400));
        assert_eq!(relay.accept_one(A, late).await, OfferResult::Refused, "the newest are remembered");
    }
    assert_eq!(last.len(), 100);
    relay.forget(A, last[..1].to_vec()).await;
    relay.clock.advance(4 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.rows("forgotten"), 0);
}
