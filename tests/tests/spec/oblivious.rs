//! Oblivious HTTP: what a relay in between sees tells it nothing, whatever is inside; and nothing that is inside
//! reaches what it should not.

mod inside;
mod keys;

use relay_tests::deadline::{self, PATIENCE, unix_now};
use relay_tests::fields::{
    claim_fields, mailbox_fields, offer_fields, proof_fields, put_fields, random_bytes, random_mailbox,
    send_fields,
};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::binary::Request;
use relay_tests::oblivious::{KEY_PATH, PATH, REQUEST_TYPE, RESPONSE_TYPE, WELL_KNOWN, envelope};
use relay_tests::{Action, Client, Cluster, Reply, Via};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DAY: u64 = 86_400;
/// The bytes in front of a sealed plaintext: key id, KEM, KDF, AEAD, and the encapsulated key.
const HEADER: usize = 7;
const ENC: usize = 32;
const TAG: usize = 16;

/// Does something within one stretch of so many seconds, counted from 1970; what a turn interrupted is done
/// again. Answers which stretch.
pub(crate) async fn within_one<T>(seconds: u64, mut work: impl AsyncFnMut() -> T) -> (u64, T) {
    deadline::until("time without a turn", PATIENCE, async || {
        let before = unix_now() / seconds;
        let done = work().await;
        (unix_now() / seconds == before).then_some((before, done))
    })
    .await
}

/// Seconds for which clients may keep an answer.
#[track_caller]
pub(crate) fn max_age(reply: &Reply) -> u64 {
    let value = reply.header("cache-control").unwrap_or_else(|| panic!("{} has no age", reply.describe()));
    let age = value.split(',').find_map(|part| part.trim().strip_prefix("max-age="));
    age.and_then(|age| age.parse().ok()).unwrap_or_else(|| panic!("no age in {value:?}"))
}

/// Checks what every refusal outside promises, and returns its problem type.
#[track_caller]
fn problem(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{}", reply.describe());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", reply.describe());
    let json = reply.json();
    json["type"].as_str().unwrap_or("about:blank").to_owned()
}

/// Whether a refusal outside says that the key is the cause (RFC 9458 §5.3).
#[track_caller]
pub(crate) fn is_key_problem(reply: &Reply) -> bool {
    problem(reply) == "https://iana.org/assignments/http-problem-types#ohttp-key"
}

/// A sound envelope.
fn fetch_plaintext() -> Vec<u8> {
    envelope::request(Action::Fetch, &mailbox_fields(&[random_mailbox()]))
}

async fn healthy(relay: &Cluster) {
    for service in [&relay.gateways[0], &relay.storaged] {
        assert_eq!(service.ops.metrics().await.sum("relay_panics_total"), 0.0);
    }
    relay.client_via(Via::Envelope).send(&random_mailbox(), b"still here").await.blob_id();
}

#[tokio::test]
async fn sealed_requests_go_to_either_address() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    for path in [PATH, WELL_KNOWN] {
        for kind in [REQUEST_TYPE, "Message/OHTTP-Req", "message/ohttp-req; version=1"] {
            let (sealed, opener) = client.key().await.seal(&fetch_plaintext());
            let outer = client.raw("POST", path, &[("content-type", kind)], sealed).await;
            assert_eq!(outer.header("content-type"), Some(RESPONSE_TYPE), "{}", outer.describe());
            assert_eq!(outer.header("cache-control"), Some("no-store"));
            let inner = opener.open(&outer);
            let json: Value = serde_json::from_slice(&envelope::unframed(&inner)).unwrap();
            assert_eq!(json["status"], "ok");
        }
    }
}

#[tokio::test]
async fn sealed_requests_are_posted() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let reply = client.raw(method, PATH, &[("content-type", REQUEST_TYPE)], "").await;
        reply.failure(405);
        assert!(
            reply.header("allow").is_some_and(|allowed| allowed.contains("POST")),
            "{}",
            reply.describe()
        );
    }
    client.raw("PUT", WELL_KNOWN, &[], "").await.failure(405);
    client.raw("POST", KEY_PATH, &[], "").await.failure(405);
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let sealed = client.key().await.seal(&fetch_plaintext()).0;
    for path in [PATH, WELL_KNOWN] {
        for kind in [
            "message/ohttp-chunked-req",
            "message/ohttp-res",
            "message/ohttp-keys",
            "message/bhttp",
            "application/json",
            "application/octet-stream",
            "message/ohttp-req2",
            "message",
            "",
        ] {
            let reply = client.raw("POST", path, &[("content-type", kind)], sealed.clone()).await;
            assert_eq!(reply.status, 415, "{kind}: {}", reply.describe());
        }
        assert_eq!(client.raw("POST", path, &[], sealed.clone()).await.status, 415);
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused_by_name() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let (day, key) = within_one(DAY, async || client.key().await).await;
    let accepted: BTreeSet<u64> = (0..=3).map(|ahead| (day + ahead).saturating_sub(1) % 256).collect();
    for id in (0..=255_u8).filter(|id| !accepted.contains(&u64::from(*id))) {
        let (sealed, _) = key.with_id(id).seal(&fetch_plaintext());
        assert!(is_key_problem(&client.carry(sealed).await), "key {id}");
    }
    healthy(&relay).await;
}

#[tokio::test]
async fn what_was_sealed_to_another_key_or_suite_than_it_names_is_refused() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let sealed = client.key().await.seal(&fetch_plaintext()).0;
    for (at, suite) in [
        (1, &[0, 0x10][..]),    // DHKEM(P-256)
        (1, &[0, 0x21]),        // DHKEM(X448)
        (1, &[0, 0]),           // reserved
        (1, &[0x20, 0]),        // the right one, the wrong way round
        (3, &[0, 2]),           // HKDF-SHA384
        (3, &[0, 0]),           // reserved
        (5, &[0, 2]),           // AES-256-GCM
        (5, &[0, 1]),           // offered, and not what it is
        (5, &[0xff, 0xff]),     // export only
        (1, &[0xff; 6]),        // nothing at all
        (HEADER, &[0; ENC]),    // a point of low order
        (HEADER, &[0xff; ENC]), // not a canonical point
    ] {
        let mut changed = sealed.to_vec();
        changed[at..at + suite.len()].copy_from_slice(suite);
        assert!(is_key_problem(&client.carry(changed).await), "{suite:?} at {at}");
    }
    // The low order points of Curve25519 have a small shared secret with everybody.
    for first in [0, 1] {
        let mut changed = sealed.to_vec();
        changed[HEADER..HEADER + ENC].fill(0);
        changed[HEADER] = first;
        problem(&client.carry(changed).await);
    }
    healthy(&relay).await;
}

#[tokio::test]
async fn a_changed_bit_anywhere_is_refused() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let sealed = client.key().await.seal(&fetch_plaintext()).0;
    let last = sealed.len() - 1;
    let regions = (0..HEADER + ENC + 8).chain((HEADER + ENC + 8..last).step_by(397)).chain(last - TAG..=last);
    for at in regions {
        for bit in [0, 3, 7] {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1 << bit;
            problem(&client.carry(changed).await);
        }
    }
    healthy(&relay).await;
}

#[tokio::test]
async fn a_message_cut_short_or_made_longer_is_refused() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let sealed = client.key().await.seal(&fetch_plaintext()).0;
    let whole = sealed.len();
    for length in (0..HEADER + ENC + TAG + 8).chain([200, whole / 2, whole - TAG, whole - 1]) {
        problem(&client.carry(sealed.slice(..length)).await);
    }
    for more in [&[0][..], &[0; 256], b"\r\n", &sealed] {
        problem(&client.carry([&sealed, more].concat()).await);
    }
    for noise in [1, 7, 39, 55, 56, 4096, 100_000] {
        problem(&client.carry(random_bytes(noise)).await);
    }
    healthy(&relay).await;
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_before_it_is_opened() {
    let relay = Cluster::builder().variable("RELAY_MAX_MESSAGE_SIZE", 2000).start().await;
    let client = relay.client();
    let key = client.key().await;
    for length in [300_000, 8 << 20] {
        let reply = client.another().carry(key.seal(&random_bytes(length)).0).await;
        reply.failure(413);
    }
    healthy(&relay).await;
}

#[tokio::test]
async fn a_sealed_blob_may_be_as_large_as_any_other() {
    let relay = Cluster::simple().await;
    for via in Via::OBLIVIOUS {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let blob = random_bytes(1 << 20);
        client.send(&mailbox, &blob).await.blob_id();
        let reply = client.fetch(&[&mailbox]).await;
        assert!(reply.page().blobs.is_empty(), "no sealed answer has room for it");
        assert_eq!((reply.json()["oversized"].as_u64(), reply.plaintext), (Some(1), Some(4096)));
        assert_eq!(relay.client().fetch(&[mailbox]).await.page().blobs[0].ciphertext, blob);
    }
}

/// Bytes that the relay in between sees of an answer to a plaintext.
async fn outer_length(client: &Client, plaintext: &[u8]) -> usize {
    let (sealed, opener) = client.key().await.seal(plaintext);
    let outer = client.carry(sealed).await;
    opener.open(&outer);
    outer.body.len()
}

#[tokio::test]
async fn an_oblivious_error_has_the_size_of_a_success() {
    let relay = Cluster::builder().variable("RELAY_MAX_BLOBS_PER_USER", 1).start().await;
    let client = relay.client();
    let [empty, one] = [random_mailbox(), random_mailbox()];
    client.send(&one, &random_bytes(500)).await.blob_id();
    let binary = |path: &str, fields: &Value| Request::post(path, fields).encode();
    let mut sizes = BTreeSet::new();
    for plaintext in [
        envelope::request(Action::Fetch, &mailbox_fields(&[&empty])),
        envelope::request(Action::Fetch, &mailbox_fields(&[&one])),
        envelope::request(Action::Send, &send_fields(&random_mailbox(), b"stored")),
        envelope::request(Action::Send, &send_fields("short", b"malformed")),
        envelope::request_with(json!(2), json!("nothing"), &json!({})),
        envelope::request_with(json!(7), json!("fetch"), &json!({})),
        vec![0xff, 0xff, 0xff, 0xff, b'{', b'}'],
        Vec::new(),
        b"neither of the two".to_vec(),
        binary("/v2/fetch", &mailbox_fields(&[&empty])),
        binary("/v2/fetch", &mailbox_fields(&[&one])),
        binary("/v2/send", &send_fields(&one, b"refused: full")),
        binary("/v2/nothing", &json!({})),
        binary("/v2/exchange/claim", &json!({ "code": "000000", "response": "x" })),
        Request::new("GET", "/v2/health", "").encode(),
    ] {
        sizes.insert(outer_length(&client, &plaintext).await);
    }
    assert_eq!(sizes, BTreeSet::from([4096 + 32 + TAG]), "nonce, plaintext, tag");
}

#[tokio::test]
async fn sizes_tell_how_much_mail_there_is_in_three_steps_only() {
    let relay = Cluster::simple().await;
    for via in Via::OBLIVIOUS {
        let client = relay.client_via(via);
        let mut sizes = BTreeSet::new();
        for blob in [1, 100, 1000, 2000, 4000, 10_000, 20_000, 24_000, 40_000, 60_000] {
            let mailbox = random_mailbox();
            client.send(&mailbox, &random_bytes(blob)).await.blob_id();
            sizes.extend(client.fetch(&[mailbox]).await.plaintext);
        }
        assert_eq!(sizes, BTreeSet::from([4096, 32_768, 98_304]), "{via:?}");
    }
}

#[tokio::test]
async fn answers_look_the_same_outside_whatever_they_say() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mut heads = BTreeSet::new();
    for plaintext in [
        fetch_plaintext(),
        envelope::request(Action::Send, &send_fields("short", b"malformed")),
        Request::new("GET", "/v2/health", "").encode(),
        Request::new("GET", "/v2/nothing", "").encode(),
    ] {
        let outer = client.carry(client.key().await.seal(&plaintext).0).await;
        let mut headers = outer.headers;
        headers.remove("date");
        let head: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        heads.insert((outer.status, head));
    }
    assert_eq!(heads.len(), 1, "{heads:?}");
}

#[tokio::test]
async fn any_message_brought_a_thousand_times_leaves_the_store_as_one_did() {
    const GAUGES: [&str; 6] = [
        "relay_blobs_stored",
        "relay_registrations_stored",
        "relay_recovery_proofs_active",
        "relay_exchange_offers_active",
        "relay_guardian_sets_active",
        "relay_escrow_gates_active",
    ];
    let relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let owner = relay_tests::Owner::random();
    let key = relay.client_of(0).key().await;
    let actions = [
        (Action::Send, send_fields(&random_mailbox(), b"captured")),
        (Action::Register, owner.register(&[random_mailbox()])),
        (Action::RecoveryStore, proof_fields(&random_mailbox(), b"proof")),
        (Action::ExchangeOffer, offer_fields("payload")),
        (Action::GuardianStore, owner.guardian_store(&[b"guardian"])),
        (Action::Escrow, put_fields(&random_mailbox(), &random_mailbox(), b"sealed", 600)),
        (Action::ExchangeClaim, claim_fields("000000", "response")),
        (Action::Purge, relay_tests::Owner::random().purge(&random_mailbox())),
    ];
    let gauges = async || {
        let metrics = relay.gateways[0].ops.metrics().await;
        GAUGES.map(|gauge| metrics.sum(gauge))
    };
    for (action, fields) in &actions {
        let captured = key.seal(&envelope::request(*action, fields)).0;
        assert_eq!(relay.client_of(0).carry(captured.clone()).await.status, 200);
        let once = gauges().await;
        let tasks: Vec<_> = (0..4)
            .map(|index| {
                let (client, captured) = (relay.client_of(index % 2), captured.clone());
                tokio::spawn(async move {
                    for _ in 0..250 {
                        assert_eq!(client.carry(captured.clone()).await.status, 200);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(gauges().await, once, "{action:?}");
    }
    let all = gauges().await;
    assert!(all.iter().all(|gauge| *gauge == 1.0), "{all:?}");
}

#[tokio::test]
async fn a_replayed_message_brings_nothing_back() {
    let relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let mailbox = random_mailbox();
    let client = relay.client_of(0);
    let plaintext = envelope::request(Action::Send, &send_fields(&mailbox, b"captured"));
    let captured = client.key().await.seal(&plaintext).0;
    let replay = async |count: usize| {
        let tasks: Vec<_> = (0..4)
            .map(|index| {
                let (client, captured) = (relay.client_of(index % 2), captured.clone());
                tokio::spawn(async move {
                    for _ in 0..count / 4 {
                        assert_eq!(client.carry(captured.clone()).await.status, 200);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    replay(1000).await;
    let page = client.fetch(&[&mailbox]).await.page();
    assert_eq!((page.blobs.len(), page.truncated), (1, false));
    assert!(client.ack(&mailbox, &page.blobs[0].id).await.acknowledged());
    replay(100).await;
    assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
}
