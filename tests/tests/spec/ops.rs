//! What operators see: health, readiness, numbers and origin of every process, and log lines for machines.

use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{
    claim_fields, complete_fields, key_fields, offer_fields, proof_fields, put_fields, random_bytes,
    random_mailbox, random_name,
};
use relay_tests::{Action, Cluster, Owner, Via};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Names that dashboards in the field know and that have meaning by now.
const NAMES: [&str; 11] = [
    "relay_connections_active",
    "relay_messages_received_total",
    "relay_messages_rejected_total",
    "relay_message_duration_seconds",
    "relay_blobs_stored",
    "relay_blobs_created_total",
    "relay_blobs_delivered_total",
    "relay_blobs_expired_total",
    "relay_recovery_proofs_active",
    "relay_rate_limited_total",
    "relay_panics_total",
];

#[tokio::test]
async fn every_process_tells_health_readiness_and_origin() {
    let mut relay = Cluster::builder().gateways(2).federated().start().await;
    for service in relay.services() {
        let name = service.launch.name().to_owned();
        let health = service.ops.get("/health").await;
        assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })), "{name}");
        assert_eq!(service.ops.get("/ready").await.status, 200, "{name}");
        let build = service.ops.get("/build-info").await.json();
        for field in ["version", "sha", "ref", "built_at"] {
            assert!(build[field].as_str().is_some_and(|value| !value.is_empty()), "{name}: {build}");
        }
        assert!(service.ops.metrics().await.has("relay_panics_total"), "{name}");
        assert_eq!(service.ops.get("/nothing").await.status, 404, "{name}");
    }
}

/// Waits until the whole relay's metrics satisfy a condition: the processes report to each other every second.
async fn metrics_show(relay: &Cluster, name: &str, value: f64) {
    deadline::until(&format!("{name} = {value}"), PATIENCE, async || {
        (relay.gateways[0].ops.metrics().await.sum(name) == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn known_metrics_count_what_they_say() {
    let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 4).start().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    deadline::until("every name", PATIENCE, async || {
        let metrics = relay.gateways[0].ops.metrics().await;
        NAMES.into_iter().all(|name| metrics.has(name)).then_some(())
    })
    .await;

    let first = client.send(&mailbox, b"first").await.blob_id();
    client.send(&mailbox, b"second").await.blob_id();
    client.send(&mailbox, b"second").await.blob_id();
    assert_eq!(client.fetch(&[&mailbox]).await.page().blobs.len(), 2);
    client.ack(&mailbox, &first).await.success();
    client.send(&mailbox, b"third").await.blob_id();
    client.send(&mailbox, b"fourth").await.refuses(429, "rate limit exceeded");
    client.send("short", b"").await.failure(400);

    metrics_show(&relay, "relay_blobs_created_total", 3.0).await;
    metrics_show(&relay, "relay_blobs_stored", 2.0).await;
    metrics_show(&relay, "relay_blobs_delivered_total", 2.0).await;
    metrics_show(&relay, "relay_rate_limited_total", 1.0).await;
    metrics_show(&relay, "relay_connections_active", 1.0).await;
    metrics_show(&relay, "relay_panics_total", 0.0).await;
    let metrics = relay.gateways[0].ops.metrics().await;
    for name in [
        "relay_messages_received_total",
        "relay_messages_rejected_total",
        "relay_message_duration_seconds_count",
    ] {
        assert!(metrics.sum(name) > 0.0, "{name} stays at zero");
    }
}

#[tokio::test]
async fn a_purge_and_a_restart_are_seen_in_the_number_of_blobs() {
    let mut relay = Cluster::simple().await;
    let (client, owner) = (relay.client(), Owner::random());
    for round in 0..4_u8 {
        client.send(&owner.mailbox(), &[round]).await.blob_id();
    }
    client.send(&random_mailbox(), b"stays").await.blob_id();
    metrics_show(&relay, "relay_blobs_stored", 5.0).await;
    relay.storaged.restart().await;
    metrics_show(&relay, "relay_blobs_stored", 5.0).await;
    client.call(Action::Purge, &owner.purge(&owner.mailbox())).await.success();
    metrics_show(&relay, "relay_blobs_stored", 1.0).await;
}

#[tokio::test]
async fn what_is_entrusted_to_the_relay_is_counted_also_after_a_restart() {
    let mut relay = Cluster::simple().await;
    let (client, owner) = (relay.client(), Owner::random());
    let (key, gate) = (random_name(), random_name());
    for fields in [proof_fields(&key, b"first"), proof_fields(&key, b"second"), proof_fields(&gate, b"third")]
    {
        client.call(Action::RecoveryStore, &fields).await.success();
    }
    let mut code = String::new();
    for _ in 0..3 {
        code = client.call(Action::ExchangeOffer, &offer_fields("payload")).await.said("code");
    }
    client.call(Action::ExchangeClaim, &claim_fields(&code, "response")).await.success();
    client.call(Action::ExchangeComplete, &complete_fields(&code)).await.success();
    client.call(Action::ExchangeComplete, &complete_fields(&code)).await.failure(400);
    client.call(Action::GuardianStore, &owner.guardian_store(&[b"guardian"])).await.success();
    for _ in 0..2 {
        let put = put_fields(&gate, &random_name(), b"blob", 600);
        client.call(Action::Escrow, &put).await.outcome();
    }
    metrics_show(&relay, "relay_exchange_wrong_guesses_total", 1.0).await;
    for _ in 0..2 {
        metrics_show(&relay, "relay_recovery_proofs_active", 2.0).await;
        metrics_show(&relay, "relay_exchange_offers_active", 2.0).await;
        metrics_show(&relay, "relay_guardian_sets_active", 1.0).await;
        metrics_show(&relay, "relay_escrow_gates_active", 1.0).await;
        relay.storaged.restart().await;
    }
    client.call(Action::GuardianDelete, &owner.guardian_delete()).await.success();
    metrics_show(&relay, "relay_guardian_sets_active", 0.0).await;
}

#[tokio::test]
async fn a_sealed_request_counts_once() {
    let relay = Cluster::simple().await;
    let client = relay.client_via(Via::Envelope);
    for round in 0..3_u8 {
        client.send(&random_mailbox(), &[round]).await.blob_id();
    }
    client.send("short", b"").await.failure(400);
    client.carry(random_bytes(100)).await;
    metrics_show(&relay, "relay_messages_received_total", 4.0).await;
    metrics_show(&relay, "relay_messages_rejected_total", 1.0).await;
    metrics_show(&relay, "relay_blobs_created_total", 3.0).await;
    metrics_show(&relay, "relay_ohttp_requests_total", 5.0).await;
}

#[tokio::test]
async fn one_gateway_shows_the_whole_relay_and_itself() {
    let relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let mailbox = random_mailbox();
    relay.client_of(0).send(&mailbox, b"via the first").await.blob_id();
    for round in 0..3_u8 {
        relay.client_of(1).send(&mailbox, &[round]).await.blob_id();
    }
    let sum = "relay_messages_received_total";
    metrics_show(&relay, sum, 4.0).await;
    let own = relay.gateways[0].ops.get("/metrics/gateway").await;
    assert_eq!(relay_tests::metrics::Metrics::parse(&own.text()).sum(sum), 1.0);
}

#[tokio::test]
async fn metrics_stay_few_and_name_nobody() {
    let relay = Cluster::builder().gateways(2).federated().variable("RELAY_RATE_LIMIT", 2).start().await;
    let client = relay.client();
    for index in 0..100 {
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, &random_bytes(10)).await.blob_id();
        client.ack(&mailbox, &id).await.success();
        client.raw("GET", &format!("/v2/nothing-{index}"), &[], "").await.failure(404);
        client.raw(&format!("METHOD{index}"), "/v2/send", &[], "").await.failure(405);
        client.send("short", b"").await.failure(400);
        let sealed = relay.client_via(Via::ALL[index % 3]);
        sealed.call(Action::ExchangeClaim, &claim_fields(&format!("{index:06}"), "x")).await.failure(400);
        sealed.call(Action::RecoveryQuery, &key_fields(&[random_name()])).await.success();
        client.carry(random_bytes(index)).await;
    }
    metrics_show(&relay, "relay_blobs_created_total", 100.0).await;
    let metrics = relay.gateways[0].ops.metrics().await;
    let names: BTreeSet<_> = metrics.series().iter().map(|series| &series.name).collect();
    assert!(metrics.series().len() <= 200, "{} series: {names:?}", metrics.series().len());
}

#[tokio::test]
async fn metrics_can_be_behind_a_token() {
    let relay = Cluster::builder().variable("RELAY_METRICS_TOKEN", "open-sesame-7").start().await;
    let ops = &relay.gateways[0].ops;
    for path in ["/metrics", "/metrics/gateway"] {
        for wrong in
            [&[][..], &[("authorization", "Bearer open-sesame")], &[("authorization", "Basic open-sesame-7")]]
        {
            let reply = ops.attempt(path, wrong).await.unwrap();
            assert_eq!(reply.status, 401, "{}", reply.describe());
            assert!(!reply.text().contains("relay_"));
        }
        let reply = ops.attempt(path, &[("authorization", "Bearer open-sesame-7")]).await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(reply.text().contains("relay_panics_total"));
    }
    assert_eq!(ops.get("/ready").await.status, 200);
}

#[tokio::test]
async fn metrics_live_through_a_restart_of_the_store() {
    let mut relay = Cluster::simple().await;
    relay.client().send(&random_mailbox(), b"counted").await.blob_id();
    relay.storaged.restart().await;
    // What the gateway counted is reported again.
    metrics_show(&relay, "relay_messages_received_total", 1.0).await;
    relay.storaged.kill();
    assert_eq!(
        relay.gateways[0].ops.get("/metrics").await.status,
        200,
        "a gateway alone still tells its own"
    );
}

#[tokio::test]
async fn log_lines_are_json_if_asked() {
    let mut relay = Cluster::builder()
        .federated()
        .variable("RELAY_LOG_FORMAT", "json")
        .variable("RUST_LOG", "trace")
        .start()
        .await;
    relay.client().send(&random_mailbox(), b"something to log").await.blob_id();
    relay.client().send("short", b"").await.failure(400);
    for service in relay.services() {
        service.signal(Signal::SIGTERM);
        assert_eq!(service.exit_code().await, 0);
        let output = service.output();
        assert!(output.lines().count() >= 2, "{} says too little: {output}", service.launch.name());
        for line in output.lines() {
            let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for field in ["timestamp", "level"] {
                assert!(json[field].is_string(), "{line}");
            }
        }
    }
}
