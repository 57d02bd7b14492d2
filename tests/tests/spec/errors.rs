//! Refusals: every malformed request gets its status and a text that gives nothing back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::fields::{
    ack_fields, claim_fields, complete_fields, guardian_fields, key_fields, mailbox_fields, offer_fields,
    proof_fields, put_fields, random_bytes, random_mailbox, random_name, send_fields,
};
use relay_tests::oblivious::binary::Request;
use relay_tests::{Action, Client, Cluster, Owner, Reply, Via};
use serde_json::{Value, json};

/// Part of everything malformed that is sent, so that an echo would show.
const CANARY: &str = "c4na7y";

/// Checks what every error promises: status, form, and a text that repeats nothing and alarms nobody.
#[track_caller]
fn refused(reply: &Reply, status: u16) -> String {
    let text = reply.failure(status);
    assert!(!reply.text().contains(CANARY), "an echo: {}", reply.describe());
    for word in ["400", "502", "ohttp"] {
        assert!(!text.contains(word), "clients take {word:?} as a stale key: {text:?}");
    }
    text
}

fn with(mut fields: Value, name: &str, value: Value) -> Value {
    fields[name] = value;
    fields
}

fn without(mut fields: Value, name: &str) -> Value {
    fields.as_object_mut().unwrap().remove(name).unwrap();
    fields
}

/// A sound request for each action, to break.
fn sound(action: Action) -> Value {
    let mailbox = random_mailbox();
    match action {
        Action::Send => send_fields(&mailbox, b"sound"),
        Action::Fetch | Action::Register => mailbox_fields(&[mailbox]),
        Action::Ack => ack_fields(&mailbox, "00112233445566778899aabbccddeeff"),
        Action::Purge => {
            let owner = Owner::random();
            owner.purge(&owner.mailbox())
        }
        Action::RecoveryStore => proof_fields(&random_name(), b"proof"),
        Action::RecoveryQuery => key_fields(&[random_name()]),
        Action::ExchangeOffer => offer_fields("payload"),
        Action::ExchangeClaim => claim_fields("000000", "response"),
        Action::ExchangeComplete => complete_fields("000000"),
        Action::GuardianStore => Owner::random().guardian_store(&[b"entry"]),
        Action::GuardianQuery => guardian_fields(&Owner::random().guardian_hash()),
        Action::GuardianDelete => Owner::random().guardian_delete(),
        Action::Escrow => put_fields(&random_name(), &random_name(), b"blob", 60),
    }
}

/// Whether an outer relay refuses to bring it, for its size.
fn is_for_no_outer_relay(value: &Value) -> bool {
    value.to_string().len() > 60_000
}

#[tokio::test]
async fn known_mistakes_have_the_texts_that_clients_know() {
    let relay = Cluster::simple().await;
    let long = format!("{}{CANARY}", random_mailbox());
    for via in Via::ALL {
        let client = relay.client_via(via);
        let recipient = "recipient_id must be 64 hex characters";
        let base64 = "ciphertext must be valid base64";
        let count = "mailbox_tokens must contain 1-1900 entries";
        let keys = "key_hashes must contain 1-50 entries";
        let proof = "proof_data must be base64 of 1-4096 bytes";
        let code = "code must be exactly 6 digits";
        let ttl = "TTL must be between 30 and 3600 seconds";
        for (action, name, value, text) in [
            (Action::Send, "recipient_id", json!(long), recipient),
            (Action::Send, "recipient_id", json!(""), recipient),
            (Action::Send, "recipient_id", json!("g".repeat(64)), recipient),
            (Action::Send, "ciphertext", json!(format!("{CANARY}!")), base64),
            (Action::Send, "ciphertext", json!("QQ"), base64),
            (Action::Send, "ciphertext", json!("_-8="), base64),
            (Action::Ack, "recipient_id", json!(long), recipient),
            (Action::Purge, "recipient_id", json!(long), recipient),
            (Action::Fetch, "mailbox_tokens", json!([]), count),
            (Action::Register, "mailbox_tokens", json!([]), count),
            (Action::RecoveryQuery, "key_hashes", json!([]), keys),
            (Action::RecoveryQuery, "key_hashes", json!(vec![random_name(); 51]), keys),
            (Action::RecoveryStore, "proof_data", json!(""), proof),
            (Action::RecoveryStore, "proof_data", json!("QQ"), proof),
            (Action::RecoveryStore, "proof_data", json!(format!("{CANARY}!")), proof),
            (Action::RecoveryStore, "proof_data", json!(STANDARD.encode([7; 4097])), proof),
            (Action::ExchangeOffer, "expires_secs", json!(29), ttl),
            (Action::ExchangeOffer, "expires_secs", json!(3601), ttl),
            (Action::ExchangeOffer, "payload", json!("x".repeat(65_537)), "payload too large"),
            (Action::ExchangeClaim, "code", json!("12345"), code),
            (Action::ExchangeClaim, "code", json!(CANARY), code),
            (Action::ExchangeClaim, "code", json!("1234567"), code),
            (Action::ExchangeComplete, "code", json!("12345x"), code),
            (Action::ExchangeComplete, "code", json!("\u{0661}23456"), code),
            (Action::ExchangeComplete, "code", json!(123_456), code),
            (
                Action::GuardianStore,
                "entries",
                json!(vec![json!({ "data": "QQ==" }); 11]),
                "too many entries (max 10)",
            ),
            (
                Action::GuardianStore,
                "guardian_hash",
                json!(random_name()),
                "guardian_hash does not match designator_pk",
            ),
            (
                Action::GuardianDelete,
                "designator_pk",
                json!(Owner::random().public_key()),
                "guardian_hash does not match designator_pk",
            ),
        ] {
            if via.is_outer() && is_for_no_outer_relay(&value) {
                continue;
            }
            let reply = client.call(action, &with(sound(action), name, value)).await;
            assert_eq!(refused(&reply, 400), text, "{action:?} {name}");
        }
    }
}

#[tokio::test]
async fn values_of_the_wrong_shape_are_refused() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        for (action, name, value) in [
            (Action::Send, "origin_hint", json!("QQ==")),
            (Action::Send, "origin_hint", json!(CANARY)),
            (Action::Fetch, "mailbox_tokens", json!([random_mailbox(), CANARY])),
            (Action::Register, "mailbox_tokens", json!([CANARY])),
            (Action::Ack, "blob_id", json!(CANARY)),
            (Action::Ack, "blob_id", json!(random_mailbox())),
            (Action::Purge, "public_key", json!(CANARY)),
            (Action::Purge, "purge_token", json!(CANARY)),
            (Action::Purge, "signature", json!(CANARY)),
            (Action::Purge, "timestamp", json!(-1)),
            (Action::Purge, "timestamp", json!(1.5)),
            (Action::Purge, "timestamp", json!("1700000000")),
            (Action::RecoveryStore, "key_hash", json!(CANARY)),
            (Action::RecoveryQuery, "key_hashes", json!([random_name(), CANARY])),
            (Action::ExchangeOffer, "expires_secs", json!(-30)),
            (Action::ExchangeOffer, "expires_secs", json!(30.5)),
            (Action::ExchangeOffer, "expires_secs", json!("300")),
            (Action::ExchangeClaim, "response", json!("x".repeat(65_537))),
            (Action::GuardianStore, "designator_pk", json!(CANARY)),
            (Action::GuardianStore, "timestamp", json!("1700000000")),
            (Action::GuardianStore, "signature", json!(CANARY)),
            (Action::GuardianStore, "entries", json!([{ "data": STANDARD.encode([7; 257]) }])),
            (Action::GuardianStore, "entries", json!([{ "data": format!("{CANARY}!") }])),
            (Action::GuardianStore, "entries", json!([CANARY])),
            (Action::GuardianStore, "entries", json!([{ CANARY: CANARY }])),
            (Action::GuardianQuery, "guardian_hash", json!(CANARY)),
            (Action::GuardianDelete, "signature", json!(CANARY)),
            (Action::Escrow, "escrow_action", json!(CANARY)),
            (Action::Escrow, "escrow_action", json!("put")),
            (Action::Escrow, "gate_hash", json!(CANARY)),
            (Action::Escrow, "slot_hash", json!(CANARY)),
            (Action::Escrow, "blob", json!(format!("{CANARY}!"))),
            (Action::Escrow, "blob", json!("QQ==")),
            (Action::Escrow, "ttl_seconds", json!(0)),
            (Action::Escrow, "ttl_seconds", json!(604_801)),
            (Action::Escrow, "ttl_seconds", json!(-1)),
        ] {
            if via.is_outer() && is_for_no_outer_relay(&value) {
                continue;
            }
            let reply = client.call(action, &with(sound(action), name, value)).await;
            refused(&reply, 400);
        }
    }
}

#[tokio::test]
async fn every_required_field_is_required_and_typed() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        for action in Action::ALL {
            let fields = sound(action);
            let names: Vec<String> = fields.as_object().unwrap().keys().cloned().collect();
            for name in names {
                refused(&client.call(action, &without(fields.clone(), &name)).await, 400);
                for wrong in
                    [json!(null), json!(true), json!({ CANARY: CANARY }), json!([[CANARY]]), json!([7])]
                {
                    refused(&client.call(action, &with(fields.clone(), &name, wrong)).await, 400);
                }
            }
            // An envelope is an object; what else may be sealed is no action.
            if via.is_envelope() {
                continue;
            }
            for body in [json!([]), json!("text"), json!(7), json!(null), json!([CANARY])] {
                refused(&client.call(action, &body).await, 400);
            }
        }
    }
}

async fn post(client: &Client, action: Action, body: impl Into<bytes::Bytes>) -> Reply {
    client.raw("POST", action.path(), &[("content-type", "application/json")], body).await
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let deep = "[".repeat(100_000);
    let nested = format!(r#"{{"recipient_id":"{mailbox}","x":{deep}{}}}"#, "]".repeat(100_000));
    let invalid_utf8 = [br#"{"recipient_id":""#.as_slice(), &[0xff, 0xfe, 0xc0], br#""}"#].concat();
    for action in Action::ALL {
        for body in [
            Vec::new(),
            b"{".to_vec(),
            b"{}{}".to_vec(),
            format!("{CANARY}=1&b=2").into_bytes(),
            format!(r#"{{"recipient_id":"{CANARY}"#).into_bytes(),
            invalid_utf8.clone(),
            random_bytes(1000),
            vec![0; 1000],
            deep.clone().into_bytes(),
            nested.clone().into_bytes(),
            r#"{"a":"#.repeat(100_000).into_bytes(),
        ] {
            refused(&post(&client, action, body).await, 400);
        }
    }
    assert_eq!(relay.gateways[0].ops.metrics().await.sum("relay_panics_total"), 0.0);
    client.send(&mailbox, b"still here").await.blob_id();
}

#[tokio::test]
async fn a_blob_may_have_the_largest_size_and_not_a_byte_more() {
    let relay = Cluster::simple().await;
    for via in Via::STRAIGHT {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let large = random_bytes((1 << 20) + 1);
        let id = client.send(&mailbox, &large[1..]).await.blob_id();
        refused(&client.send(&mailbox, &large).await, 413);
        assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [&id]);
    }
}

#[tokio::test]
async fn the_size_limit_is_the_operators() {
    let relay = Cluster::builder().variable("RELAY_MAX_MESSAGE_SIZE", 2000).start().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    client.send(&mailbox, &random_bytes(2000)).await.blob_id();
    refused(&client.send(&mailbox, &random_bytes(2001)).await, 413);
    refused(&client.send(&mailbox, &random_bytes(200_000)).await, 413);
}

#[tokio::test]
async fn an_empty_blob_is_refused() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        refused(&client.send(&mailbox, b"").await, 400);
        assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_like_others() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    for path in
        ["/", "/v2", "/v2/", "/v2/c4na7y", "/v1/send", "/v2/send/", "/c4na7y?c4na7y=1", "/metrics", "/ready"]
    {
        refused(&client.raw("GET", path, &[], "").await, 404);
        refused(&client.raw("POST", path, &[], "{}").await, 404);
    }
    for action in Action::ALL {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let reply = client.raw(method, action.path(), &[], "").await;
            refused(&reply, 405);
            assert!(
                reply.header("allow").is_some_and(|allowed| allowed.contains("POST")),
                "{}",
                reply.describe()
            );
        }
    }
    for path in ["/health", "/v2/health"] {
        refused(&client.raw("POST", path, &[], "").await, 405);
    }
}

#[tokio::test]
async fn paths_of_two_parts_also_answer_under_an_underscore() {
    let relay = Cluster::simple().await;
    for via in [Via::Plain, Via::Bhttp] {
        let client = relay.client_via(via);
        for action in Action::ALL {
            let Some((group, step)) = action.path().strip_prefix("/v2/").unwrap().split_once('/') else {
                continue;
            };
            let other = format!("/v2/{group}_{step}");
            let broken = json!({});
            let text = refused(&client.call(action, &broken).await, 400);
            assert_eq!(refused(&client.call_at(action, &other, &broken).await, 400), text, "{other}");
        }
        let code = client.call_at(Action::ExchangeOffer, "/v2/exchange_offer", &offer_fields("p")).await;
        let code = code.said("code");
        let claim = claim_fields(&code, "r");
        let claimed = client.call_at(Action::ExchangeClaim, "/v2/exchange_claim", &claim).await;
        assert_eq!(claimed.said("payload"), "p");
        for path in ["/v2/exchange-offer", "/v2/exchangeoffer", "/v2/exchange_offer/", "/v2/exchange//offer"]
        {
            refused(&client.call_at(Action::ExchangeOffer, path, &offer_fields("p")).await, 404);
        }
    }
}

#[tokio::test]
async fn health_says_ok_and_nothing_else() {
    let relay = Cluster::simple().await;
    let inside = relay.client_via(Via::Bhttp).binary(&Request::new("GET", "/v2/health", "")).await;
    for reply in [
        relay.client().raw("GET", "/health", &[], "").await,
        relay.client().raw("GET", "/v2/health", &[], "").await,
        inside,
    ] {
        assert_eq!((reply.status, reply.json()), (200, json!({ "status": "ok" })));
    }
}

#[tokio::test]
async fn json_is_json_whatever_its_label() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    for headers in
        [&[][..], &[("content-type", "application/json; charset=utf-8")], &[("content-type", "text/plain")]]
    {
        let fields = send_fields(&random_mailbox(), b"labelled").to_string();
        client.raw("POST", "/v2/send", headers, fields).await.blob_id();
    }
}

#[tokio::test]
async fn answers_are_labelled_as_json() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let replies = [
        client.raw("GET", "/health", &[], "").await,
        client.fetch(&[random_mailbox()]).await,
        client.send("short", b"").await,
        client.raw("GET", "/nowhere", &[], "").await,
        client.raw("GET", "/v2/send", &[], "").await,
    ];
    for reply in replies {
        assert_eq!(reply.header("content-type"), Some("application/json"), "{}", reply.describe());
    }
}

#[tokio::test]
async fn a_broken_request_leaves_nothing_behind() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let fields = with(send_fields(&mailbox, b"half"), "origin_hint", json!("QQ=="));
        refused(&client.call(Action::Send, &fields).await, 400);
        assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
    }
}
