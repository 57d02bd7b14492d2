//! Perturbed requests: whatever becomes of a sound request on its way, the answer is a clear one.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use relay_tests::client::{ack_fields, mailbox_fields, random_mailbox, send_fields};
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
    ]
}

#[tokio::test]
async fn no_perturbed_request_is_the_relays_fault() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mut runner = TestRunner::deterministic();
    for (action, sound) in sound_requests() {
        for _ in 0..150 {
            let mut body = sound.to_string().into_bytes();
            for spoil in spoils().new_tree(&mut runner).unwrap().current() {
                spoil.apply(&mut body);
            }
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
