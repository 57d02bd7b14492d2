//! Registration: makes mailboxes known, and binds them to the first owner who proves a key.

use relay_tests::deadline::unix_now;
use relay_tests::fields::random_mailbox;
use relay_tests::{Action, Cluster, Owner, Via};
use serde_json::json;

#[tokio::test]
async fn a_registration_counts_its_mailboxes() {
    let relay = Cluster::simple().await;
    for via in Via::STRAIGHT {
        let client = relay.client_via(via);
        let mut mailboxes: Vec<String> = (0..1900).map(|_| random_mailbox()).collect();
        assert_eq!(client.register(&mailboxes[..1]).await.success()["registered"], 1);
        for _ in 0..2 {
            assert_eq!(client.register(&mailboxes).await.success()["registered"], 1900);
        }
        mailboxes.push(random_mailbox());
        client.register(&mailboxes).await.refuses(400, "mailbox_tokens must contain 1-1900 entries");
    }
}

#[tokio::test]
async fn where_registration_is_required_strangers_cannot_fill_the_disk() {
    let mut relay = Cluster::builder().variable("RELAY_REQUIRE_REGISTRATION", true).start().await;
    let client = relay.client();
    let [known, unknown] = [random_mailbox(), random_mailbox()];
    client.register(&[known.to_uppercase()]).await.success();
    client.send(&known, b"welcome").await.blob_id();
    client.send(&unknown, b"refused").await.failure(403);
    assert_eq!(client.fetch(&[&known, &unknown]).await.page().blobs.len(), 1);
    relay.storaged.restart().await;
    client.send(&known, b"still welcome").await.blob_id();
    client.send(&unknown, b"still refused").await.failure(403);
    client.register(&[&unknown]).await.success();
    client.send(&unknown, b"welcome now").await.blob_id();
}

#[tokio::test]
async fn without_that_nobody_needs_to_register() {
    let relay = Cluster::simple().await;
    relay.client().send(&random_mailbox(), b"free").await.blob_id();
}

#[tokio::test]
async fn the_first_owner_stays() {
    let mut relay = Cluster::simple().await;
    let (client, first, second) = (relay.client(), Owner::random(), Owner::random());
    let mailbox = random_mailbox();
    client.call(Action::Register, &first.register(&[&mailbox])).await.success();
    client.call(Action::Register, &second.register(&[&mailbox])).await;
    client.register(&[&mailbox]).await.success();
    client.send(&mailbox, b"for the first").await.blob_id();
    relay.storaged.restart().await;
    client.call(Action::Purge, &second.purge(&mailbox)).await.failure(401);
    assert_eq!(client.call(Action::Purge, &first.purge(&mailbox)).await.success()["blobs_deleted"], 1);
}

#[tokio::test]
async fn a_registered_mailbox_may_find_its_owner_later() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let mailbox = random_mailbox();
        client.register(&[&mailbox]).await.success();
        client.call(Action::Register, &owner.register(&[&mailbox])).await.success();
        client.call(Action::Purge, &owner.purge(&mailbox)).await.success();
    }
}

#[tokio::test]
async fn a_mailbox_in_use_without_a_key_is_not_taken_by_whoever_knows_its_token() {
    let mut relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, stranger) = (relay.client_via(via), Owner::random());
        let [used, other] = [random_mailbox(), random_mailbox()];
        for _ in 0..2 {
            let told = client.register(&[&used, &other]).await.success();
            assert_eq!(
                told,
                json!({ "status": "ok", "registered": 2 }),
                "nothing new is said where nothing is"
            );
        }
        client.send(&used, b"for the client").await.blob_id();
        let told = client.call(Action::Register, &stranger.register(&[&used])).await.success();
        assert_eq!((&told["waiting_for_objection"], &told["bound_to_other_key"]), (&json!(1), &json!(null)));
        client.call(Action::Purge, &stranger.purge(&used)).await.failure(401);
        client.call(Action::Purge, &stranger.purge(&stranger.mailbox())).await.success();
        assert_eq!(client.register(&[&used, &other]).await.success()["bound_to_other_key"], 1);
        assert_eq!(client.register(&[&used, &other]).await.success()["bound_to_other_key"], json!(null));
        assert_eq!(client.fetch(&[&used]).await.page().blobs.len(), 1);
        relay.storaged.restart().await;
        client.call(Action::Purge, &stranger.purge(&used)).await.failure(401);
    }
}

#[tokio::test]
async fn who_registers_is_told_how_many_mailboxes_another_key_has() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, first, second) = (relay.client_via(via), Owner::random(), Owner::random());
        let [bound, free] = [random_mailbox(), random_mailbox()];
        client.call(Action::Register, &first.register(&[&bound])).await.success();
        let told = client.call(Action::Register, &second.register(&[&bound, &free])).await.success();
        assert_eq!(told, json!({ "status": "ok", "registered": 2, "bound_to_other_key": 1 }));
        assert_eq!(client.register(&[&bound, &free]).await.success()["bound_to_other_key"], 2);
    }
}

#[tokio::test]
async fn a_purge_forgets_the_registrations_that_it_served() {
    let relay = Cluster::builder().variable("RELAY_REQUIRE_REGISTRATION", true).start().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let mailbox = random_mailbox();
        client.call(Action::Register, &owner.register(&[&mailbox])).await.success();
        client.send(&mailbox, b"purged").await.blob_id();
        assert_eq!(client.call(Action::Purge, &owner.purge(&mailbox)).await.success()["blobs_deleted"], 1);
        client.send(&mailbox, b"refused").await.failure(403);
        client.register(&[&mailbox]).await.success();
        client.send(&mailbox, b"welcome").await.blob_id();
    }
}

#[tokio::test]
async fn a_signature_covers_key_mailboxes_and_time() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let [mailbox, other] = [random_mailbox(), random_mailbox()];
        let sound = owner.register(&[&mailbox, &other]);
        for (name, value) in [
            ("mailbox_tokens", json!([mailbox])),
            ("mailbox_tokens", json!([mailbox, random_mailbox()])),
            ("public_key", json!(Owner::random().public_key())),
            ("timestamp", json!(unix_now() + 7)),
            ("signature", json!("22".repeat(64))),
        ] {
            let mut broken = sound.clone();
            broken[name] = value;
            client.call(Action::Register, &broken).await.failure(401);
        }
        // Their order does not matter.
        let mut turned = sound;
        turned["mailbox_tokens"] = json!([other, mailbox]);
        client.call(Action::Register, &turned).await.success();
    }
}

#[tokio::test]
async fn a_signed_registration_is_good_for_a_minute_and_once() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        let mailbox = random_mailbox();
        for timestamp in [unix_now() - 90, unix_now() + 90, 0, u64::MAX] {
            client.call(Action::Register, &owner.register_at(&[&mailbox], timestamp)).await.failure(401);
        }
        let sound = owner.register_at(&[&mailbox], unix_now() - 40);
        client.call(Action::Register, &sound).await.success();
        client.call(Action::Register, &sound).await.failure(401);
    }
}

#[tokio::test]
async fn half_a_proof_is_a_mistake() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let (client, owner) = (relay.client_via(via), Owner::random());
        for name in ["public_key", "timestamp", "signature"] {
            let mut fields = owner.register(&[random_mailbox()]);
            fields.as_object_mut().unwrap().remove(name).unwrap();
            client.call(Action::Register, &fields).await.failure(400);
        }
    }
}
