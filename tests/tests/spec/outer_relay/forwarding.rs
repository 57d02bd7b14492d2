//! What goes on, and what comes back.

use super::fake::{Act, FakeTarget, answer, sealed};
use super::{Outer, carry, directory};
use crate::scanner::{Scanner, Secret};
use crate::signed_keys::anchor;
use relay_tests::deadline;
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::strict::StrictClient;
use relay_tests::tls_front::TlsFront;
use relay_tests::{Client, Cluster, Via, oblivious, signed_key};
use std::sync::Arc;
use tokio::sync::Notify;

const LONGEST_REQUEST: usize = 64 << 10;
const LONGEST_ANSWER: usize = 128 << 10;

#[tokio::test]
async fn a_strict_client_sends_and_gets_its_mail_through_it() {
    let cluster = Cluster::simple().await;
    let outer = Outer::of(cluster.address()).await;
    let anchor = anchor(&cluster).await;
    for form in Via::OUTER {
        let client = StrictClient::at(outer.address, &anchor, form);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"by a detour").await.unwrap();
        let synced = client.sync(&[&mailbox]).await.unwrap();
        assert_eq!(synced.blobs.iter().map(|blob| &blob.id).collect::<Vec<_>>(), [&id]);
        assert_eq!(client.sync(&[&mailbox]).await.unwrap().blobs.len(), 0);
    }
    // What is shown is what the relay shows.
    for path in [oblivious::KEY_PATH, signed_key::PATH, signed_key::ROLLOVER_PATH, oblivious::WELL_KNOWN] {
        let [here, there] = [outer.client(), cluster.client()];
        let (here, there) = (here.raw("GET", path, &[], "").await, there.raw("GET", path, &[], "").await);
        assert_eq!((here.status, &here.body), (there.status, &there.body), "{path}");
        assert_eq!(here.header("content-type"), there.header("content-type"), "{path}");
    }
    assert_eq!(outer.client().raw("GET", "/health", &[], "").await.text(), r#"{"status":"ok"}"#);
    assert!(outer.counted("oblivious_requests_total").await >= 8.0);
    // A request that does not open is refused by the relay, with what clients fetch a new key on.
    let refused = carry(&outer.client(), random_bytes(500)).await;
    assert_eq!((refused.status, refused.header("content-type")), (400, Some("application/problem+json")));
}

#[tokio::test]
async fn nothing_of_a_client_reaches_the_target_but_the_sealed_bytes_and_nothing_of_it_stays() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let variables = [("RUST_LOG", "trace"), ("RELAY_TRUSTED_PROXIES", "127.0.0.1")];
    let outer = Outer::start(&format!("http://{}", target.address()), &variables).await;
    let canary = hex::encode(random_bytes(12));
    let client = outer
        .client()
        .with_outer_header("x-forwarded-for", "203.0.113.177")
        .with_outer_header("forwarded", "for=203.0.113.177")
        .with_outer_header("user-agent", &canary)
        .with_outer_header("cookie", &canary)
        .with_outer_header("authorization", &canary)
        .with_outer_header("x-app-compat-version", &canary)
        .with_outer_header("traceparent", &canary)
        .with_outer_header("accept-language", &canary);
    let kind = format!("message/ohttp-req; canary={canary}");
    let body = random_bytes(300);
    let reply = client.raw("POST", oblivious::PATH, &[("content-type", &kind)], body.clone()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "answer"));
    client.raw("GET", oblivious::KEY_PATH, &[], "").await;
    client.raw("GET", &format!("/v2/{canary}?{canary}"), &[], "").await;
    client.raw("POST", oblivious::PATH, &[], canary.clone()).await;
    let seen = target.seen();
    let host = target.address();
    let expected = [
        [
            format!(
                "POST /v2/ohttp HTTP/1.1\r\nhost: {host}\r\ncontent-type: message/ohttp-req\r\n\
                 content-length: 300\r\n\r\n"
            )
            .as_bytes(),
            &body[..],
        ]
        .concat(),
        format!("GET /v2/ohttp-key HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(),
    ];
    assert_eq!(
        seen,
        expected,
        "{:?}",
        seen.iter().map(|one| String::from_utf8_lossy(one)).collect::<Vec<_>>()
    );
    let scanner = Scanner::new(&[
        Secret::text("a header", &canary),
        Secret::text("an address", "203.0.113.177"),
        Secret::new("a body", &body),
    ]);
    let said = outer.process.output() + &outer.ops.get("/metrics").await.text();
    assert_eq!(scanner.leaks("log and metrics", said.as_bytes()), std::collections::BTreeSet::new());
    assert!(said.contains("listening"), "the log is read");
}

#[tokio::test]
async fn nothing_of_the_target_reaches_a_client_but_its_answer() {
    let lines = "content-type: message/ohttp-res\r\nset-cookie: id=1\r\nserver: canary\r\nvia: canary\r\n\
                 etag: \"canary\"\r\nx-canary: 1\r\nalt-svc: h3\r\nretry-after: 3\r\ncache-control: max-age=60\r\n\
                 access-control-allow-origin: *\r\nstrict-transport-security: max-age=1\r\n";
    let target = FakeTarget::answering(answer("200 OK", lines, b"answer")).await;
    let outer = Outer::of(target.address()).await;
    let reply = carry(&outer.client(), "sealed").await;
    let mut names: Vec<&str> = reply.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-length", "content-type", "date", "retry-after"]);
    assert_eq!((reply.header("cache-control"), reply.header("retry-after")), (Some("no-store"), Some("3")));
    let page =
        FakeTarget::answering(answer("503 Busy", "content-type: text/html\r\n", b"<html>canary")).await;
    let outer = Outer::of(page.address()).await;
    let reply = carry(&outer.client(), "sealed").await;
    assert_eq!((reply.status, reply.body.len(), reply.header("content-type")), (503, 0, None));
}

#[tokio::test]
async fn sizes_have_their_bounds_both_ways() {
    let target = FakeTarget::start(|_, body, _| {
        let length = if body == b"long" { LONGEST_ANSWER + 1 } else { LONGEST_ANSWER };
        Act::Answer(sealed(&vec![b'x'; length]))
    })
    .await;
    let outer = Outer::of(target.address()).await;
    let longest = carry(&outer.client(), vec![0; LONGEST_REQUEST]).await;
    assert_eq!((longest.status, longest.body.len()), (200, LONGEST_ANSWER));
    assert_eq!(carry(&outer.client(), vec![0; LONGEST_REQUEST + 1]).await.status, 413);
    assert_eq!(carry(&outer.client(), "long").await.status, 502);
    assert_eq!(target.seen().len(), 2);
}

#[tokio::test]
async fn a_target_that_is_down_or_silent_or_lost_is_told_apart() {
    let silent = FakeTarget::start(|_, _, _| Act::Silent).await;
    let url = format!("http://{}", silent.address());
    let outer = Outer::start(&url, &[("OBLIVIOUS_TARGET_TIMEOUT", "1")]).await;
    assert_eq!(carry(&outer.client(), "sealed").await.status, 504);
    assert_eq!(outer.client().raw("GET", signed_key::PATH, &[], "").await.status, 504);
    drop(silent);
    deadline::until("a closed port", deadline::PATIENCE, async || {
        (carry(&outer.client(), "sealed").await.status == 502).then_some(())
    })
    .await;
    assert_eq!(outer.client().raw("GET", signed_key::PATH, &[], "").await.status, 502);
    let said = outer.process.output();
    assert!(said.contains("did not answer in time") && !said.contains(&url), "{said}");
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let target = FakeTarget::start(|_, _, before| match before {
        1 | 3 => Act::Close,
        _ => Act::Answer(sealed(b"answer")),
    })
    .await;
    let outer = Outer::of(target.address()).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(carry(&outer.client(), "sealed").await.status);
    }
    assert_eq!(
        statuses,
        [200, 502, 200, 502, 200],
        "the target may have processed it (RFC 9458, section 6.5)"
    );
    assert_eq!(outer.counted("oblivious_target_retries_total").await, 0.0);
    assert_eq!((target.seen().len(), target.connections()), (5, 3));
}

#[tokio::test]
async fn several_targets_are_told_apart_by_prefix_and_host() {
    let north = FakeTarget::answering(sealed(b"north")).await;
    let south = FakeTarget::answering(sealed(b"south")).await;
    let targets = format!("/north=http://{},south.example=http://{}", north.address(), south.address());
    let outer = Outer::start(&targets, &[]).await;
    let kind = ("content-type", oblivious::REQUEST_TYPE);
    let client = outer.client();
    assert_eq!(client.raw("POST", "/north/v2/ohttp", &[kind], "sealed").await.text(), "north");
    assert_eq!(carry(&client, "sealed").await.status, 404, "neither prefix nor host");
    let mut wire = relay_tests::Wire::open(outer.address).await;
    wire.write("POST /v2/ohttp HTTP/1.1\r\nhost: South.Example\r\ncontent-type: message/ohttp-req\r\ncontent-length: 1\r\n\r\nx").await;
    assert_eq!(wire.reply().await.text(), "south");
    assert_eq!((north.seen().len(), south.seen().len()), (1, 1));
    assert!(north.seen()[0].starts_with(b"POST /v2/ohttp HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_target_with_tls_shows_a_certificate_that_this_system_trusts() {
    let (fake, place) = (FakeTarget::answering(sealed(b"answer")).await, directory());
    let front = TlsFront::start(fake.address(), place.path()).await;
    let trusted = [("SSL_CERT_FILE", front.certificate().to_str().unwrap())];
    let outer = Outer::start(&front.url(), &trusted).await;
    assert_eq!(carry(&outer.client(), "sealed").await.text(), "answer");
    assert_eq!(carry(&outer.client(), "sealed").await.text(), "answer");
    assert_eq!(fake.connections(), 1, "the connection is kept");
    let stranger = Outer::start(&front.url(), &[]).await;
    assert_eq!(carry(&stranger.client(), "sealed").await.status, 502);
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_request_in_progress_is_answered_before_it_stops() {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let target =
        FakeTarget::start(move |_, _, _| Act::AnswerAfter(Arc::clone(&told), sealed(b"answer"))).await;
    let mut outer = Outer::of(target.address()).await;
    let client: Client = outer.client();
    let asking = tokio::spawn(async move { carry(&client, "sealed").await.text() });
    deadline::until("the request at the target", deadline::PATIENCE, async || {
        (!target.seen().is_empty()).then_some(())
    })
    .await;
    outer.process.signal(nix::sys::signal::Signal::SIGTERM);
    relay_tests::wire::closed(outer.address).await;
    go.notify_one();
    assert_eq!(asking.await.unwrap(), "answer");
    assert_eq!(outer.process.exit_code().await, 0, "{}", outer.process.output());
}
