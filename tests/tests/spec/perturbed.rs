//! Perturbed requests: whatever becomes of a sound request on its way, the answer is a clear one.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use relay_tests::fields::{
    ack_fields, claim_fields, complete_fields, get_fields, guardian_fields, key_fields, mailbox_fields,
    offer_fields, proof_fields, put_fields, random_mailbox, random_name, send_fields,
};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::{binary, envelope};
use relay_tests::{Action, Cluster, Owner};
use serde_json::{Value, json};

/// How to spoil some bytes.
#[derive(Debug, Clone)]
enum Spoil {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Double(prop::sample::Index, prop::sample::Index),
}

impl Spoil {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |from: &prop::sample::Index, to: &prop::sample::Index| {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Flip(at, mask) => {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
            Self::Cut(from, to) => drop(bytes.drain(range(from, to))),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Double(from, to) => {
                let twice = bytes[range(from, to)].to_vec();
                bytes.extend(twice);
            }
        }
    }
}

fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        (index(), 1..=255_u8).prop_map(|(at, mask)| Spoil::Flip(at, mask)),
        (index(), index()).prop_map(|(from, to)| Spoil::Cut(from, to)),
        (index(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, more)| Spoil::Insert(at, more)),
        (index(), index()).prop_map(|(from, to)| Spoil::Double(from, to)),
    ];
    prop::collection::vec(one, 1..4)
}

/// JSON of any kind, under names that mean something and names that do not.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,40}".prop_map(Value::from),
        "[0-9a-fA-F]{64}".prop_map(Value::from),
        "[A-Za-z0-9+/]{8}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("recipient_id".to_owned()),
        Just("ciphertext".to_owned()),
        Just("mailbox_tokens".to_owned()),
        Just("blob_id".to_owned()),
        Just("timestamp".to_owned()),
        Just("key_hashes".to_owned()),
        Just("code".to_owned()),
        Just("entries".to_owned()),
        Just("data".to_owned()),
        ".{0,10}",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn sound_requests() -> Vec<(Action, Value)> {
    let (owner, mailbox) = (Owner::random(), random_mailbox());
    vec![
        (Action::Send, send_fields(&mailbox, b"sound")),
        (Action::Fetch, mailbox_fields(&[&mailbox, &owner.mailbox()])),
        (Action::Ack, ack_fields(&mailbox, "00112233445566778899aabbccddeeff")),
        (Action::Register, owner.register(&[&mailbox])),
        (Action::Purge, owner.purge(&owner.mailbox())),
        (Action::RecoveryStore, proof_fields(&random_name(), b"proof")),
        (Action::RecoveryQuery, key_fields(&[random_name(), random_name()])),
        (Action::ExchangeOffer, offer_fields("payload")),
        (Action::ExchangeClaim, claim_fields("123456", "response")),
        (Action::ExchangeComplete, complete_fields("123456")),
        (Action::GuardianStore, owner.guardian_store(&[b"guardian"])),
        (Action::GuardianQuery, guardian_fields(&owner.guardian_hash())),
        (Action::GuardianDelete, owner.guardian_delete()),
        (Action::Escrow, put_fields(&random_name(), &random_name(), b"blob", 600)),
        (Action::Escrow, get_fields(&random_name(), &random_name())),
    ]
}

/// Spoils some bytes in a way that the runner chooses.
fn spoiled(sound: &[u8], runner: &mut TestRunner) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for spoil in spoils().new_tree(runner).unwrap().current() {
        spoil.apply(&mut bytes);
    }
    bytes
}

/// A sealed plaintext is nobody's to change, but clients may be broken or evil.
#[tokio::test]
async fn no_perturbed_plaintext_is_the_relays_fault() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mut runner = TestRunner::deterministic();
    for (action, fields) in sound_requests() {
        let request = binary::Request::post(action.path(), &fields).encode();
        // Without the filling, which nothing depends on.
        let json = envelope::unframed(&envelope::request(action, &fields));
        let framed = [&u32::try_from(json.len()).unwrap().to_be_bytes(), &json[..]].concat();
        for sound in [request, framed] {
            for _ in 0..40 {
                let plaintext = spoiled(&sound, &mut runner);
                let answer = client.sealed(&plaintext).await;
                let json: Value = if plaintext.get(4) == Some(&b'{') {
                    serde_json::from_slice(&envelope::unframed(&answer)).unwrap()
                } else {
                    let reply = binary::reply(&answer);
                    assert!(reply.status < 500, "{action:?} {plaintext:?}: {}", reply.describe());
                    reply.json()
                };
                assert!(json["status"].is_string(), "{action:?} {plaintext:?}: {json}");
                assert_ne!(json["error"], "internal error", "{action:?} {plaintext:?}");
            }
        }
    }
    assert_eq!(relay.gateways[0].ops.metrics().await.sum("relay_panics_total"), 0.0);
    assert_eq!(relay.storaged.ops.metrics().await.sum("relay_panics_total"), 0.0);
}

#[tokio::test]
async fn no_perturbed_request_is_the_relays_fault() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mut runner = TestRunner::deterministic();
    for (action, sound) in sound_requests() {
        for _ in 0..150 {
            let body = spoiled(sound.to_string().as_bytes(), &mut runner);
            let reply = client.raw("POST", action.path(), &[], body.clone()).await;
            assert!(
                reply.status < 500,
                "{action:?} {:?}: {}",
                body.escape_ascii().to_string(),
                reply.describe()
            );
            assert!(reply.json()["status"].is_string(), "{}", reply.describe());
        }
        for _ in 0..50 {
            let json = any_json().new_tree(&mut runner).unwrap().current();
            let reply = client.call(action, &json).await;
            assert!(reply.status < 500, "{action:?} {json}: {}", reply.describe());
            assert!(reply.json()["status"].is_string(), "{}", reply.describe());
        }
    }
    assert_eq!(relay.gateways[0].ops.metrics().await.sum("relay_panics_total"), 0.0);
    assert_eq!(relay.storaged.ops.metrics().await.sum("relay_panics_total"), 0.0);
}
