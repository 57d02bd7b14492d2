//! The edge: slow, broken, greedy and strange connections get a clear answer or an end, and nobody else notices.

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{mailbox_fields, random_mailbox, send_fields};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::binary::{self, Request};
use relay_tests::oblivious::{PATH, REQUEST_TYPE};
use relay_tests::wire::{Wire, post_head};
use relay_tests::{Cluster, Reply, Via};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Checks that the relay is as it was: it serves, and nothing panicked.
async fn unharmed(relay: &Cluster) {
    relay.client().send(&random_mailbox(), b"still here").await.blob_id();
    assert_eq!(relay.gateways[0].ops.metrics().await.sum("relay_panics_total"), 0.0);
}

/// Checks that nothing in what a connection said is a server's fault or a success.
#[track_caller]
fn not_served(said: &str) {
    assert!(!said.contains("HTTP/1.1 5") && !said.contains("HTTP/1.1 2"), "{said}");
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let relay = Cluster::simple().await;
    let mut wire = Wire::open(relay.address()).await;
    let head = post_head("/v2/send", 10, &"x: y\r\n".repeat(100));
    not_served(&wire.drip(head.as_bytes(), Duration::from_millis(500), PATIENCE).await);
    unharmed(&relay).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_cut_off() {
    let relay = Cluster::builder().variable("RELAY_IDLE_TIMEOUT", 1).start().await;
    let mut silent = Wire::open(relay.address()).await;
    let mut used = Wire::open(relay.address()).await;
    assert!(used.write("GET /health HTTP/1.1\r\nhost: relay\r\n\r\n").await);
    assert_eq!(used.reply().await.status, 200);
    for wire in [&mut silent, &mut used] {
        not_served(&wire.rest(PATIENCE).await);
    }
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let relay = Cluster::simple().await;
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write(post_head("/v2/send", 100_000, "")).await);
    not_served(&wire.drip(&[b' '; 1000], Duration::from_millis(500), MINUTE).await);
    unharmed(&relay).await;
}

#[tokio::test]
async fn slow_clients_do_not_hold_up_others() {
    let relay = Cluster::builder().variable("RELAY_ADDR_MAX_CONNECTIONS", 1000).start().await;
    let mut slow = Vec::new();
    for index in 0..200 {
        let mut wire = Wire::open(relay.address()).await;
        let head = post_head("/v2/send", 100_000, "");
        assert!(wire.write(if index % 2 == 0 { &head[..30] } else { &head }).await);
        slow.push(wire);
    }
    for _ in 0..20 {
        unharmed(&relay).await;
    }
    drop(slow);
}

#[tokio::test]
async fn a_half_closed_connection_is_answered_if_it_asked() {
    let relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"last words").to_string();
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write(post_head("/v2/send", body.len(), "") + &body).await);
    wire.finish_writing().await;
    wire.reply().await.blob_id();
    wire.rest(PATIENCE).await;
}

#[tokio::test]
async fn a_request_cut_short_is_dropped() {
    let relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"cut").to_string();
    let whole = post_head("/v2/send", body.len(), "") + &body;
    for length in [0, 1, 20, whole.len() - body.len(), whole.len() - 1] {
        let mut wire = Wire::open(relay.address()).await;
        assert!(wire.write(&whole[..length]).await);
        wire.finish_writing().await;
        not_served(&wire.rest(PATIENCE).await);
    }
    unharmed(&relay).await;
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let relay = Cluster::simple().await;
    let many = (0..200).map(|index| format!("x-{index}: y\r\n")).collect::<String>();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for lines in [many, long] {
        let mut wire = Wire::open(relay.address()).await;
        // The relay may have had enough before all of it is written.
        wire.write(post_head("/v2/send", 2, &lines)).await;
        assert_eq!(wire.reply().await.status, 431);
        wire.rest(PATIENCE).await;
    }
    unharmed(&relay).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let relay = Cluster::simple().await;
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 is how TLS begins\r\n\r\n".as_slice(),
        b"\x00\x00\x00\x00\x00\x00\x00\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v2/send HTTP/1.1\r\nhost: relay\r\ncontent-length: two\r\n\r\n{}",
        b"POST /v2/send HTTP/1.1\r\nhost: relay\r\ncontent-length: -2\r\n\r\n{}",
        b"POST /v2/send HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut wire = Wire::open(relay.address()).await;
        assert!(wire.write(bytes).await);
        let said = wire.rest(PATIENCE).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said:?}");
    }
    unharmed(&relay).await;
}

#[tokio::test]
async fn a_request_that_two_programs_could_read_in_two_ways_is_refused() {
    let relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"once").to_string();
    let post = |lines: &str| format!("POST /v2/send HTTP/1.1\r\n{lines}\r\n");
    let length = format!("content-length: {}\r\n", body.len());
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (request, status) in [
        (post(&length) + &body, 400),
        (post(&format!("host: relay\r\nhost: relay\r\n{length}")) + &body, 400),
        (post(&format!("host: a b\r\n{length}")) + &body, 400),
        (post("host: relay\r\ntransfer-encoding: gzip, chunked\r\n") + &chunked, 400),
        (post("host: relay\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n") + &chunked, 400),
        (post(&format!("host: relay\r\ncontent-encoding: gzip\r\n{length}")) + &body, 415),
        (post(&format!("host: relay\r\ncontent-encoding: identity\r\n{length}")) + &body, 200),
    ] {
        let mut wire = Wire::open(relay.address()).await;
        assert!(wire.write(&request).await);
        let reply = wire.reply().await;
        assert_eq!(reply.status, status, "{request}");
        assert!(reply.header("x-min-version").is_some(), "{request}");
    }
}

#[tokio::test]
async fn a_sealed_request_over_http2_may_name_the_host_that_it_was_sent_to() {
    let relay = Cluster::simple().await;
    let own = relay.client_via(Via::Bhttp);
    let request = Request::post("/v2/fetch", &mailbox_fields(&[random_mailbox()])).at("relay.example");
    let (sealed, opener) = own.key().await.seal(&request.encode());
    let stream = tokio::net::TcpStream::connect(relay.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let outer = hyper::Request::post(format!("http://relay.example{PATH}"))
        .header("content-type", REQUEST_TYPE)
        .body(Full::new(sealed))
        .unwrap();
    let (head, body) = deadline::soon("an answer", sender.send_request(outer)).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    binary::reply(&opener.open(&Reply::plain(head.status.as_u16(), head.headers, body))).page();
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    let mut requests = String::new();
    for text in ["one", "two", "three"] {
        let body = send_fields(&mailbox, text.as_bytes()).to_string();
        requests += &(post_head("/v2/send", body.len(), "") + &body);
    }
    requests += "GET /v2/nowhere HTTP/1.1\r\nhost: relay\r\n\r\n";
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write(requests).await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(wire.reply().await.blob_id());
    }
    wire.reply().await.failure(404);
    assert_eq!(relay.client().fetch(&[mailbox]).await.page().ids(), ids);
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends_a_body() {
    let relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"may I").to_string();
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write(post_head("/v2/send", body.len(), "expect: 100-continue\r\n")).await);
    assert_eq!(wire.reply().await.status, 100);
    assert!(wire.write(&body).await);
    wire.reply().await.blob_id();
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_even_asked_for() {
    let relay = Cluster::simple().await;
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write(post_head("/v2/send", 10 << 20, "expect: 100-continue\r\n")).await);
    wire.reply().await.failure(413);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused_clearly() {
    let relay = Cluster::simple().await;
    for head in [
        post_head("/v2/send", 10 << 20, ""),
        "POST /v2/send HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\na00000\r\n".to_owned(),
    ] {
        let mut wire = Wire::open(relay.address()).await;
        assert!(wire.write(head).await);
        for _ in 0..160 {
            // The relay may have had enough before all of it is written.
            if !wire.write(&[b' '; 1 << 16]).await {
                break;
            }
        }
        wire.reply().await.failure(413);
    }
    unharmed(&relay).await;
}

#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"piece by piece").to_string();
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write("POST /v2/send HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\n").await);
    for byte in body.bytes() {
        assert!(wire.write([b'1', b'\r', b'\n', byte, b'\r', b'\n']).await);
    }
    assert!(wire.write("0\r\n\r\n").await);
    wire.reply().await.blob_id();
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_until_others_leave() {
    let relay = Cluster::builder().variable("RELAY_MAX_CONNECTIONS", 20).start().await;
    let mut served = Vec::new();
    for _ in 0..20 {
        let client = relay.client();
        client.send(&random_mailbox(), b"a seat").await.blob_id();
        served.push(client);
    }
    for _ in 0..5 {
        let mut wire = Wire::open(relay.address()).await;
        wire.write("GET /health HTTP/1.1\r\nhost: relay\r\n\r\n").await;
        let reply = wire.reply().await;
        reply.failure(503);
        assert!(reply.retry_after() >= 1);
        wire.rest(PATIENCE).await;
    }
    served[0].send(&random_mailbox(), b"those inside are served").await.blob_id();
    drop(served.pop());
    deadline::until("a free seat", PATIENCE, async || {
        let reply = relay.client().attempt("GET", "/health", &[], "").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_under_unfinished_and_refused_bodies() {
    const MIB: u64 = 1 << 20;
    let relay = Cluster::builder().variable("RELAY_ADDR_MAX_CONNECTIONS", 1000).start().await;
    let gateway = relay.gateways[0].process();
    let mut unfinished = Vec::new();
    for _ in 0..100 {
        let mut wire = Wire::open(relay.address()).await;
        assert!(wire.write(post_head("/v2/send", 1 << 20, "")).await);
        assert!(wire.write(&[b' '; 1 << 14]).await);
        unfinished.push(wire);
    }
    unharmed(&relay).await;
    let with_unfinished = gateway.resident_bytes();
    assert!(with_unfinished < 128 * MIB, "{with_unfinished} bytes");
    drop(unfinished);

    let deep = "[".repeat(1 << 20);
    let client = relay.client();
    let refuse = async |rounds: usize| {
        for _ in 0..rounds {
            client.raw("POST", "/v2/send", &[], deep.clone()).await.failure(400);
        }
        gateway.resident_bytes()
    };
    let [warm, later] = [refuse(50).await, refuse(150).await];
    assert!(later < warm + 16 * MIB, "{warm} bytes, then {later}");
    unharmed(&relay).await;
}
