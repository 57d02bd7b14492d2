//! Guardian sets: whom somebody trusts to help after a loss. Only the key that a set belongs to changes it, and
//! everybody who knows its name may read it.

use crate::scanner::{Scanner, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::deadline::unix_now;
use relay_tests::fields::{guardian_fields, random_bytes, random_mailbox, random_name};
use relay_tests::owner::signed_around_now;
use relay_tests::{Action, Client, Cluster, Owner, Reply, Via};
use serde_json::{Value, json};

async fn query(client: &Client, hash: &str) -> Reply {
    client.call(Action::GuardianQuery, &guardian_fields(hash)).await
}

/// The entries of a set, in its order.
async fn guardians(client: &Client, hash: &str) -> Vec<Vec<u8>> {
    let json = query(client, hash).await.success();
    let data = |entry: &Value| STANDARD.decode(entry["data"].as_str().unwrap()).unwrap();
    json["guardians"].as_array().unwrap().iter().map(data).collect()
}

#[tokio::test]
async fn a_stored_set_is_read_by_its_name_until_it_is_deleted() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let entries = [random_bytes(40), random_bytes(1), random_bytes(256)];
        client.call(Action::GuardianStore, &owner.guardian_store(&entries)).await.success();
        for _ in 0..2 {
            assert_eq!(guardians(&client, &owner.guardian_hash()).await, entries);
        }
        assert_eq!(guardians(&client, &owner.guardian_hash().to_uppercase()).await, entries);
        client.call(Action::GuardianDelete, &owner.guardian_delete()).await.success();
        assert!(guardians(&client, &owner.guardian_hash()).await.is_empty());
    }
}

#[tokio::test]
async fn a_store_replaces_the_whole_set() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let now = unix_now();
        for (index, entries) in [
            vec![b"first".to_vec(), b"second".to_vec()],
            vec![b"third".to_vec()],
            (0..10_u8).map(|number| vec![number; 256]).collect(),
            vec![],
        ]
        .into_iter()
        .enumerate()
        {
            let fields = owner.guardian_store_at(&entries, now + index as u64);
            client.call(Action::GuardianStore, &fields).await.success();
            assert_eq!(guardians(&client, &owner.guardian_hash()).await, entries);
        }
    }
}

#[tokio::test]
async fn an_unknown_set_looks_like_a_deleted_one() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        client.call(Action::GuardianStore, &owner.guardian_store(&[b"guardian"])).await.success();
        client.call(Action::GuardianDelete, &owner.guardian_delete()).await.success();
        let deleted = query(&client, &owner.guardian_hash()).await;
        let unknown = query(&client, &random_name()).await;
        assert_eq!(unknown.success(), json!({ "status": "ok", "guardians": [] }));
        assert_eq!((&deleted.body, deleted.plaintext), (&unknown.body, unknown.plaintext));
        // Deleting what is not there is no difference either.
        client.call(Action::GuardianDelete, &Owner::random().guardian_delete()).await.success();
    }
}

#[tokio::test]
async fn a_set_has_ten_entries_of_256_bytes_at_most() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        client.call(Action::GuardianStore, &owner.guardian_store(&[b"stays"])).await.success();
        let later = unix_now() + 1;
        let many = owner.guardian_store_at(&[[7; 8]; 11], later);
        client.call(Action::GuardianStore, &many).await.refuses(400, "too many entries (max 10)");
        let long = owner.guardian_store_at(&[[7; 257]], later);
        client.call(Action::GuardianStore, &long).await.failure(400);
        assert_eq!(guardians(&client, &owner.guardian_hash()).await, [b"stays"]);
        // Neither has used up its signature.
        let full = owner.guardian_store_at(&[[7; 256]; 10], later);
        client.call(Action::GuardianStore, &full).await.success();
        assert_eq!(guardians(&client, &owner.guardian_hash()).await, [[7; 256]; 10]);
    }
}

#[tokio::test]
async fn nobody_else_changes_a_set() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner, stranger) = (relay.client_via(via), Owner::random(), Owner::random());
        client.call(Action::GuardianStore, &owner.guardian_store(&[b"stays"])).await.success();
        for (action, mut fields) in [
            (Action::GuardianStore, stranger.guardian_store(&[b"mine now"])),
            (Action::GuardianDelete, stranger.guardian_delete()),
        ] {
            fields["guardian_hash"] = json!(owner.guardian_hash());
            client.call(action, &fields).await.refuses(400, "guardian_hash does not match designator_pk");
            fields["designator_pk"] = json!(owner.public_key());
            client.call(action, &fields).await.refuses(401, "invalid guardian signature");
        }
        assert_eq!(guardians(&client, &owner.guardian_hash()).await, [b"stays"]);
    }
}

#[tokio::test]
async fn a_signature_covers_what_is_asked_for_and_when() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        client.call(Action::GuardianStore, &owner.guardian_store(&[b"stays"])).await.success();
        let later = unix_now() + 2;
        let store = owner.guardian_store_at(&[b"changed"], later);
        let delete = owner.guardian_delete_at(later);
        for (action, sound, other) in
            [(Action::GuardianStore, &store, &delete), (Action::GuardianDelete, &delete, &store)]
        {
            for (name, value) in [
                ("timestamp", json!(later + 1)),
                ("signature", json!("00".repeat(64))),
                ("signature", json!(hex::encode(random_bytes(64)))),
                ("signature", other["signature"].clone()),
            ] {
                let mut broken = sound.clone();
                broken[name] = value;
                client.call(action, &broken).await.refuses(401, "invalid guardian signature");
            }
        }
        assert_eq!(guardians(&client, &owner.guardian_hash()).await, [b"stays"]);
        client.call(Action::GuardianStore, &store).await.success();
        client.call(Action::GuardianDelete, &delete).await.success();
    }
}

#[tokio::test]
async fn a_signature_is_good_for_a_minute() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        for (timestamp, allowed) in signed_around_now() {
            let owner = Owner::random();
            for (action, fields) in [
                (Action::GuardianStore, owner.guardian_store_at(&[b"guardian"], timestamp)),
                (Action::GuardianDelete, owner.guardian_delete_at(timestamp)),
            ] {
                let reply = client.call(action, &fields).await;
                if allowed {
                    reply.success();
                } else {
                    reply.refuses(401, "guardian request timestamp outside acceptable window");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_signature_counts_once_ever() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    for via in Via::ALL {
        let owner = Owner::random();
        let now = unix_now();
        let store = owner.guardian_store_at(&[b"first"], now);
        let delete = owner.guardian_delete_at(now);
        relay.client_of_via(0, via).call(Action::GuardianStore, &store).await.success();
        relay.client_of_via(0, via).call(Action::GuardianDelete, &delete).await.success();
        let last = owner.guardian_store_at(&[b"last"], now + 1);
        relay.client_of_via(0, via).call(Action::GuardianStore, &last).await.success();
        // The signature covers no entry, so another set under it is a replay as well.
        let other = owner.guardian_store_at(&[b"other"], now);
        for _ in 0..2 {
            let client = relay.client_of_via(1, via);
            for (action, fields) in [
                (Action::GuardianStore, &store),
                (Action::GuardianStore, &other),
                (Action::GuardianDelete, &delete),
            ] {
                client.call(action, fields).await.refuses(401, "guardian signature replay detected");
            }
            assert_eq!(guardians(&client, &owner.guardian_hash()).await, [b"last"]);
            relay.kill();
            relay.start().await;
        }
    }
}

#[tokio::test]
async fn of_many_equal_stores_at_once_one_counts() {
    let relay = Cluster::builder().gateways(2).start().await;
    let owner = Owner::random();
    let now = unix_now();
    let tasks: Vec<_> = (0..9_u8)
        .map(|index| {
            let client = relay.client_via(Via::ALL[usize::from(index) % 3]);
            let fields = owner.guardian_store_at(&[[index]], now);
            tokio::spawn(async move {
                let reply = client.call(Action::GuardianStore, &fields).await;
                if reply.status == 200 {
                    return Some(index);
                }
                reply.refuses(401, "guardian signature replay detected");
                None
            })
        })
        .collect();
    let mut counted = Vec::new();
    for task in tasks {
        counted.extend(task.await.unwrap());
    }
    assert_eq!(counted.len(), 1);
    assert_eq!(guardians(&relay.client(), &owner.guardian_hash()).await, [counted]);
}

#[tokio::test]
async fn a_set_survives_that_everything_is_killed() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let mut stored = Vec::new();
    for (index, via) in Via::ALL.into_iter().enumerate() {
        let (owner, entries) = (Owner::random(), [random_bytes(200), random_bytes(100)]);
        let client = relay.client_of_via(index % 2, via);
        client.call(Action::GuardianStore, &owner.guardian_store(&entries)).await.success();
        stored.push((owner, entries));
    }
    relay.kill();
    relay.start().await;
    for via in Via::ALL {
        for gateway in 0..2 {
            for (owner, entries) in &stored {
                let client = relay.client_of_via(gateway, via);
                assert_eq!(guardians(&client, &owner.guardian_hash()).await, *entries);
            }
        }
    }
    let (owner, _) = &stored[0];
    relay.client_of(0).call(Action::GuardianDelete, &owner.guardian_delete()).await.success();
    relay.kill();
    relay.start().await;
    assert!(guardians(&relay.client_of(1), &owner.guardian_hash()).await.is_empty());
}

#[tokio::test]
async fn a_purge_deletes_the_set_of_its_key_and_no_other() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner, other) = (relay.client_via(via), Owner::random(), Owner::random());
        let mailbox = random_mailbox();
        client.call(Action::Register, &owner.register(&[&mailbox])).await.success();
        for owner in [&owner, &other] {
            client.call(Action::GuardianStore, &owner.guardian_store(&[b"guardian"])).await.success();
        }
        client.call(Action::Purge, &owner.purge(&mailbox)).await.success();
        assert!(guardians(&client, &owner.guardian_hash()).await.is_empty());
        assert_eq!(guardians(&client, &other.guardian_hash()).await, [b"guardian"]);
    }
}

#[tokio::test]
async fn what_was_deleted_is_on_disk_no_more() {
    let mut relay = Cluster::simple().await;
    let owner = Owner::random();
    let entries: Vec<Vec<u8>> = (0..10).map(|_| random_bytes(256)).collect();
    let secrets: Vec<Secret> = entries.iter().map(|entry| Secret::new("a guardian", entry)).collect();
    let scanner = Scanner::new(&secrets);
    // Killed at once, so that nothing moves between the files while they are read.
    let is_on_disk = |relay: &mut Cluster| {
        relay.kill();
        let files = std::fs::read_dir(relay.data()).unwrap().flatten();
        let mut contents = files.filter_map(|file| std::fs::read(file.path()).ok());
        contents.any(|bytes| !scanner.leaks("disk", &bytes).is_empty())
    };
    let now = unix_now();
    for (index, fields) in
        [owner.guardian_delete_at(now), owner.purge(&owner.mailbox())].into_iter().enumerate()
    {
        let action = if index == 0 { Action::GuardianDelete } else { Action::Purge };
        let store = owner.guardian_store_at(&entries, now + index as u64);
        relay.client().call(Action::GuardianStore, &store).await.success();
        assert!(is_on_disk(&mut relay), "what was answered is on disk");
        relay.start().await;
        relay.client().call(action, &fields).await.success();
        assert!(!is_on_disk(&mut relay), "{action:?} answers when the bytes are gone");
        relay.start().await;
    }
}
