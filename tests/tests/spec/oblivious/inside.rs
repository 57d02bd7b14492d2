//! What is inside of the seal: it reaches this relay's API and nothing else, and what is wrong with it is told
//! inside.

use super::{fetch_plaintext, healthy};
use relay_tests::fields::{mailbox_fields, random_bytes, random_mailbox};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::binary::Mode;
use relay_tests::oblivious::binary::{self, Request};
use relay_tests::oblivious::{PATH, REQUEST_TYPE, WELL_KNOWN, envelope};
use relay_tests::{Action, Client, Cluster, Via};
use serde_json::{Value, json};

async fn refused(client: &Client, request: &Request, status: u16) {
    let reply = client.binary(request).await;
    let text = reply.failure(status);
    for word in ["400", "502", "ohttp"] {
        assert!(!text.contains(word), "clients take {word:?} as a stale key: {text:?}");
    }
}

#[tokio::test]
async fn there_is_no_seal_inside_a_seal() {
    let relay = Cluster::simple().await;
    let client = relay.client_via(Via::Bhttp);
    let (sealed, _) = client.key().await.seal(&fetch_plaintext());
    for path in [PATH, WELL_KNOWN, "/v2/ohttp?x=1"] {
        let nested = Request::new("POST", path, sealed.clone()).with_header("content-type", REQUEST_TYPE);
        refused(&client, &nested, 404).await;
        refused(&client, &nested.clone().at(client.address()), 404).await;
    }
    let plaintext = envelope::request_with(json!(2), json!("ohttp"), &json!({}));
    let inner = client.sealed(&plaintext).await;
    let json: Value = serde_json::from_slice(&envelope::unframed(&inner)).unwrap();
    assert_eq!(json, json!({ "status": "error", "error": "unknown action" }));
}

#[tokio::test]
async fn a_sealed_request_reaches_only_this_relay() {
    let relay = Cluster::simple().await;
    let client = relay.client_via(Via::Bhttp);
    let fields = mailbox_fields(&[random_mailbox()]);
    for authority in
        ["elsewhere.example", "127.0.0.1:1", "localhost", "user@127.0.0.1", "169.254.169.254", "a b", "/"]
    {
        refused(&client, &Request::post("/v2/fetch", &fields).at(authority), 421).await;
    }
    let ours = Request::post("/v2/fetch", &fields).at(client.address());
    client.binary(&ours).await.page();
    client.binary(&Request::post("/v2/fetch", &fields)).await.page();
}

#[tokio::test]
async fn a_sealed_request_reaches_only_the_api() {
    let relay = Cluster::builder().federated().start().await;
    let client = relay.client_via(Via::Bhttp);
    for path in [
        "/metrics",
        "/ready",
        "/build-info",
        "/pubkey",
        "/federation",
        "/federation/key",
        "/health",
        "/",
        "",
        "*",
        "/v2",
        "/v2/",
        "/v2/nothing",
        "/v2/../metrics",
        "/v2/%2e%2e/metrics",
        "//v2/send",
        "v2/send",
        "http://127.0.0.1/v2/send",
        "https://elsewhere.example/v2/send",
    ] {
        for method in ["GET", "POST"] {
            refused(&client, &Request::new(method, path, "{}"), 404).await;
        }
    }
    let own = client.address().to_string();
    for (authority, path) in [("", ""), (own.as_str(), ""), (own.as_str(), "/v2/send")] {
        refused(&client, &Request::new("CONNECT", path, "").at(authority), 404).await;
    }
    let websocket = Request::new("GET", "/federation", "")
        .with_header("connection", "upgrade")
        .with_header("upgrade", "websocket")
        .with_header("sec-websocket-version", "13")
        .with_header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    refused(&client, &websocket, 404).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        refused(&client, &Request::new(method, "/v2/send", ""), 405).await;
    }
}

#[tokio::test]
async fn a_default_port_is_as_good_as_none_and_a_host_may_stand_in_the_headers() {
    let relay = Cluster::builder().variable("RELAY_PUBLIC_URL", "https://relay.example").start().await;
    let client = relay.client_via(Via::Bhttp);
    let fetch = Request::post("/v2/fetch", &mailbox_fields(&[random_mailbox()]));
    for authority in ["relay.example", "Relay.Example:443"] {
        client.binary(&fetch.clone().at(authority)).await.page();
        client.binary(&fetch.clone().with_header("host", authority)).await.page();
    }
    refused(&client, &fetch.clone().at("relay.example:80"), 421).await;
    refused(&client, &fetch.with_header("host", "elsewhere.example"), 421).await;
}

#[tokio::test]
async fn what_http_2_forbids_and_content_that_is_not_what_it_seems_are_errors_inside() {
    let relay = Cluster::simple().await;
    let client = relay.client_via(Via::Bhttp);
    let fetch = Request::post("/v2/fetch", &mailbox_fields(&[random_mailbox()]));
    for (name, value) in [
        ("X-Capital", "x"),
        (":path", "/v2/health"),
        ("a b", "x"),
        ("x", "a\r\nhost: elsewhere"),
        ("x", "a\0"),
        ("x", " a"),
        ("transfer-encoding", "chunked"),
        ("content-length", "1"),
    ] {
        refused(&client, &fetch.clone().with_header(name, value), 400).await;
    }
    refused(&client, &fetch.clone().with_header("content-encoding", "gzip"), 415).await;
    let length = fetch.content.len();
    client.binary(&fetch.with_header("content-length", &length.to_string())).await.page();
}

#[tokio::test]
async fn an_answer_to_head_has_no_content() {
    let relay = Cluster::simple().await;
    let client = relay.client_via(Via::Bhttp);
    let reply = client.binary(&Request::new("HEAD", "/v2/health", "")).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

#[tokio::test]
async fn what_is_said_outside_does_not_reach_the_inside() {
    let relay = Cluster::simple().await;
    let client = relay
        .client_via(Via::Bhttp)
        .with_outer_header("expect-nothing", "x")
        .with_outer_header("x-forwarded-for", "203.0.113.8")
        .with_outer_header("content-language", "tlh");
    client.send(&random_mailbox(), b"sealed").await.blob_id();
}

#[tokio::test]
async fn unknown_actions_and_versions_are_refused_inside() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let fields = mailbox_fields(&[random_mailbox()]);
    let told = async |plaintext: &[u8]| -> Value {
        serde_json::from_slice(&envelope::unframed(&client.sealed(plaintext).await)).unwrap()
    };
    for action in [
        json!("nothing"),
        json!(""),
        json!("Fetch"),
        json!("fetch "),
        json!("/v2/fetch"),
        json!("../fetch"),
        json!("recovery/query"),
        json!("health"),
        json!("ohttp_key"),
        json!(null),
        json!(7),
        json!(["fetch"]),
    ] {
        let answer = told(&envelope::request_with(json!(2), action.clone(), &fields)).await;
        assert_eq!(answer, json!({ "status": "error", "error": "unknown action" }), "{action}");
    }
    for version in
        [json!(0), json!(1), json!(3), json!(-2), json!("2"), json!(2.5), json!(null), json!(258), json!([2])]
    {
        let answer = told(&envelope::request_with(version.clone(), json!("fetch"), &fields)).await;
        assert_eq!(answer["status"], "error", "{version}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains("version"), "{answer}");
    }
    let answer = told(&envelope::framed(br#"{"action":"fetch","mailbox_tokens":["00"]}"#)).await;
    assert_eq!(answer["status"], "error", "no version: {answer}");
    assert_eq!(told(&envelope::request_with(json!(2), json!("fetch"), &fields)).await["status"], "ok");
}

#[tokio::test]
async fn broken_envelopes_are_refused_inside() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let sound = envelope::request(Action::Fetch, &mailbox_fields(&[random_mailbox()]));
    let json = envelope::unframed(&sound);
    let behind = |length: usize| [&u32::try_from(length).unwrap().to_be_bytes(), &json[..]].concat();
    for broken in [
        behind(json.len() + 1),
        behind(usize::try_from(u32::MAX).unwrap()),
        behind(json.len() - 1),
        behind(1),
        behind(0),
        [&behind(json.len())[..4], b"{\"version\":2,"].concat(),
        envelope::framed(b"{"),
        envelope::framed(b"{}{}"),
        envelope::framed(b"{\"version\":2,\"version\":2,\"action\":\"fetch\"}"),
        envelope::framed("{\"a\":".repeat(100_000).as_bytes()),
        envelope::framed(&[b"{\"action\":\"".as_slice(), &[0xff], b"\"}"].concat()),
    ] {
        let inner = client.sealed(&broken).await;
        let answer: Value = serde_json::from_slice(&envelope::unframed(&inner)).unwrap();
        assert_eq!(answer["status"], "error", "{answer}");
        let text = answer["error"].as_str().unwrap();
        assert!(!text.contains("400") && !text.contains("ohttp"), "{text}");
    }
    // Nothing behind it is as good as anything.
    let inner = client.sealed(&behind(json.len())).await;
    assert_eq!(envelope::unframed(&inner), envelope::unframed(&client.sealed(&sound).await));
    healthy(&relay).await;
}

#[tokio::test]
async fn broken_binary_requests_are_refused_inside() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let sound = Request::post("/v2/fetch", &mailbox_fields(&[random_mailbox()])).encode();
    let padded = |padding: &[u8]| [&sound, padding].concat();
    for broken in [
        padded(&[1]),
        padded(&[0, 0, 0, 1]),
        padded(&[&[0; 500][..], &[7], &[0; 500]].concat()),
        padded(b"{}"),
        sound[..sound.len() / 2].to_vec(),
        sound[..10].to_vec(),
        vec![0],
        Vec::new(),
        vec![0xff; 100],
        random_bytes(3),
        // RFC 9292 §3.1: a response, known and indeterminate, and a framing that there is not.
        vec![1, 0x40, 0xc8, 0, 0, 0],
        vec![3, 0x40, 0xc8, 0, 0, 0],
        vec![4, 3, b'G', b'E', b'T', 0, 0, 0],
        Request::new("GE T", "/v2/health", "").encode(),
        Request::new("", "/v2/health", "").encode(),
    ] {
        let reply = binary::reply(&client.sealed(&broken).await);
        reply.failure(400);
    }
    for fine in [padded(&[]), padded(&[0]), padded(&[0; 5000])] {
        binary::reply(&client.sealed(&fine).await).page();
    }
    healthy(&relay).await;
}

#[tokio::test]
async fn binary_requests_of_unknown_length_are_served() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    client.send(&mailbox, b"mail").await.blob_id();
    let request = Request::post("/v2/fetch", &mailbox_fields(&[&mailbox]));
    let plaintext = [request.encode_as(Mode::IndeterminateLength), vec![0; 300]].concat();
    let page = binary::reply(&client.sealed(&plaintext).await).page();
    assert_eq!(page.blobs.len(), 1);
}

#[tokio::test]
async fn an_expectation_inside_is_an_error() {
    let relay = Cluster::simple().await;
    let client = relay.client_via(Via::Bhttp);
    let fields = mailbox_fields(&[random_mailbox()]);
    refused(&client, &Request::post("/v2/fetch", &fields).with_header("expect", "100-continue"), 417).await;
}

#[tokio::test]
async fn a_binary_answer_has_status_and_headers_of_its_own() {
    let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 1).start().await;
    let client = relay.client_via(Via::Bhttp);
    let mailbox = random_mailbox();
    client.send(&mailbox, b"one").await.blob_id();
    let limited = client.send(&mailbox, b"two").await;
    limited.refuses(429, "rate limit exceeded");
    assert!((1..=60).contains(&limited.retry_after()));
    assert_eq!(limited.header("content-type"), Some("application/json"));
    let not_allowed = client.binary(&Request::new("GET", "/v2/send", "")).await;
    not_allowed.failure(405);
    assert!(not_allowed.header("allow").is_some_and(|allowed| allowed.contains("POST")));
}
