//! Keys are kept for as long as the target says.

use super::Outer;
use super::fake::{Act, FakeTarget, answer};
use relay_tests::deadline;
use relay_tests::{oblivious, signed_key};
use std::time::{Duration, Instant};

fn document(kind: &str, cache: &str, body: &[u8]) -> Vec<u8> {
    answer(
        "200 OK",
        &format!("content-type: {kind}\r\ncache-control: {cache}\r\nkey-fingerprint: x\r\n"),
        body,
    )
}

/// How many requests for a path came.
fn asked(target: &FakeTarget, path: &str) -> usize {
    let line = format!("GET {path} HTTP/1.1\r\n");
    target.seen().iter().filter(|request| request.starts_with(line.as_bytes())).count()
}

#[tokio::test]
async fn a_key_is_fetched_once_for_many_clients_and_again_when_its_time_is_over() {
    let target = FakeTarget::start(|_, _, before| {
        Act::Answer(document(
            signed_key::CONTENT_TYPE,
            "public, max-age=2",
            format!("record {before}").as_bytes(),
        ))
    })
    .await;
    let outer = Outer::of(target.address()).await;
    let asking: Vec<_> = (0..40)
        .map(|_| {
            let client = outer.client();
            tokio::spawn(async move { client.raw("GET", signed_key::PATH, &[], "").await })
        })
        .collect();
    for one in asking {
        let reply = one.await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "record 0"));
        assert_eq!(reply.header("content-type"), Some(signed_key::CONTENT_TYPE));
        let left = reply.header("cache-control").unwrap().strip_prefix("public, max-age=").unwrap();
        assert!(left.parse::<u64>().unwrap() <= 2, "{left}");
        assert_eq!(reply.header("key-fingerprint"), None);
    }
    assert_eq!(target.seen().len(), 1);
    deadline::pace(Duration::from_millis(2100)).await;
    assert_eq!(outer.client().raw("GET", signed_key::PATH, &[], "").await.text(), "record 1");
    // Each path has a key of its own.
    assert_eq!(outer.client().raw("GET", oblivious::KEY_PATH, &[], "").await.text(), "record 2");
    assert_eq!(outer.counted("oblivious_keys_total").await, 42.0);
}

#[tokio::test]
async fn rollovers_and_what_may_not_be_kept_are_shared_for_a_second_and_not_kept() {
    let target = FakeTarget::start(|head, _, _| {
        let cache = if head.contains("rollover") { "public, max-age=3600" } else { "no-store, max-age=3600" };
        Act::Answer(document(signed_key::ROLLOVER_TYPE, cache, b"record"))
    })
    .await;
    let outer = Outer::of(target.address()).await;
    for path in [signed_key::ROLLOVER_PATH, oblivious::KEY_PATH] {
        for fetches in 1..4 {
            let reply = outer.client().raw("GET", path, &[], "").await;
            assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{path}");
            assert_eq!(asked(&target, path), fetches, "{path}");
            deadline::pace(Duration::from_millis(1100)).await;
        }
        let (began, mut asking) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(2) {
            assert_eq!(outer.client().raw("GET", path, &[], "").await.status, 200);
            asking += 1;
            deadline::pace(Duration::from_millis(20)).await;
        }
        assert!(asked(&target, path) <= 6, "{path}: {} of {asking}", asked(&target, path));
    }
}
