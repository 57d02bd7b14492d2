//! Purge: an owner's word deletes everything of the owner's, once, and nobody else's word deletes anything.

use crate::scanner::{Scanner, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::deadline::unix_now;
use relay_tests::fields::{random_bytes, random_mailbox, send_fields};
use relay_tests::oblivious::envelope;
use relay_tests::owner::signed_around_now;
use relay_tests::{Action, Client, Cluster, Owner, Via};
use serde_json::json;

async fn purge(client: &Client, owner: &Owner, mailbox: &str) -> u64 {
    let reply = client.call(Action::Purge, &owner.purge(mailbox)).await;
    reply.success()["blobs_deleted"].as_u64().unwrap()
}

#[tokio::test]
async fn an_owner_purges_the_mailbox_of_the_key() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let other = random_mailbox();
        for round in 0..3_u8 {
            client.send(&owner.mailbox(), &[round]).await.blob_id();
            client.send(&other, &[round]).await.blob_id();
        }
        assert_eq!(purge(&client, &owner, &owner.mailbox()).await, 3);
        assert!(client.fetch(&[owner.mailbox()]).await.page().blobs.is_empty());
        assert_eq!(client.fetch(&[other]).await.page().blobs.len(), 3);
        assert_eq!(purge(&client, &owner, &owner.mailbox()).await, 0);
    }
}

#[tokio::test]
async fn a_purge_reaches_every_mailbox_registered_to_the_key() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let [first, second, stranger] = [random_mailbox(), random_mailbox(), random_mailbox()];
        client.call(Action::Register, &owner.register(&[&first, &second])).await.success();
        for mailbox in [&first, &second, &owner.mailbox(), &stranger] {
            client.send(mailbox, b"mail").await.blob_id();
        }
        assert_eq!(purge(&client, &owner, &first.to_uppercase()).await, 3);
        let left = client.fetch(&[&first, &second, &owner.mailbox(), &stranger]).await.page();
        assert_eq!(left.blobs.len(), 1);
        assert_eq!(left.blobs[0].mailbox_token, stranger);
    }
}

#[tokio::test]
async fn nobody_purges_a_mailbox_of_others() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner, stranger) = (relay.client_via(via), Owner::random(), Owner::random());
        let [registered, unregistered] = [random_mailbox(), random_mailbox()];
        client.call(Action::Register, &owner.register(&[&registered])).await.success();
        let mailboxes = [registered, unregistered, owner.mailbox()];
        for mailbox in &mailboxes {
            client.send(mailbox, b"mine").await.blob_id();
        }
        for mailbox in &mailboxes {
            client.call(Action::Purge, &stranger.purge(mailbox)).await.failure(401);
        }
        assert_eq!(client.fetch(&mailboxes).await.page().blobs.len(), 3);
    }
}

#[tokio::test]
async fn a_signature_covers_key_token_and_time() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        client.send(&owner.mailbox(), b"stays").await.blob_id();
        let sound = owner.purge(&owner.mailbox());
        for (name, value) in [
            ("purge_token", json!(hex::encode(random_bytes(32)))),
            ("timestamp", json!(unix_now() + 7)),
            ("signature", json!("00".repeat(64))),
            ("signature", json!(hex::encode(random_bytes(64)))),
            ("public_key", json!("00".repeat(32))),
        ] {
            let mut broken = sound.clone();
            broken[name] = value;
            client.call(Action::Purge, &broken).await.refuses(401, "invalid purge signature");
        }
        assert_eq!(client.fetch(&[owner.mailbox()]).await.page().blobs.len(), 1);
        // A refused purge has not used up the token.
        assert_eq!(client.call(Action::Purge, &sound).await.success()["blobs_deleted"], 1);
    }
}

#[tokio::test]
async fn a_purge_is_good_for_a_minute() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        for (timestamp, allowed) in signed_around_now() {
            let reply = client.call(Action::Purge, &owner.purge_at(&owner.mailbox(), timestamp)).await;
            if allowed {
                reply.success();
            } else {
                reply.refuses(401, "purge timestamp outside acceptable window");
            }
        }
    }
}

#[tokio::test]
async fn a_purge_counts_once_ever() {
    let mut relay = Cluster::simple().await;
    let (client, owner) = (relay.client(), Owner::random());
    let token = random_bytes(32);
    let first = owner.purge_with(&owner.mailbox(), &token, unix_now());
    client.call(Action::Purge, &first).await.success();
    let again = owner.purge_with(&owner.mailbox(), &token, unix_now() + 1);
    client.send(&owner.mailbox(), b"came later").await.blob_id();
    for _ in 0..2 {
        client.call(Action::Purge, &first).await.refuses(401, "purge token replay detected");
        client.call(Action::Purge, &again).await.refuses(401, "purge token replay detected");
        relay.storaged.restart().await;
    }
    assert_eq!(client.fetch(&[owner.mailbox()]).await.page().blobs.len(), 1);
}

#[tokio::test]
async fn a_sealed_send_that_is_brought_again_after_a_purge_brings_nothing_back() {
    let mut relay = Cluster::simple().await;
    let (owner, registered) = (Owner::random(), random_mailbox());
    let client = relay.client();
    client.call(Action::Register, &owner.register(&[&registered])).await.success();
    let key = client.key().await;
    let hinted = || {
        let mut fields = send_fields(&registered, b"registered");
        fields["origin_hint"] = json!(STANDARD.encode(random_bytes(74)));
        fields
    };
    let captured = [send_fields(&owner.mailbox(), b"own"), hinted()]
        .map(|fields| key.seal(&envelope::request(Action::Send, &fields)).0);
    for sealed in &captured {
        assert_eq!(client.carry(sealed.clone()).await.status, 200);
    }
    assert_eq!(purge(&client, &owner, &owner.mailbox()).await, 2);
    for restart in [false, true] {
        if restart {
            relay.storaged.restart().await;
        }
        for sealed in &captured {
            assert_eq!(client.carry(sealed.clone()).await.status, 200);
        }
        // A late retry of a direct send is no better.
        client.send(&owner.mailbox(), b"own").await.blob_id();
        assert!(client.fetch(&[&owner.mailbox(), &registered]).await.page().blobs.is_empty());
    }
    client.send(&owner.mailbox(), b"new").await.blob_id();
    assert_eq!(client.fetch(&[owner.mailbox()]).await.page().blobs.len(), 1);
}

#[tokio::test]
async fn of_many_equal_purges_at_once_one_counts() {
    let relay = Cluster::builder().gateways(2).start().await;
    let owner = Owner::random();
    relay.client().send(&owner.mailbox(), b"once").await.blob_id();
    let fields = owner.purge(&owner.mailbox());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (client, fields) = (relay.client(), fields.clone());
            tokio::spawn(async move { client.call(Action::Purge, &fields).await })
        })
        .collect();
    let mut counted = 0;
    for task in tasks {
        let reply = task.await.unwrap();
        if reply.status == 200 {
            counted += 1;
            assert_eq!(reply.success()["blobs_deleted"], 1);
        } else {
            reply.refuses(401, "purge token replay detected");
        }
    }
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn bad_signatures_and_replays_are_not_charged() {
    let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 3).start().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let sound = owner.purge(&owner.mailbox());
        client.call(Action::Purge, &sound).await.success();
        for _ in 0..10 {
            let mut forged = owner.purge(&owner.mailbox());
            forged["signature"] = json!("11".repeat(64));
            client.call(Action::Purge, &forged).await.refuses(401, "invalid purge signature");
            client.call(Action::Purge, &sound).await.refuses(401, "purge token replay detected");
        }
        // The first purge was charged; two requests are left.
        client.send(&owner.mailbox(), b"one").await.blob_id();
        client.send(&owner.mailbox(), b"two").await.blob_id();
        client.send(&owner.mailbox(), b"three").await.refuses(429, "rate limit exceeded");
    }
}

#[tokio::test]
async fn what_was_purged_is_on_disk_no_more() {
    let mut relay = Cluster::simple().await;
    let owner = Owner::random();
    let blob = random_bytes(5000);
    let parts: Vec<Secret> = blob
        .chunks_exact(16)
        .enumerate()
        .map(|(at, part)| Secret::new(&format!("part {at}"), part))
        .collect();
    let scanner = Scanner::new(&parts);
    // Killed at once, so that nothing moves between the files while they are read.
    let on_disk = |relay: &mut Cluster| {
        relay.kill();
        let files = std::fs::read_dir(relay.data()).unwrap().flatten();
        let files = files.filter_map(|file| std::fs::read(file.path()).ok());
        files.map(|bytes| scanner.leaks("disk", &bytes).len()).sum::<usize>()
    };
    relay.client().send(&owner.mailbox(), &blob).await.blob_id();
    assert!(on_disk(&mut relay) > 300, "what was answered is on disk");
    relay.start().await;
    assert_eq!(purge(&relay.client(), &owner, &owner.mailbox()).await, 1);
    assert_eq!(on_disk(&mut relay), 0, "a purge answers when the bytes are gone");
}
