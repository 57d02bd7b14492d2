//! The oblivious door, in process: a client that seals, and what an observer outside sees.

use crate::api::{GATEWAY, ROUTES};
use crate::bodies::error::Reason;
use crate::fixture::keys::key_set;
use crate::fixture::{ADDRESS_KEY, Relay, base64_of, policy};
use crate::ops::metrics::DecapsulationOutcome;
use axum::body::Body;
use bhttp::{Message, Mode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method, Request};
use ohttp::{ClientRequest, ClientResponse};
use relay_proto::UnixSeconds;
use relay_proto::caller::{RateLimitClass, RateLimitSubject};
use relay_proto::keys::DAY_SECS;
use relay_proto::messages::Policy;
use relay_proto::page::LARGEST;
use serde_json::{Value, json};
use std::io::Cursor;
use std::time::Duration;

/// A reply as the relay in between sees it.
struct Outer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Outer {
    fn problem(&self) -> Value {
        assert_eq!(self.status, 400);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    fn open(&self, opener: ClientResponse) -> Vec<u8> {
        assert_eq!(self.status, 200, "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "message/ohttp-res");
        opener.decapsulate(&self.body).unwrap()
    }
}

impl Relay {
    async fn get(&self, path: &str) -> Outer {
        self.outer(Method::GET, path, &[], Bytes::new()).await
    }

    async fn outer(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Outer {
        let mut request = Request::builder().method(method).uri(path).header("host", "relay.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let (head, body) = self.clients.serve([198, 51, 100, 1].into(), request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Outer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn sealed(&self, message: Vec<u8>) -> Outer {
        let kind = [("content-type", "message/ohttp-req")];
        self.outer(Method::POST, "/v2/ohttp", &kind, message.into()).await
    }

    async fn seal(&self, plaintext: &[u8]) -> (Vec<u8>, ClientResponse) {
        let config = self.get("/v2/ohttp-key").await;
        assert_eq!(config.status, 200);
        ClientRequest::from_encoded_config(&config.body).unwrap().encapsulate(plaintext).unwrap()
    }

    /// Asks in an envelope; replies the JSON inside and the length outside.
    async fn envelope(&self, action: &str, fields: Value) -> (Value, usize) {
        let mut fields = fields;
        fields["version"] = json!(2);
        fields["action"] = json!(action);
        let (message, opener) = self.seal(&framed(&fields.to_string(), 512)).await;
        let outer = self.sealed(message).await;
        let plaintext = outer.open(opener);
        let length = u32::from_be_bytes(plaintext[..4].try_into().unwrap()) as usize;
        (serde_json::from_slice(&plaintext[4..4 + length]).unwrap(), outer.body.len())
    }

    /// Asks in Binary HTTP; replies status, JSON and the length outside.
    async fn binary(&self, request: Message) -> (u16, Value, usize) {
        let mut bytes = Vec::new();
        request.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
        let (message, opener) = self.seal(&bytes).await;
        let outer = self.sealed(message).await;
        let message = Message::read_bhttp(&mut Cursor::new(outer.open(opener))).unwrap();
        let json = serde_json::from_slice(message.content()).unwrap_or_default();
        (message.control().status().unwrap().code(), json, outer.body.len())
    }
}

fn framed(json: &str, size: usize) -> Vec<u8> {
    let mut bytes = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(size), 7);
    bytes
}

fn post(path: &str, fields: &Value) -> Message {
    let mut message = Message::request("POST".into(), "https".into(), "relay.example".into(), path.into());
    message.put_header("content-type", "application/json");
    message.write_content(fields.to_string());
    message
}

fn send(ciphertext: &str) -> Value {
    json!({ "recipient_id": "ab".repeat(32), "ciphertext": ciphertext })
}

fn fetch() -> Value {
    json!({ "mailbox_tokens": ["ab".repeat(32)] })
}

#[tokio::test]
async fn both_inner_forms_reach_the_same_endpoints_as_plain_http() {
    let relay = Relay::start().await;
    let (sent, _) = relay.envelope("send", send("AAAA")).await;
    assert_eq!(sent["status"], "ok");
    let (status, sent, _) = relay.binary(post("/v2/send", &send("BBBB"))).await;
    assert_eq!((status, &sent["status"]), (200, &json!("ok")));
    let plain = relay.post("/v2/fetch", &fetch()).await.json(200);
    assert_eq!(plain["blobs"].as_array().unwrap().len(), 2);
    assert_eq!(relay.envelope("fetch", fetch()).await.0, plain);
    assert_eq!(relay.binary(post("/v2/fetch", &fetch())).await.1, plain);
    assert_eq!(relay.app.metrics.openings(DecapsulationOutcome::Opened), 4);
}

#[tokio::test]
async fn every_action_and_every_path_is_served_and_no_door_inside_a_door() {
    let relay = Relay::start().await;
    for route in ROUTES {
        let Some(name) = route.path.strip_prefix("/v2/").filter(|_| route.method == Method::POST) else {
            continue;
        };
        let action = name.replace('/', "_");
        let told = relay.envelope(&action, json!({})).await.0["error"].clone();
        let (_, json, _) = relay.binary(post(route.path, &json!({}))).await;
        if route.takes_sealed_requests() {
            assert_eq!((told, &json["error"]), (json!("unknown action"), &json!("no such endpoint")));
        } else {
            assert_ne!(told, "unknown action", "{action}");
            assert_eq!(json["error"], told, "{action}");
        }
    }
    let health = Message::request("GET".into(), "https".into(), Vec::new(), "/v2/health".into());
    assert_eq!(relay.binary(health).await.1, json!({ "status": "ok" }));
}

#[tokio::test]
async fn what_goes_wrong_inside_is_told_inside_and_looks_like_a_success() {
    let relay = Relay::start().await;
    let (_, size) = relay.envelope("send", send("AAAA")).await;
    let mut sizes = vec![size];
    for (action, fields, text) in [
        ("nothing", json!({}), "unknown action"),
        ("send", json!({}), "recipient_id must be 64 hex characters"),
        ("fetch", json!({ "mailbox_tokens": ["cd".repeat(32)] }), ""),
        ("fetch", fetch(), ""),
    ] {
        let (json, size) = relay.envelope(action, fields).await;
        assert_eq!(json["error"].as_str().unwrap_or_default(), text);
        sizes.push(size);
    }
    let (status, json, size) = relay.binary(post("/v2/nothing", &json!({}))).await;
    assert_eq!((status, &json["error"]), (404, &json!("no such endpoint")));
    sizes.push(size);
    let (message, opener) = relay.seal(&[0, 0, 9, 9, b'{', b'}']).await;
    let outer = relay.sealed(message).await;
    assert!(String::from_utf8_lossy(&outer.open(opener)).contains("request framing is broken"));
    sizes.push(outer.body.len());
    assert!(sizes.iter().all(|other| *other == size), "{sizes:?}");
}

#[tokio::test]
async fn answers_outside_have_the_size_of_a_rung_whatever_they_say() {
    // Nonce and tag around the plaintext, for either suite.
    const AROUND: usize = 32 + 16;
    let relay = Relay::start().await;
    let mut seen = Vec::new();
    for blob in [10, 3000, 3000, 25_000, 60_000, 200_000] {
        relay.post("/v2/send", &send(&"A".repeat(blob * 4 / 3 / 4 * 4))).await.json(200);
        let (_, envelope) = relay.envelope("fetch", fetch()).await;
        let (_, _, binary) = relay.binary(post("/v2/fetch", &fetch())).await;
        seen.extend([envelope - AROUND, binary - AROUND]);
    }
    for size in &seen {
        assert!([4096, 32_768, 98_304].contains(size), "{size}");
    }
    assert!([4096, 32_768, 98_304].iter().all(|size| seen.contains(size)), "{seen:?}");
}

/// The longest reply that a relay in between lets through: the highest rung, sealed.
const LONGEST: usize = (96 << 10) + 32 + 16;

#[tokio::test]
async fn the_largest_blob_that_fits_a_page_arrives_in_either_form_with_every_header_there_is() {
    let relay = Relay::start().await;
    let versions = Policy { warn_version: u16::MAX.into(), upgrade_deadline: u64::MAX, ..policy() };
    relay.post_policy(versions).await;
    let hint = base64_of(74);
    for (size, hint) in [(LARGEST, None), (LARGEST - 74, Some(hint))] {
        let mailbox = hex::encode([u8::from(hint.is_some()); 32]);
        let mut fields =
            json!({ "recipient_id": mailbox, "ciphertext": base64_of(size), "origin_hint": hint });
        fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        relay.post("/v2/send", &fields).await.json(200);
        let too_large = json!({ "recipient_id": mailbox, "ciphertext": base64_of(LARGEST + 1) });
        relay.post("/v2/send", &too_large).await.json(200);
        let fetch = json!({ "mailbox_tokens": [mailbox] });
        let (envelope, length) = relay.envelope("fetch", fetch.clone()).await;
        let (_, binary, other) = relay.binary(post("/v2/fetch", &fetch)).await;
        assert_eq!((length, other), (LONGEST, LONGEST));
        assert_eq!(envelope, binary);
        assert_eq!(envelope["blobs"].as_array().unwrap().len(), 1);
        assert_eq!(envelope["blobs"][0]["ciphertext"], base64_of(size));
        assert_eq!((&envelope["truncated"], &envelope["oversized"]), (&json!(false), &json!(1)));
    }
}

#[tokio::test]
async fn no_answer_passes_the_highest_rung_also_of_what_was_stored_before_it_was_bounded() {
    let relay = Relay::start().await;
    let text = "\u{1}".repeat(65_536);
    let mut codes = Vec::new();
    for _ in 0..2 {
        codes.push(relay.storage.offered(&text).to_digits());
    }
    let claim = |code: &str| json!({ "code": code, "response": "r" });
    let (json, length) = relay.envelope("exchange_claim", claim(&codes[0])).await;
    assert_eq!((json["error"].as_str(), length), (Some("answer too large to be sealed"), 4096 + 48));
    let (status, json, length) = relay.binary(post("/v2/exchange/claim", &claim(&codes[1]))).await;
    assert_eq!((status, length), (413, 4096 + 48));
    assert_eq!(json["error"], "answer too large to be sealed");
    assert_eq!(relay.app.metrics.rejections(Reason::TooLarge), 2);
}

#[tokio::test]
async fn fifty_of_the_longest_proofs_come_in_pages_and_an_escrow_blob_in_one() {
    let relay = Relay::start().await;
    let keys: Vec<_> = (0..50).map(|number| format!("{number:064x}")).collect();
    for key in &keys {
        let store = json!({ "key_hash": key, "proof_data": base64_of(4096) });
        relay.post("/v2/recovery/store", &store).await.json(200);
    }
    let (mut rest, mut answers) = (&keys[..], 0);
    loop {
        let query = json!({ "key_hashes": rest });
        let (json, length) = relay.envelope("recovery_query", query.clone()).await;
        let (_, other, other_length) = relay.binary(post("/v2/recovery/query", &query)).await;
        assert!(length <= LONGEST && other_length == length);
        assert_eq!(json, other);
        answers += 1;
        rest = &rest[json["proofs"].as_array().unwrap().len()..];
        if json["truncated"] != true {
            break;
        }
    }
    assert_eq!((rest.len(), answers), (0, 3));
    let put = |slot: &str, blob: String| {
        let (gate, slot) = ("aa".repeat(32), slot.repeat(32));
        json!({ "escrow_action": "Put", "gate_hash": gate, "slot_hash": slot, "blob": blob, "ttl_seconds": 60 })
    };
    let longest = format!("{}AA", "A".repeat(65_535 / 3 * 4));
    relay.post("/v2/escrow", &put("01", longest.clone())).await.json(200);
    relay.post("/v2/escrow", &put("02", String::new())).await.json(200);
    let mut get = put("02", String::new());
    get["escrow_action"] = json!("Get");
    let (json, length) = relay.envelope("escrow", get).await;
    assert_eq!((&json["blob"], length), (&json!(longest), LONGEST));
}

#[tokio::test]
async fn a_large_blob_is_sent_sealed_and_fetched_directly() {
    let relay = Relay::start().await;
    for (text, action) in [("A".repeat(400_000), "envelope"), ("B".repeat(400_000), "binary")] {
        let sent = match action {
            "envelope" => relay.envelope("send", send(&text)).await.0,
            _ => relay.binary(post("/v2/send", &send(&text))).await.1,
        };
        assert_eq!(sent["status"], "ok");
    }
    let page = relay.envelope("fetch", fetch()).await.0;
    assert_eq!(page, json!({ "status": "ok", "blobs": [], "truncated": false, "oversized": 2 }));
    let page = relay.post("/v2/fetch", &fetch()).await.json(200);
    assert_eq!(
        (&page["blobs"][0]["ciphertext"], &page["truncated"]),
        (&json!("A".repeat(400_000)), &json!(true))
    );
    assert_eq!(page["blobs"].as_array().unwrap().len(), 1);
    let too_large = vec![0; (1 << 20) / 3 * 4 + 20_000];
    assert_eq!(relay.sealed(too_large).await.status, 413);
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused_outside_by_a_problem_document() {
    let relay = Relay::start().await;
    let (good, _) = relay.seal(&framed(r#"{"version":2,"action":"fetch"}"#, 256)).await;
    let key_problem = "https://iana.org/assignments/http-problem-types#ohttp-key";
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        message
    };
    for (message, kind) in [
        (changed(&|message| message[0] ^= 0x80), key_problem),
        (changed(&|message| message[2] = 0x10), key_problem),
        (changed(&|message| message[4] = 2), key_problem),
        (changed(&|message| message[6] = 2), key_problem),
        (changed(&|message| message[7..39].fill(0)), key_problem),
        (changed(&|message| message[20] ^= 1), key_problem),
        (changed(&|message| message[60] ^= 1), key_problem),
        (changed(&|message| message.truncate(message.len() - 1)), key_problem),
        (changed(&|message| message.truncate(54)), "about:blank"),
        (changed(&|message| message.truncate(7)), "about:blank"),
        (changed(&Vec::clear), "about:blank"),
    ] {
        assert_eq!(relay.sealed(message).await.problem()["type"], kind);
    }
    let kinds = ["application/json", "message/ohttp-chunked-req", "message/ohttp-res", ""];
    for kind in kinds {
        let outer =
            relay.outer(Method::POST, "/v2/ohttp", &[("content-type", kind)], good.clone().into()).await;
        assert_eq!(outer.status, 415, "{kind}");
    }
    assert_eq!(relay.get("/v2/ohttp").await.status, 405);
    let kind = [("content-type", "Message/OHTTP-Req; charset=x")];
    assert_eq!(relay.outer(Method::POST, GATEWAY, &kind, good.into()).await.status, 200);
}

#[tokio::test]
async fn nothing_of_the_outer_request_goes_along_but_who_pays() {
    let relay = Relay::start().await;
    relay.envelope("fetch", fetch()).await;
    let address = crate::limits::address::hash(&ADDRESS_KEY, "198.51.100.1".parse().unwrap());
    assert_eq!(
        relay.storage.last_caller(),
        Some(RateLimitSubject::new(RateLimitClass::ObliviousRelay, address))
    );
    let versions = Policy { min_version: 5, warn_version: 7, upgrade_deadline: 1, ..policy() };
    relay.post_policy(versions).await;
    for path in ["/v2/ohttp-key", "/v2/ohttp-key-signed", GATEWAY] {
        assert_eq!(relay.get(path).await.status, 200, "a key for whoever comes without headers");
    }
    assert_eq!(relay.get("/v2/health").await.status, 426);
    let (json, _) = relay.envelope("fetch", fetch()).await;
    assert_eq!(json["status"], "ok", "a relay strips headers: no version is not an old version");
    let mut old = post("/v2/fetch", &fetch());
    old.put_header("x-app-compat-version", "4");
    let (status, json, _) = relay.binary(old).await;
    assert_eq!((status, &json["error"]), (426, &json!("upgrade_required")));
}

#[tokio::test]
async fn a_message_brought_again_asks_for_the_same_thing() {
    let relay = Relay::start().await;
    let offer = json!({ "version": 2, "action": "exchange_offer", "payload": "x" }).to_string();
    let (message, _) = relay.seal(&framed(&offer, 256)).await;
    for _ in 0..3 {
        assert_eq!(relay.sealed(message.clone()).await.status, 200);
    }
    assert_eq!(relay.storage.request_ids().len(), 1);
    let (sealed_anew, _) = relay.seal(&framed(&offer, 256)).await;
    assert_eq!(relay.sealed(sealed_anew).await.status, 200);
    assert_eq!(relay.storage.request_ids().len(), 2);
    for _ in 0..2 {
        relay.post("/v2/exchange/offer", &json!({ "payload": "x" })).await.json(200);
    }
    assert_eq!(relay.storage.request_ids().len(), 4, "whoever comes by himself asks anew each time");
}

#[tokio::test]
async fn a_named_relay_has_a_budget_of_its_own_and_whoever_else_seals_is_a_client_like_any_other() {
    let relay = Relay::start().await;
    let (message, _) = relay.seal(&framed(r#"{"version":2,"action":"fetch"}"#, 256)).await;
    relay.post_policy(Policy { named_relay_rate: 20, address_rate: 2, ..policy() }).await;
    let ask = async |from: &str| {
        let request = Request::post("/v2/ohttp").header("content-type", "message/ohttp-req");
        let request = request.body(Body::from(message.clone())).unwrap();
        relay.clients.serve(from.parse().unwrap(), request).await.status().as_u16()
    };
    for (from, allowed) in [("203.0.113.1", 2), ("192.0.2.9", 20)] {
        let before = relay.app.metrics.rejections(Reason::RateLimited);
        for _ in 0..allowed {
            assert_eq!(ask(from).await, 200);
        }
        assert_eq!(relay.app.metrics.rejections(Reason::RateLimited), before);
        for refused in 1..=10 * allowed {
            assert_eq!(ask(from).await, 200, "a refusal is sealed");
            assert_eq!(relay.app.metrics.rejections(Reason::RateLimited), before + refused);
        }
        assert_eq!(ask(from).await, 429, "far beyond its budget");
    }
    let direct = relay.request_from("203.0.113.1", Method::GET, "/v2/health", &[], "").await;
    assert_eq!(direct.error(429), "rate limit exceeded", "one bucket for what is sealed and what is not");
}

#[tokio::test]
async fn keys_turn_with_the_clock_and_the_last_one_is_still_accepted() {
    let relay = Relay::start().await;
    let first = relay.get("/v2/ohttp-key").await;
    assert_eq!(first.headers["cache-control"], format!("public, max-age={}", DAY_SECS - 1000));
    let fingerprint = hex::encode(relay_proto::keys::fingerprint(&first.body));
    assert_eq!(first.headers["key-fingerprint"], fingerprint.as_str());
    let seal = || ClientRequest::from_encoded_config(&first.body).unwrap().encapsulate(b"{").unwrap().0;
    relay.clock.jump_to(UnixSeconds::new(DAY_SECS));
    assert_ne!(relay.get("/v2/ohttp-key").await.body, first.body, "the next key was there already");
    assert_eq!(relay.get("/v2/ohttp-key-signed").await.body, "the record of day 1");
    assert_eq!(relay.sealed(seal()).await.status, 200);
    relay.clock.jump_to(UnixSeconds::new(2 * DAY_SECS));
    assert_eq!(relay.get("/v2/ohttp-key").await.status, 503, "a key that is over is not shown");
    relay.keys.turn(key_set(2));
    relay.clock.advance(Duration::from_secs(1));
    let unknown = [&[2], &seal()[1..]].concat();
    assert_eq!(relay.sealed(unknown).await.status, 400, "sealed to another key than it names");
    assert_eq!(relay.get("/v2/ohttp-key").await.status, 200, "the unknown key made the gateway ask");
    assert_eq!(relay.sealed(seal()).await.problem()["status"], 400);
}

#[tokio::test(start_paused = true)]
async fn while_no_key_is_known_nothing_is_said_about_keys() {
    let relay = Relay::without_policy();
    let began = tokio::time::Instant::now();
    assert_eq!(relay.get("/v2/ohttp-key").await.status, 503);
    let outer = relay.sealed(vec![0; 100]).await;
    assert_eq!(outer.status, 503, "a client must not take its key for a stale one");
    assert!(outer.headers.contains_key("retry-after"));
    assert!(began.elapsed() <= Duration::from_secs(10));
    let opened = relay.app.oblivious.open(Bytes::from(vec![0; 100])).await;
    assert!(matches!(opened, Err(super::DecapsulationError::NoKeys)));
}

#[tokio::test]
async fn an_unknown_key_makes_the_gateway_ask_once_a_second() {
    let relay = Relay::start().await;
    let (mut message, _) = relay.seal(b"{").await;
    message[0] = 200;
    let before = relay.keys.asked();
    for _ in 0..50 {
        relay.sealed(message.clone()).await.problem();
    }
    assert_eq!(relay.keys.asked(), before + 1);
    relay.clock.advance(Duration::from_secs(1));
    relay.sealed(message).await.problem();
    assert_eq!(relay.keys.asked(), before + 2);
}

#[tokio::test]
async fn the_list_form_is_the_bare_form_behind_its_length() {
    let relay = Relay::start().await;
    let (bare, listed) = (relay.get("/v2/ohttp-key").await, relay.get(GATEWAY).await);
    assert_eq!(listed.body, [&[0, 45], &bare.body[..]].concat());
    for outer in [bare, listed] {
        assert_eq!(outer.headers["content-type"], "application/ohttp-keys");
    }
}

#[tokio::test]
async fn without_a_certificate_or_a_rollover_there_is_no_stand_in() {
    let relay = Relay::start().await;
    assert_eq!(relay.get("/v2/ohttp-anchor-rollover").await.status, 404);
    let mut set = key_set(0);
    set.records.clear();
    set.rollovers = Bytes::from_static(b"rollovers");
    relay.keys.turn(set);
    let (mut message, _) = relay.seal(b"{").await;
    message[0] = 200;
    relay.sealed(message).await.problem();
    let signed = relay.get("/v2/ohttp-key-signed").await;
    assert_eq!(signed.status, 503);
    assert!(signed.headers.contains_key("retry-after"));
    let rollovers = relay.get("/v2/ohttp-anchor-rollover").await;
    assert_eq!(rollovers.headers["content-type"], "application/vnd.vauchi.ohttp-anchor-rollover");
    assert_eq!(rollovers.body, "rollovers");
}

#[tokio::test]
async fn perturbed_messages_never_bring_a_fault_of_the_relays_own() {
    let relay = Relay::start().await;
    let (good, _) = relay.seal(&framed(r#"{"version":2,"action":"fetch"}"#, 256)).await;
    for position in 0..good.len() {
        let mut message = good.clone();
        message[position] ^= 1 << (position % 8);
        let outer = relay.sealed(message).await;
        assert_eq!(outer.status, 400, "byte {position}");
        assert_eq!(relay.sealed(good[..position].to_vec()).await.status, 400, "cut at {position}");
    }
}
