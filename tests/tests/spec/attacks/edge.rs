//! One stranger's connections, bodies and answers, with the limits that a relay has by default: others are served, and the
//! gateway stays small.

use super::PAUSE;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::frames;
use relay_tests::honest::Honest;
use relay_tests::hostile::{Frame, Hostile};
use relay_tests::ops::Ops;
use relay_tests::wire::post_head;
use relay_tests::{Cluster, procfs};
use serde_json::json;
use std::time::Duration;

/// The last part of the hostile client's address.
const HOSTILE: u8 = 66;

/// Memory of a gateway that is attacked.
const MOST_MEMORY: u64 = 64 << 20;

/// A body of a mebibyte, as JSON; most of it is missing in the requests here.
const MEBIBYTE: usize = 1_402_000;

#[track_caller]
fn is_small(relay: &Cluster) {
    let resident = procfs::resident_bytes(relay.gateways[0].pid()).unwrap();
    assert!(resident <= MOST_MEMORY, "the gateway holds {} MiB", resident >> 20);
}

async fn limited(relay: &Cluster, scope: &str) -> f64 {
    let own = relay.gateways[0].ops.get("/metrics/gateway").await.text();
    let series = format!("relay_rate_limited_total{{scope=\"{scope}\"}} ");
    own.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_one_address_that_do_not_end_cost_others_nothing() {
    let relay = Cluster::with_default_limits().start().await;
    let mut unfinished = Vec::new();
    // What large ones leave, smaller ones take.
    for sent in [[MEBIBYTE - 1; 20], [60 << 10; 20], [7 << 10; 20]].into_iter().flatten() {
        let mut hostile = Hostile::open(HOSTILE, relay.address()).await;
        assert!(hostile.say(post_head("/v2/send", MEBIBYTE, "")).await);
        // As much as there is room for in the sockets, where the relay takes no more.
        hostile.say(vec![b' '; sent]).await;
        unfinished.push(hostile);
    }
    let mut multiplexed = Hostile::open(HOSTILE, relay.address()).await;
    assert!(multiplexed.say(frames::preface(1 << 20)).await);
    for index in 0..32 {
        let length = MEBIBYTE.to_string();
        let head =
            frames::head(frames::stream(index), "POST", "/v2/send", &[("content-length", &length)], false);
        multiplexed.say(head).await;
        multiplexed.say(frames::data(frames::stream(index), &[b' '; 1024], false)).await;
    }
    let honest = Honest::start(&relay.client(), 8, PAUSE);
    honest.more(150).await;
    honest.stop().await.is_good();
    is_small(&relay);
    assert!(limited(&relay, "memory").await > 0.0);
    drop((unfinished, multiplexed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_leave_room_for_others() {
    let relay = Cluster::with_default_limits().start().await;
    let mut silent = Vec::new();
    for _ in 0..1100 {
        silent.push(Hostile::open(HOSTILE, relay.address()).await);
    }
    let honest = Honest::start(&relay.client(), 8, PAUSE);
    honest.more(150).await;
    honest.stop().await.is_good();
    let mut one_more = Hostile::open(HOSTILE, relay.address()).await;
    one_more.say("GET /health HTTP/1.1\r\nhost: relay\r\n\r\n").await;
    let told = one_more.rest(PATIENCE).await;
    assert!(told.starts_with("HTTP/1.1 429 ") && told.contains("retry-after: 1"), "{told:?}");
    assert!(limited(&relay, "connections").await >= 1100.0 - 64.0);
    is_small(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_one_client_does_not_take_cost_others_nothing_and_end() {
    let relay = Cluster::with_default_limits().start().await;
    let (large, small) = (random_mailbox(), random_mailbox());
    relay.client().send(&large, &random_bytes(1 << 20)).await.blob_id();
    relay.client().send(&small, &random_bytes(12_000)).await.blob_id();
    let mut stalled = Vec::new();
    for index in 0..60 {
        let mut hostile = Hostile::open(HOSTILE, relay.address()).await;
        // Some let the first byte come, and some nothing.
        hostile.say(frames::preface(index % 2)).await;
        let mailbox = if index % 8 == 0 { &large } else { &small };
        let fetch = json!({ "mailbox_tokens": [mailbox] }).to_string();
        for stream in 0..32 {
            hostile.say(frames::post(frames::stream(stream), "/v2/fetch", &fetch)).await;
        }
        stalled.push(hostile);
    }
    let honest = Honest::start(&relay.client(), 8, PAUSE);
    honest.more(150).await;
    assert_eq!(
        relay.client().fetch(&[&large]).await.page().blobs.len(),
        1,
        "a large answer to somebody else"
    );
    honest.stop().await.is_good();
    is_small(&relay);
    // Signs of life do not help.
    let mut ended = 0;
    for hostile in &mut stalled {
        hostile.say(frames::ping()).await;
        hostile.lives(PATIENCE).await;
        ended += 1;
    }
    assert_eq!(ended, stalled.len());
    is_small(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_fetches_of_one_address_keep_nobody_from_reading_or_writing() {
    let relay = Cluster::with_default_limits().start().await;
    let mailbox = random_mailbox();
    relay.client().send(&mailbox, &random_bytes(1 << 20)).await.blob_id();
    let fetch = json!({ "mailbox_tokens": [mailbox] }).to_string();
    let mut hostile = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (address, fetch) = (relay.address(), fetch.clone());
        hostile.spawn(async move {
            loop {
                let mut client = Hostile::open(HOSTILE, address).await;
                client.say(frames::preface(1 << 20)).await;
                for stream in 0..8 {
                    client.say(frames::post(frames::stream(stream), "/v2/fetch", &fetch)).await;
                }
                // It reads what comes, as fast as it can, until the connection has nothing more for it.
                let reading = async { while client.frame().await.is_some() {} };
                drop(tokio::time::timeout(Duration::from_secs(2), reading).await);
            }
        });
    }
    let honest = Honest::start(&relay.client(), 8, PAUSE);
    honest.more(150).await;
    is_small(&relay);
    honest.stop().await.is_good();
    hostile.abort_all();
}

/// The beginning of the answer to a request, on a connection that goes on.
async fn answer(proxy: &mut Hostile, stream: u32) -> Frame {
    loop {
        let frame = proxy.frame().await.unwrap();
        assert!(!frame.is_goaway(), "the connection ends");
        if frame.stream == stream && frame.kind == 1 {
            return frame;
        }
    }
}

#[tokio::test]
async fn a_client_of_a_proxy_cannot_end_the_connection_that_it_shares_with_others() {
    let relay = Cluster::with_default_limits()
        .variable("RELAY_TRUSTED_PROXIES", format!("127.0.0.{HOSTILE}"))
        .start()
        .await;
    let mut proxy = Hostile::open(HOSTILE, relay.address()).await;
    proxy.say([frames::preface(1 << 20), frames::settings_ack()].concat()).await;
    let by = [("x-forwarded-for", "198.51.100.66")];
    let mut streams = (0..).map(frames::stream);
    let mut next = || streams.next().unwrap();
    // Requests that are taken back, a thousand at once.
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        let stream = next();
        bytes.extend(frames::head(stream, "GET", "/health", &by, true));
        bytes.extend(frames::reset(stream));
    }
    proxy.say(bytes).await;
    // Bodies that nobody wants, and that do not end.
    for _ in 0..60 {
        let stream = next();
        assert!(proxy.say(frames::head(stream, "POST", "/v2/nothing", &by, false)).await);
        proxy.say(frames::data(stream, &[b' '; 8 << 10], false)).await;
        assert!(!answer(&mut proxy, stream).await.is_success());
    }
    let honest = [("x-forwarded-for", "198.51.100.7")];
    for _ in 0..16 {
        let stream = next();
        assert!(proxy.say(frames::head(stream, "GET", "/health", &honest, true)).await);
        assert!(answer(&mut proxy, stream).await.is_success());
    }
    let output = relay.gateways[0].output();
    assert!(output.matches("WARN").count() < 10, "{output}");
}

#[tokio::test]
async fn a_hostile_connection_is_not_a_line_in_the_log() {
    let relay = Cluster::with_default_limits().start().await;
    for _ in 0..20 {
        let mut hostile = Hostile::open(HOSTILE, relay.address()).await;
        let mut bytes = frames::preface(1 << 20);
        for index in 0..100 {
            bytes.extend(frames::head(frames::stream(index), "GET", "/health", &[], true));
            bytes.extend(frames::reset(frames::stream(index)));
        }
        hostile.say(bytes).await;
        deadline::soon("an end", async { while hostile.frame().await.is_some() {} }).await;
    }
    let metrics = relay.gateways[0].ops.get("/metrics/gateway").await.text();
    let counted = |line: &str| line.strip_prefix("relay_library_warnings_total ")?.parse::<f64>().ok();
    assert!(metrics.lines().find_map(counted).unwrap() >= 20.0, "{metrics}");
    let output = relay.gateways[0].output();
    assert!(output.matches(" WARN ").count() <= 3, "{output}");
}

#[tokio::test]
async fn silence_on_the_operators_port_keeps_nobody_out() {
    let relay = Cluster::simple().await;
    let Ops::Port(port) = relay.gateways[0].ops.clone() else { panic!("a gateway answers on a port") };
    let mut silent = Vec::new();
    for index in 0..120 {
        let mut hostile = Hostile::open(HOSTILE, port).await;
        match index % 3 {
            0 => {}
            1 => drop(hostile.say("GET /metrics HTTP/1.1\r\nhost: x\r\nx: ").await),
            // Answers that are asked for and not taken.
            _ => drop(hostile.say("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500)).await),
        }
        silent.push(hostile);
    }
    for _ in 0..20 {
        assert_eq!(relay.gateways[0].ops.get("/ready").await.status, 200);
        let health =
            relay.gateways[0].launch.clone().named("asked").only_arguments(&["health"]).finish().await;
        assert_eq!(health.code, Some(0), "{}", health.stderr);
        deadline::pace(Duration::from_millis(20)).await;
    }
    drop(silent);
}
