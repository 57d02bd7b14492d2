//! What a fetch tells of blobs that lie at peers, the signed hints, and the numbers in the metrics.

use crate::tests::federation::*;
use relay_proto::limits::{MAX_HINTS, MAX_MOVED_BLOBS};

async fn hints(relay: &Relay, names: &[BlobName]) -> SignedHints {
    let signed = relay.hints(names).await.unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(signed.signing_key[..].try_into().unwrap()).unwrap();
    let mut message = Vec::new();
    for hint in &signed.hints {
        message.extend_from_slice(&hint.blob_id);
        message.extend_from_slice(hint.relay_url.as_bytes());
        message.extend_from_slice(&hint.expires_at.to_be_bytes());
    }
    let signature = ed25519_dalek::Signature::from_bytes(signed.signature[..].try_into().unwrap());
    key.verify_strict(&message, &signature).unwrap();
    signed
}

/// Moves so many blobs of a mailbox to a peer, on paper.
async fn move_blobs(relay: &Relay, peer: PeerId, to: MailboxHash, numbers: std::ops::Range<u8>, size: usize) {
    for number in numbers {
        relay.send(to, &vec![number; size]).await.unwrap();
    }
    let blobs = relay.lease(peer, false, 100).await;
    assert!(relay.settle(peer, false, &blobs, OfferResult::Accepted).await > 0);
}

#[tokio::test]
async fn hints_are_signed_sorted_and_name_nothing_that_did_not_move() {
    let relay = Relay::start(&[]);
    relay.introduce(B, "https://b.example").await;
    relay.send(mailbox(2), b"here").await.unwrap();
    let blobs = relay.lease(C, false, 1).await;
    relay.settle(C, false, &blobs, OfferResult::Refused).await;
    move_blobs(&relay, B, mailbox(1), 0..5, 10).await;
    let mut names: Vec<_> = (0..5).map(|number| name(mailbox(1), &[number; 10])).collect();
    names.extend([names[0], name(mailbox(9), b"unknown"), name(mailbox(3), &[0; 10])]);
    let signed = hints(&relay, &names).await;
    assert_eq!(signed.hints.len(), 5);
    assert!(signed.hints.is_sorted_by_key(|hint| hint.blob_id.clone()));
    for hint in &signed.hints {
        assert_eq!(hint.relay_url, "https://b.example");
        assert_eq!(hint.expires_at, START.plus(120 * 86_400).hour_ceil().get());
    }
    let relay = relay.restart(&[]).await;
    assert_eq!(hints(&relay, &names).await, signed, "by the same key");
    relay.ack(mailbox(1), names[0].blob_id).await.unwrap();
    assert_eq!(hints(&relay, &names).await.hints.len(), 4);
    relay.clock.advance(121 * DAY);
    assert!(hints(&relay, &names).await.hints.is_empty());
}

#[tokio::test]
async fn a_peer_that_never_said_where_it_serves_clients_is_not_hinted_at() {
    let relay = Relay::start(&[]);
    move_blobs(&relay, B, mailbox(1), 0..1, 10).await;
    let names = [name(mailbox(1), &[0; 10])];
    assert!(hints(&relay, &names).await.hints.is_empty());
    relay.introduce(B, "").await;
    assert!(hints(&relay, &names).await.hints.is_empty());
    relay.introduce(B, "https://b.example").await;
    assert_eq!(hints(&relay, &names).await.hints.len(), 1);
}

#[tokio::test]
async fn a_page_tells_which_peers_can_be_asked_and_holds_what_is_here_whatever_is_elsewhere() {
    let relay = Relay::start(&[]);
    move_blobs(&relay, B, mailbox(1), 0..2, 10).await;
    move_blobs(&relay, C, mailbox(2), 0..1, 10).await;
    relay.send(mailbox(2), b"here").await.unwrap();
    relay.reach(&[C]).await;
    let page = relay.page(&[mailbox(9), mailbox(1), mailbox(2)]).await.unwrap();
    assert_eq!(page.blobs.len(), 1);
    let moved: Vec<_> = page
        .moved
        .iter()
        .map(|blob| (blob.mailbox_index, PeerId::try_from(&blob.peer[..]).unwrap(), blob.reachable))
        .collect();
    assert_eq!(moved, [(1, B, false), (1, B, false), (2, C, true)]);
    assert!(page.moved.is_sorted_by_key(|blob| (blob.created_at, blob.place)));
    relay.resume().await;
    let page = relay.page(&[mailbox(2)]).await.unwrap();
    assert!(!page.moved[0].reachable, "federation has started anew, without links");
}

#[tokio::test]
async fn a_page_asks_for_as_much_as_fits_and_says_that_there_is_more() {
    let relay = Relay::start(&[]);
    relay.reach(&[B]).await;
    move_blobs(&relay, B, mailbox(1), 0..50, 10).await;
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert_eq!((page.moved.len(), page.truncated), (MAX_MOVED_BLOBS - MAX_HINTS, true));
    relay.reach(&[]).await;
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert_eq!((page.moved.len(), page.truncated), (MAX_HINTS, false), "asking again would not help");
    relay.reach(&[B]).await;
    move_blobs(&relay, B, mailbox(2), 0..3, 30_000).await;
    let page = relay.page(&[mailbox(2)]).await.unwrap();
    assert_eq!((page.moved.len(), page.truncated), (2, true));
    move_blobs(&relay, B, mailbox(3), 0..1, 200_000).await;
    let page = relay.page(&[mailbox(3)]).await.unwrap();
    assert_eq!((page.moved.len(), page.truncated), (1, false), "a single larger one comes alone");
}

#[tokio::test]
async fn a_mailbox_that_has_only_moved_mail_is_charged_and_refused_like_any_other() {
    let relay = Relay::start(&[]);
    move_blobs(&relay, B, mailbox(1), 0..1, 10).await;
    let relay = relay.restart(&[("RELAY_RATE_LIMIT", "1")]).await;
    assert_eq!(relay.page(&[mailbox(1)]).await.unwrap().moved.len(), 1);
    assert!(matches!(relay.page(&[mailbox(1)]).await, Err(StorageError::MailboxRateLimited { .. })));
    relay.send(mailbox(2), b"two").await.unwrap();
    relay.clock.advance(Duration::from_secs(60));
    assert_eq!(relay.page(&[mailbox(1)]).await.unwrap().moved.len(), 1);
    let page = relay.page(&[mailbox(2), mailbox(1)]).await.unwrap();
    assert!(page.truncated && page.moved.is_empty() && page.blobs.len() == 1, "left for a later page");
}

#[tokio::test]
async fn what_the_peer_lost_is_hinted_at_no_more_and_may_be_sent_again() {
    let (origin, _) = moved_pair().await;
    let lost = name(mailbox(1), b"one");
    let missing = |peer| origin.lose(peer, vec![lost, name(mailbox(7), b"x")]);
    assert_eq!(missing(C).await, 0, "only the peer that holds it knows");
    assert_eq!(missing(B).await, 1);
    assert!(origin.page(&[mailbox(1)]).await.unwrap().moved.is_empty());
    origin.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(origin.fetch(mailbox(1)).await, [b"one"]);
    origin.recount();
}

#[tokio::test]
async fn every_number_of_federation_leaves_zero() {
    let variables = [("RELAY_BLOB_TTL_SECS", "7200")];
    let relay = Relay::start(&variables);
    move_blobs(&relay, B, mailbox(1), 0..4, 10).await;
    relay.lose(B, vec![name(mailbox(1), &[0; 10])]).await;
    relay.ack(mailbox(1), BlobId::derive(&mailbox(1), &[1; 10])).await.unwrap();
    relay.accept_one(A, carried(mailbox(2), b"held", START.plus(7200))).await;
    let line = |name: &str| {
        let text = relay_daemon::metrics::render(&relay.metrics.gather(&relay.store.gauges));
        let name = format!("relay_federation_{name} ");
        let line = text.lines().find(|line| line.starts_with(&name)).map(str::to_owned);
        line.and_then(|line| line[name.len()..].parse::<u64>().ok())
    };
    let seen = ["hints_stored_total", "hints_missing_total", "hints_active", "held_blobs", "outbox_entries"]
        .map(line);
    assert_eq!(seen, [4, 1, 2, 1, 1].map(Some));
    assert_eq!(line("hints_expired_total"), Some(0));
    relay.clock.advance(4 * HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(["hints_expired_total", "hints_active", "held_blobs"].map(line), [2, 0, 0].map(Some));
    let relay = relay.restart(&variables).await;
    relay.metrics.gather(&relay.store.gauges);
    assert_eq!(relay.store.gauges.of(Total::OUTBOX), 1);
}
