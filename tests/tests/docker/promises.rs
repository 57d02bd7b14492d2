//! What an operator gets who copies one file and types one command.

use relay_tests::binaries::Program;
use relay_tests::compose::Compose;
use relay_tests::fields::random_mailbox;
use relay_tests::{Launch, Via};

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn an_empty_folder_and_an_empty_environment_give_a_relay_that_keeps_its_promises() {
    let relay = Compose::lay_out(1);
    let trust = relay.up("").await;
    for way in [&["--via", "plain"], &["--via", "ohttp"]] {
        let selftest = Launch::new(Program::Relay, relay.folder())
            .variable("SSL_CERT_FILE", relay.authority().display())
            .arguments(&["selftest", &relay.url()])
            .arguments(way)
            .finish()
            .await;
        assert_eq!(selftest.code, Some(0), "{}{}", selftest.stdout, selftest.stderr);
    }

    let elsewhere =
        relay.client(Via::Plain, &trust).raw("GET", "/health", &[("host", "elsewhere.example")], "").await;
    assert_ne!(elsewhere.status, 200, "an answer that no gateway gave");

    let mailbox = random_mailbox();
    let client = relay.client(Via::Envelope, &trust);
    let id = client.send(&mailbox, b"to be there tomorrow").await.blob_id();
    let key = client.key().await;
    let status = relay.compose("run --rm admin status");
    assert!(status.contains("durability=disk") && status.contains("gateway"), "{status}");

    relay.compose("down");
    let trust = relay.up("").await;
    let client = relay.client(Via::Envelope, &trust).with_key(key);
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id], "the key and the mail are as before");
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn federation_is_there_when_its_profile_is_asked_for() {
    let relay = Compose::lay_out(2)
        .variable("COMPOSE_PROFILES", "federation")
        .variable("RELAY_FEDERATION_ENABLED", "true")
        .variable("RELAY_FEDERATION_PEERS", "wss://relay.invalid");
    let trust = relay.up("--wait").await;
    let reply = relay.client(Via::Plain, &trust).raw("GET", "/federation/key", &[], "").await;
    assert_eq!(reply.status, 200);
    let peers = relay.compose("run --rm admin peers");
    assert!(peers.contains("wss://relay.invalid"), "{peers}");
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn an_outer_relay_is_there_at_its_own_name_when_its_profile_is_asked_for() {
    // Certificates for such a name come from the front's own authority.
    const OUTER: &str = "outer.relay.local";
    let relay = Compose::lay_out(12)
        .variable("COMPOSE_PROFILES", "oblivious")
        .variable("OBLIVIOUS_DOMAIN", OUTER)
        .variable("OBLIVIOUS_TARGETS", "https://relay.invalid");
    relay.up("--wait").await;
    let port = relay.url().rsplit(':').next().unwrap().to_owned();
    let status = |path: &str, options: &str| {
        let script = format!(
            "curl -sS --cacert root.crt --resolve {OUTER}:{port}:127.0.0.1 -o /dev/null -w '%{{http_code}}' {options} \
             https://{OUTER}:{port}{path}"
        );
        relay.shell(&script, &[])
    };
    assert_eq!(status("/health", ""), "200");
    let sealed = "-H 'content-type: message/ohttp-req' -d sealed";
    assert_eq!(status("/v2/ohttp", sealed), "502", "its target is nowhere");
    assert_eq!(status("/v2/send", "-d {}"), "404", "this relay's own paths are at its own name");
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn a_client_cannot_say_who_it_is() {
    let relay = Compose::lay_out(10).variable("RELAY_ADDR_RATE_LIMIT", 20);
    let trust = relay.up("--wait").await;
    let client = relay.client(Via::Plain, &trust);
    let mut refused = 0;
    for number in 0..40 {
        let claimed = format!("198.51.100.{number}");
        let headers = [("x-forwarded-for", claimed.as_str()), ("content-type", "application/json")];
        let body = serde_json::json!({ "mailbox_tokens": [random_mailbox()] }).to_string();
        refused += usize::from(client.raw("POST", "/v2/fetch", &headers, body).await.status == 429);
    }
    assert!((10..=20).contains(&refused), "{refused} of 40 were refused, and 20 a minute are allowed");
}
