//! Mail whose peer is away: told where it is, and deleted when the peer is back.

use super::{Mail, SMALL, has_moved};
use ed25519_dalek::{Signature, VerifyingKey};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::Federation;
use relay_tests::fields::random_bytes;
use relay_tests::{Action, Client, Owner, Via};
use serde_json::Value;

/// Fetches one mailbox and returns all of the answer.
pub(super) async fn fetched(client: &Client, mailbox: &str) -> Value {
    client.fetch(&[mailbox]).await.success()
}

/// Checks the relay's word for some hints; returns the ids that they name.
pub(super) fn checked(hints: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut message = Vec::new();
    let mut ids = Vec::new();
    for hint in hints["hints"].as_array().unwrap() {
        message.extend(hex::decode(text(&hint["blob_id"])).unwrap());
        message.extend(text(&hint["relay_url"]).into_bytes());
        message.extend(hint["expires_at_secs"].as_u64().unwrap().to_be_bytes());
        ids.push(text(&hint["blob_id"]));
    }
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(ids, sorted, "hints are signed in the order of their ids");
    let key: [u8; 32] = hex::decode(text(&hints["relay_signing_key"])).unwrap().try_into().unwrap();
    let signature: [u8; 64] = hex::decode(text(&hints["signature"])).unwrap().try_into().unwrap();
    VerifyingKey::from_bytes(&key)
        .unwrap()
        .verify_strict(&message, &Signature::from_bytes(&signature))
        .unwrap();
    ids
}

#[tokio::test]
async fn what_a_peer_that_is_away_holds_is_hinted_at_and_comes_when_it_is_back() {
    let mut federation = Federation::pair(&SMALL).await;
    let mut mail = Mail::default();
    let client = federation.relays[0].client();
    let old = mail.fill(&client, 30, 50_000).await;
    has_moved(&federation.relays[0]).await;
    let fresh = mail.fill(&client, 1, 100).await;
    let url = format!("http://{}", federation.relays[1].address());
    federation.relays[1].kill();
    federation.relays[0].has_peers(0).await;

    let mut key = None;
    for via in Via::ALL {
        let client = federation.relays[0].client_via(via);
        let answer = deadline::until("hints", PATIENCE, async || {
            let answer = fetched(&client, &old).await;
            answer.get("forwarding_hints").is_some().then_some(answer)
        })
        .await;
        let hints = &answer["forwarding_hints"];
        let ids = checked(hints);
        assert!(!ids.is_empty() && ids.iter().all(|id| mail.0.contains_key(&(old.clone(), id.clone()))));
        assert!(hints["hints"].as_array().unwrap().iter().all(|hint| hint["relay_url"] == *url));
        let signer = hints["relay_signing_key"].clone();
        assert_eq!(*key.get_or_insert(signer.clone()), signer, "one key signs for the relay");
    }
    // Nobody asks peers for a mailbox that has nothing there.
    let answer = fetched(&client, &fresh).await;
    assert!(answer.get("forwarding_hints").is_none() && answer["blobs"].as_array().unwrap().len() == 1);

    federation.relays[1].start().await;
    federation.connected().await;
    mail.receive_all(&client).await;
    federation.settled().await;
}

#[tokio::test]
async fn a_client_that_follows_a_hint_receives_and_acks_at_the_peer() {
    let federation = Federation::pair(&SMALL).await;
    let [origin, peer] = &federation.relays[..] else { panic!("two relays") };
    let mut mail = Mail::default();
    let mailbox = mail.fill(&origin.client(), 30, 50_000).await;
    let moved = has_moved(origin).await;
    let at_peer = peer.client();
    let mut received = 0;
    while received < moved {
        for blob in at_peer.fetch(&[&mailbox]).await.page().blobs {
            let sent = mail.0.remove(&(mailbox.clone(), blob.id.clone())).unwrap();
            assert!(sent == blob.ciphertext);
            assert!(at_peer.ack(&mailbox, &blob.id).await.acknowledged());
            received += 1;
        }
    }
    // The origin learns of it when it asks, and has the rest.
    mail.receive_all(&origin.client()).await;
    federation.settled().await;
}

#[tokio::test]
async fn acks_and_purges_made_while_a_peer_is_away_reach_it_later() {
    let mut federation = Federation::pair(&SMALL).await;
    let client = federation.relays[0].client();
    let (owner, other) = (Owner::random(), Owner::random());
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(client.send(&owner.mailbox(), &random_bytes(50_000)).await.blob_id());
        ids.push(client.send(&other.mailbox(), &random_bytes(50_000)).await.blob_id());
    }
    let moved = has_moved(&federation.relays[0]).await;
    federation.relays[1].kill();
    federation.relays[0].has_peers(0).await;

    let purged = client.call(Action::Purge, &owner.purge(&owner.mailbox())).await.success();
    assert_eq!(purged["blobs_deleted"], 20, "what lies with peers counts");
    for id in &ids {
        client.ack(&other.mailbox(), id).await.success();
    }
    let page = client.fetch(&[owner.mailbox(), other.mailbox()]).await.success();
    assert!(page["blobs"].as_array().unwrap().is_empty() && page.get("forwarding_hints").is_none());
    assert_eq!(federation.relays[0].stored("relay_federation_outbox_entries").await, moved);

    federation.relays[0].kill();
    federation.relays[0].start().await;
    federation.relays[1].start().await;
    federation.settled().await;
    assert_eq!(federation.relays[1].stored("relay_blobs_stored").await, 0);
}

#[test]
fn a_hint_that_was_changed_is_told_from_a_true_one() {
    use ed25519_dalek::Signer as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let mut message = vec![7; 16];
    message.extend(b"http://a");
    message.extend(5_u64.to_be_bytes());
    let signature = hex::encode(key.sign(&message).to_bytes());
    let hints = |url: &str| {
        serde_json::json!({
            "hints": [{ "blob_id": "07".repeat(16), "relay_url": url, "expires_at_secs": 5 }],
            "relay_signing_key": hex::encode(key.verifying_key().to_bytes()),
            "signature": signature,
        })
    };
    assert_eq!(checked(&hints("http://a")).len(), 1);
    assert!(std::panic::catch_unwind(|| checked(&hints("http://b"))).is_err());
}
