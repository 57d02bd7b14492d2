//! What it refuses to start with, what it is allowed once it runs, and what its operator sees.

use super::fake::{FakeTarget, sealed};
use super::{Outer, carry, directory};
use relay_tests::binaries::Program;
use relay_tests::process::{Finished, Launch};
use std::fs;

async fn start(variables: &[(&str, &str)]) -> Finished {
    let directory = directory();
    let mut launch = Launch::new(Program::Oblivious, directory.path());
    for (name, value) in variables {
        launch.set(name, value);
    }
    launch.finish().await
}

#[tokio::test]
async fn a_target_at_its_own_origin_is_refused_with_the_reason() {
    for origin in ["OBLIVIOUS_ORIGIN", "RELAY_PUBLIC_URL"] {
        let variables =
            [("OBLIVIOUS_TARGETS", "https://Relay.Example:443"), (origin, "https://relay.example")];
        let refused = start(&variables).await;
        assert_eq!(refused.code, Some(78), "{}", refused.stderr);
        for word in ["https://relay.example:443", "own origin", origin, "another operator"] {
            assert!(refused.stderr.contains(word), "no {word:?} in: {}", refused.stderr);
        }
    }
}

#[tokio::test]
async fn variables_that_make_no_sense_are_named_all_at_once() {
    let refused = start(&[
        ("OBLIVIOUS_TARGETS", "relay.example"),
        ("OBLIVIOUS_ORIGIN", "outer"),
        ("OBLIVIOUS_LISTEN_ADDR", "localhost"),
        ("OBLIVIOUS_ADDR_RATE_LIMIT", "0"),
        ("OBLIVIOUS_TARGET", "https://relay.example"),
    ])
    .await;
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    for word in [
        "OBLIVIOUS_TARGETS=relay.example: expected",
        "OBLIVIOUS_TARGETS=https://relay.example",
        "OBLIVIOUS_ORIGIN=outer",
        "OBLIVIOUS_LISTEN_ADDR=localhost",
        "OBLIVIOUS_ADDR_RATE_LIMIT=0",
        "did you mean OBLIVIOUS_TARGETS?",
    ] {
        assert!(refused.stderr.contains(word), "no {word:?} in: {}", refused.stderr);
    }
    for (variables, word) in [
        (&[][..], "OBLIVIOUS_TARGETS is not set"),
        (&[("OBLIVIOUS_TARGETS", "https://a.example,https://b.example")], "not each has a name"),
        (&[("OBLIVIOUS_TARGETS", "http://relay.example")], "OBLIVIOUS_ALLOW_HTTP=true"),
        (
            &[("OBLIVIOUS_TARGETS", "https://a.example"), ("OBLIVIOUS_LISTEN_ADDR", "0.0.0.0:8090")],
            "RELAY_TLS_VERIFIED=true",
        ),
    ] {
        let refused = start(variables).await;
        assert_eq!(refused.code, Some(78), "{}", refused.stderr);
        assert!(refused.stderr.contains(word), "no {word:?} in: {}", refused.stderr);
    }
}

#[tokio::test]
async fn it_is_confined_and_leaves_nothing_behind() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let outer = Outer::of(target.address()).await;
    assert_eq!(carry(&outer.client(), "sealed").await.status, 200);
    let status = fs::read_to_string(format!("/proc/{}/status", outer.process.pid())).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "no {line:?} in: {status}");
    }
    assert!(outer.process.output().contains("confined"), "{}", outer.process.output());
    let left: Vec<_> =
        fs::read_dir(outer._directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["output"], "what the test itself keeps");
}

#[tokio::test]
async fn its_operator_sees_whether_it_is_well() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let outer = Outer::of(target.address()).await;
    for path in ["/health", "/ready", "/build-info"] {
        assert_eq!(outer.ops.get(path).await.status, 200, "{path}");
    }
    carry(&outer.client(), "sealed").await;
    let metrics = outer.ops.metrics().await;
    assert_eq!(metrics.sum("oblivious_requests_total"), 1.0);
    assert!(metrics.has("oblivious_connections_active") && metrics.has("relay_panics_total"));
    let labels = metrics.series().iter().map(|series| series.labels.as_str());
    assert!(labels.into_iter().all(|labels| {
        labels.is_empty() || ["outcome=", "scope=", "source="].iter().any(|label| labels.starts_with(label))
    }));
    let port = outer.ops.clone();
    let relay_tests::ops::Ops::Port(port) = port else { unreachable!() };
    let directory = directory();
    let health = Launch::new(Program::Oblivious, directory.path())
        .only_arguments(&["health"])
        .variable("OBLIVIOUS_METRICS_ADDR", port);
    let well = health.finish().await;
    assert_eq!((well.code, well.stdout.trim()), (Some(0), "ready"), "{}", well.stderr);
}
