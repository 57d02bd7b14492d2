//! Quotas: exact under concurrency, and a refusal costs nothing that is already there.

use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::{Client, Cluster, Via};
use std::collections::BTreeSet;

/// Sends distinct blobs from many clients at once; returns the ids of the accepted ones.
async fn send_at_once(client: &Client, mailbox: &str, count: usize, size: usize) -> BTreeSet<String> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (client, mailbox) = (client.another(), mailbox.to_owned());
            tokio::spawn(async move {
                let reply = client.send(&mailbox, &random_bytes(size)).await;
                if reply.status == 200 {
                    return Some(reply.blob_id());
                }
                reply.refuses(429, "quota exceeded for recipient");
                assert!(!reply.has_head() || reply.retry_after() >= 1);
                None
            })
        })
        .collect();
    let mut accepted = BTreeSet::new();
    for task in tasks {
        accepted.extend(task.await.unwrap());
    }
    accepted
}

async fn stored(client: &Client, mailbox: &str) -> BTreeSet<String> {
    client.fetch(&[mailbox]).await.page().blobs.into_iter().map(|blob| blob.id).collect()
}

#[tokio::test]
async fn a_mailbox_takes_exactly_its_number_of_blobs() {
    let relay = Cluster::builder()
        .gateways(2)
        .separate_ports()
        .variable("RELAY_MAX_BLOBS_PER_USER", 10)
        .start()
        .await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let accepted = send_at_once(&client, &mailbox, 40, 100).await;
        assert_eq!(accepted.len(), 10);
        assert_eq!(stored(&client, &mailbox).await, accepted);
        assert!(send_at_once(&relay.client_of(1), &mailbox, 4, 100).await.is_empty());
    }
}

#[tokio::test]
async fn a_mailbox_takes_exactly_its_number_of_bytes() {
    let relay = Cluster::builder().variable("RELAY_MAX_STORAGE_PER_USER", 10_000).start().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        assert_eq!(send_at_once(&client, &mailbox, 40, 1000).await.len(), 10);
        assert!(send_at_once(&client, &mailbox, 1, 1).await.is_empty(), "not a byte more");
        assert_eq!(send_at_once(&client, &random_mailbox(), 1, 10_000).await.len(), 1);
    }
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_keeps_what_it_has() {
    let relay = Cluster::builder().variable("RELAY_MAX_BLOBS_PER_USER", 2).start().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let first = client.send(&mailbox, b"first").await.blob_id();
        let second = client.send(&mailbox, b"second").await.blob_id();
        client.send(&mailbox, b"third").await.refuses(429, "quota exceeded for recipient");
        assert_eq!(client.send(&mailbox, b"second").await.blob_id(), second, "what is there needs no room");
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&first, &second]);
        assert!(client.ack(&mailbox, &first).await.acknowledged());
        let third = client.send(&mailbox, b"third").await.blob_id();
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&second, &third]);
    }
}

#[tokio::test]
async fn quotas_survive_a_restart() {
    let mut relay = Cluster::builder().variable("RELAY_MAX_BLOBS_PER_USER", 3).start().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    assert_eq!(send_at_once(&client, &mailbox, 2, 100).await.len(), 2);
    relay.storaged.restart().await;
    assert_eq!(send_at_once(&client, &mailbox, 5, 100).await.len(), 1);
}
