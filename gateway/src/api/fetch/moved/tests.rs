//! Pages of which a part lies with peers, and how they are cut.

use super::super::cut::tests::here;
use super::*;
use crate::fixture::{RECALL, Relay};
use crate::storage::PATIENCE;
use relay_proto::{Ciphertext, MailboxToken, OriginHint, StorageError, UnixSeconds};
use serde_json::{Value, json};

const PEER: PeerId = PeerId::from_bytes([8; 32]);

fn token() -> String {
    "ab".repeat(32)
}

fn mailbox() -> MailboxHash {
    MailboxToken::from_hex(&token()).unwrap().hash()
}

/// A blob as a peer gives it back. Its own word on when it arrived is wrong.
fn carried(content: &str) -> TransferBlob {
    let ciphertext = Ciphertext::try_from(Bytes::from(content.to_owned())).unwrap();
    TransferBlob {
        mailbox: mailbox(),
        blob_id: BlobId::derive(&mailbox(), ciphertext.as_bytes()),
        ciphertext,
        origin_hint: None,
        created_at: UnixSeconds::new(1),
        expires_at: UnixSeconds::new(1001),
        owner: None,
    }
}

fn moved(created_at: u64, place: u64) -> MovedBlob {
    MovedBlob {
        mailbox_index: 0,
        blob_id: Bytes::from_static(&[0; 16]),
        created_at,
        place,
        peer: PEER.into(),
        reachable: true,
    }
}

fn unreachable(created_at: u64, place: u64) -> MovedBlob {
    MovedBlob { reachable: false, ..moved(created_at, place) }
}

/// Leaves a blob here: it arrives in hour 3600, at place 10, 11, ….
async fn leave(relay: &Relay, content: &str) -> String {
    let ciphertext = Ciphertext::try_from(Bytes::from(content.to_owned())).unwrap().to_base64();
    let send = json!({ "recipient_id": token(), "ciphertext": ciphertext });
    relay.post("/v2/send", &send).await.json(200)["blob_id"].as_str().unwrap().to_owned()
}

async fn fetch(relay: &Relay) -> Value {
    relay.post("/v2/fetch", &json!({ "mailbox_tokens": ["00".repeat(32), token()] })).await.json(200)
}

fn ids(page: &Value) -> Vec<&str> {
    page["blobs"].as_array().unwrap().iter().map(|blob| blob["blob_id"].as_str().unwrap()).collect()
}

fn hinted(blobs: &[&TransferBlob]) -> Value {
    let hint = |blob: &&TransferBlob| {
        json!({
            "blob_id": blob.blob_id.to_hex(), "relay_url": "https://peer.example", "expires_at_secs": 9000,
        })
    };
    json!({
        "hints": blobs.iter().map(hint).collect::<Vec<_>>(),
        "relay_signing_key": "05".repeat(32),
        "signature": "06".repeat(64),
    })
}

#[tokio::test]
async fn mail_that_comes_back_stands_where_it_arrived() {
    let relay = Relay::with_peers().await;
    let here = leave(&relay, "here").await;
    let hint = OriginHint::try_from(Bytes::from(vec![7; 74])).unwrap();
    let (older, younger) = (TransferBlob { origin_hint: Some(hint), ..carried("older") }, carried("younger"));
    for (blob, moved) in [(&younger, moved(3600, 99)), (&older, moved(3600, 9))] {
        relay.peers.hold(blob.clone());
        relay.storage.moved(blob, moved);
    }
    let page = fetch(&relay).await;
    assert_eq!(ids(&page), [older.blob_id.to_hex(), here, younger.blob_id.to_hex()]);
    let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let expected = json!({
        "blob_id": older.blob_id.to_hex(), "ciphertext": base64(b"older"), "created_at": 3600,
        "mailbox_token": token(), "origin_hint": base64(&[7; 74]),
    });
    assert_eq!(page["blobs"][0], expected);
    assert_eq!((&page["truncated"], page.get("forwarding_hints")), (&json!(false), None));
    let wanted = [&younger, &older].map(|blob| (PEER, blob.name()));
    assert_eq!(relay.peers.asked(), [(wanted.to_vec(), RECALL - RECALL / 8)]);
    assert!(relay.storage.hinted().is_empty());
}

#[tokio::test]
async fn what_does_not_come_is_hinted_at_and_hides_no_younger_mail() {
    let relay = Relay::with_peers().await;
    let here = leave(&relay, "here").await;
    let (lost, came) = (carried("lost"), carried("came"));
    relay.peers.hold(came.clone());
    relay.storage.moved(&lost, moved(0, 1));
    relay.storage.moved(&came, moved(0, 2));
    let page = fetch(&relay).await;
    assert_eq!(ids(&page), [came.blob_id.to_hex(), here]);
    assert_eq!(page["truncated"], true, "it may come when these are acked");
    assert_eq!(page["forwarding_hints"], hinted(&[&lost]));
    assert_eq!(relay.storage.hinted(), [[lost.name()]]);
}

#[tokio::test]
async fn a_peer_that_cannot_be_asked_is_not_and_asking_again_is_no_use() {
    let relay = Relay::with_peers().await;
    let here = leave(&relay, "here").await;
    let blob = carried("away");
    relay.storage.moved(&blob, unreachable(0, 1));
    let page = fetch(&relay).await;
    assert_eq!((ids(&page), &page["truncated"]), (vec![here.as_str()], &json!(false)));
    assert_eq!(page["forwarding_hints"], hinted(&[&blob]));
    assert!(relay.peers.asked().is_empty());
}

#[tokio::test]
async fn without_federated_there_are_hints_at_once() {
    let relay = Relay::start().await;
    let here = leave(&relay, "here").await;
    let blob = carried("away");
    relay.storage.moved(&blob, moved(0, 1));
    let began = Instant::now();
    let page = fetch(&relay).await;
    assert!(began.elapsed() < PATIENCE / 2, "nothing was waited for");
    assert_eq!((ids(&page), &page["truncated"]), (vec![here.as_str()], &json!(false)));
    assert_eq!(page["forwarding_hints"], hinted(&[&blob]));
    assert_eq!(relay.app.metrics.storage_retries.get(), 0);
}

#[tokio::test]
async fn nothing_moved_costs_no_call() {
    let relay = Relay::with_peers().await;
    leave(&relay, "here").await;
    relay
        .storage
        .moved(&TransferBlob { mailbox: MailboxHash::from_bytes([1; 32]), ..carried("x") }, moved(0, 1));
    assert_eq!(fetch(&relay).await["truncated"], false);
    assert!(relay.peers.asked().is_empty() && relay.storage.hinted().is_empty());
}

#[tokio::test]
async fn a_peer_that_lies_is_not_believed() {
    let relay = Relay::with_peers().await;
    let (swapped, over, foreign) = (carried("true"), carried("over"), carried("foreign"));
    relay.peers.hold(TransferBlob { ciphertext: carried("false").ciphertext, ..swapped.clone() });
    relay.peers.hold(TransferBlob { expires_at: UnixSeconds::new(1000), ..over.clone() });
    relay.peers.hold(foreign);
    relay.storage.moved(&swapped, moved(0, 1));
    relay.storage.moved(&over, moved(0, 2));
    let page = fetch(&relay).await;
    assert!(ids(&page).is_empty());
    assert_eq!(page["forwarding_hints"], hinted(&[&swapped, &over]));
    // One second earlier the other one was good, and it is shown once however often it comes.
    relay.clock.jump_to(UnixSeconds::new(999));
    for _ in 0..2 {
        relay.peers.hold(swapped.clone());
    }
    let page = fetch(&relay).await;
    assert_eq!(ids(&page), [swapped.blob_id.to_hex(), over.blob_id.to_hex()]);
    assert_eq!(page.get("forwarding_hints"), None);
}

#[tokio::test]
async fn a_blob_that_also_lies_here_appears_once() {
    let relay = Relay::with_peers().await;
    let twin = carried("twin");
    let here = leave(&relay, "twin").await;
    assert_eq!(here, twin.blob_id.to_hex());
    relay.peers.hold(twin.clone());
    relay.storage.moved(&twin, moved(0, 1));
    let page = fetch(&relay).await;
    assert_eq!((ids(&page), page.get("forwarding_hints")), (vec![here.as_str()], None));
    assert!(relay.peers.asked().is_empty());
}

#[tokio::test]
async fn an_empty_page_never_sends_a_client_round_and_round() {
    let relay = Relay::with_peers().await;
    let lost = carried("lost");
    relay.storage.moved(&lost, moved(0, 1));
    relay.storage.truncate();
    let page = fetch(&relay).await;
    assert_eq!((ids(&page).len(), &page["truncated"]), (0, &json!(false)));
    assert_eq!(page["forwarding_hints"], hinted(&[&lost]));
}

#[tokio::test]
async fn mail_younger_than_what_waits_here_waits_too() {
    let relay = Relay::with_peers().await;
    let here = leave(&relay, "here").await;
    let (older, younger) = (carried("older"), carried("younger"));
    for (blob, moved) in [(&older, moved(3600, 9)), (&younger, moved(3600, 11))] {
        relay.peers.hold(blob.clone());
        relay.storage.moved(blob, moved);
    }
    relay.storage.truncate();
    let page = fetch(&relay).await;
    assert_eq!(ids(&page), [older.blob_id.to_hex(), here]);
    assert_eq!((&page["truncated"], page.get("forwarding_hints")), (&json!(true), None));
    assert_eq!(relay.peers.asked()[0].0.len(), 1);
}

#[tokio::test]
async fn blobs_go_out_even_without_their_hints() {
    let relay = Relay::with_peers().await;
    let here = leave(&relay, "here").await;
    relay.storage.moved(&carried("away"), unreachable(0, 1));
    relay.storage.refuse_hints(StorageError::Internal);
    let page = fetch(&relay).await;
    assert_eq!((ids(&page), page.get("forwarding_hints")), (vec![here.as_str()], None));
}

#[tokio::test]
async fn a_request_whose_patience_is_spent_does_not_wait_for_peers() {
    let relay = Relay::with_peers().await;
    let blob = carried("moved");
    relay.peers.hold(blob.clone());
    relay.storage.moved(&blob, moved(0, 1));
    let (found, _) = complete(
        &relay.app,
        &[mailbox()],
        FetchReply {
            moved: vec![MovedBlob { blob_id: blob.blob_id.into(), ..moved(0, 1) }],
            ..FetchReply::default()
        },
        Instant::now() + HINT_PATIENCE,
    )
    .await;
    assert!(found.blobs.is_empty());
    assert!(relay.peers.asked().is_empty());
    assert_eq!(relay.storage.hinted(), [[blob.name()]]);
}

fn nothing_came() -> RecallOutcome {
    RecallOutcome::Came { blobs: Vec::new(), lost: HashSet::new() }
}

#[tokio::test]
async fn what_a_peer_lost_is_asked_for_once_and_what_is_behind_it_next() {
    let relay = Relay::with_peers().await;
    let (lost, kept) = (carried("lost"), carried("kept"));
    relay.peers.lose(lost.name());
    // Nobody asked for this one, so nobody can lose it.
    relay.peers.lose(kept.name());
    relay.storage.moved(&lost, moved(0, 1));
    let page = fetch(&relay).await;
    assert_eq!((ids(&page), &page["truncated"]), (Vec::new(), &json!(true)), "asking again helps at once");
    assert!(page.get("forwarding_hints").is_none(), "nobody has it");
}

#[test]
fn asking_again_helps_where_a_peer_could_be_asked() {
    let names: Vec<Moved> =
        (0..60).map(|place| (carried(&place.to_string()).name(), moved(0, place))).collect();
    let here = || Here { blobs: here(&[(1, false)]), truncated: false, oversized: 0 };
    let (found, missing) = merge(here(), names.clone(), nothing_came());
    assert!(found.truncated);
    assert_eq!(missing, names[..MAX_HINTS].iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert!(!merge(here(), names.clone(), RecallOutcome::Nothing).0.truncated);
    let away =
        names.into_iter().map(|(name, moved)| (name, MovedBlob { reachable: false, ..moved })).collect();
    assert!(!merge(here(), away, nothing_came()).0.truncated);
}
