//! Quotas of mailboxes, where some of the mail is elsewhere and some is for others.

use crate::tests::federation::*;

#[tokio::test]
async fn what_moved_counts_in_its_mailbox() {
    let origin = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "2"), ("RELAY_MAX_STORAGE_PER_USER", "2000")]);
    let peer = Relay::start(&[]);
    for number in [1, 2] {
        origin.send(mailbox(number), &[1; 1600]).await.unwrap();
    }
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 2);
    assert_eq!(origin.send(mailbox(1), &[2; 401]).await, Err(StorageError::QuotaExceeded));
    origin.send(mailbox(1), &[3; 400]).await.unwrap();
    origin.send(mailbox(2), b"two").await.unwrap();
    assert_eq!(origin.send(mailbox(2), b"six").await, Err(StorageError::QuotaExceeded));
    origin.ack(mailbox(2), BlobId::derive(&mailbox(2), &[1; 1600])).await.unwrap();
    origin.send(mailbox(2), b"six").await.unwrap();
}

#[tokio::test]
async fn what_is_held_for_peers_takes_no_place_in_a_mailbox_here() {
    let relay = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "1")]);
    for number in 0..5 {
        let blob = carried(mailbox(1), &[number], START.plus(86_400));
        assert_eq!(relay.accept_one(A, blob).await, OfferResult::Accepted);
    }
    relay.send(mailbox(1), b"own").await.unwrap();
    assert_eq!(relay.send(mailbox(1), b"more").await, Err(StorageError::QuotaExceeded));
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 6);
}

#[tokio::test]
async fn what_a_client_left_here_too_takes_its_place() {
    let relay = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "1")]);
    relay.accept_one(A, carried(mailbox(1), b"one", START.plus(86_400))).await;
    relay.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(relay.send(mailbox(1), b"two").await, Err(StorageError::QuotaExceeded));
}
