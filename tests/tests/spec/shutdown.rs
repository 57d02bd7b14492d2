//! Stopping: what was begun is finished, then the process ends with 0.

use nix::sys::signal::Signal;
use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::ledger::{self, Load};
use relay_tests::wire::{self, Wire, post_head};
use std::time::Duration;

/// Begins a send and stops before its body. The relay has read the head when this returns.
async fn begin_send(relay: &Cluster, length: usize) -> Wire {
    let mut wire = Wire::open(relay.address()).await;
    assert!(wire.write(post_head("/v2/send", length, "expect: 100-continue\r\n")).await);
    assert_eq!(wire.reply().await.status, 100);
    wire
}

#[tokio::test]
async fn sigterm_finishes_the_request_in_flight() {
    let mut relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    let body = send_fields(&mailbox, b"on its way").to_string();
    let mut wire = begin_send(&relay, body.len()).await;
    relay.gateways[0].signal(Signal::SIGTERM);
    wire::closed(relay.address()).await;
    assert!(wire.write(&body).await);
    let id = wire.reply().await.blob_id();
    assert_eq!(relay.gateways[0].exit_code().await, 0);
    relay.start().await;
    assert_eq!(relay.client().fetch(&[mailbox]).await.page().ids(), [&id]);
}

#[tokio::test]
async fn idle_connections_do_not_hold_a_gateway_back() {
    let mut relay = Cluster::simple().await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        let client = relay.client();
        client.send(&random_mailbox(), b"then nothing").await.blob_id();
        idle.push(client);
    }
    let silent = Wire::open(relay.address()).await;
    assert_eq!(relay.gateways[0].terminate().await, 0);
    drop((idle, silent));
}

#[tokio::test]
async fn an_operator_who_asks_again_does_not_wait() {
    let mut relay = Cluster::simple().await;
    let wire = begin_send(&relay, 1000).await;
    // Signals in quick succession are one request; an operator who means it goes on asking.
    deadline::until("an end", PATIENCE, async || {
        relay.gateways[0].signal(Signal::SIGTERM);
        (!relay.gateways[0].is_running()).then_some(())
    })
    .await;
    assert_eq!(relay.gateways[0].exit_code().await, 1);
    drop(wire);
}

#[tokio::test]
async fn a_terminal_that_closes_does_not_hurry_a_process_that_stops() {
    let mut relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"on its way").to_string();
    let mut wire = begin_send(&relay, body.len()).await;
    relay.gateways[0].signal(Signal::SIGINT);
    wire::closed(relay.address()).await;
    // Longer than signals count as one request.
    deadline::pace(Duration::from_millis(1500)).await;
    relay.gateways[0].signal(Signal::SIGHUP);
    deadline::pace(Duration::from_millis(500)).await;
    assert!(wire.write(&body).await);
    wire.reply().await.blob_id();
    assert_eq!(relay.gateways[0].exit_code().await, 0);
}

#[tokio::test]
async fn a_stopping_gateway_is_not_ready() {
    let mut relay = Cluster::simple().await;
    let body = send_fields(&random_mailbox(), b"slow").to_string();
    let mut wire = begin_send(&relay, body.len()).await;
    relay.gateways[0].signal(Signal::SIGTERM);
    let ops = relay.gateways[0].ops.clone();
    deadline::until("a gateway that is not ready", PATIENCE, async || {
        (ops.get("/ready").await.status == 503).then_some(())
    })
    .await;
    assert!(wire.write(&body).await);
    wire.reply().await.blob_id();
    assert_eq!(relay.gateways[0].exit_code().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_of_the_store_under_load_costs_no_answer() {
    let mut relay = Cluster::builder().gateways(2).start().await;
    let load = Load::steady((0..16).map(|_| relay.client()).collect());
    for _ in 0..3 {
        load.more(100).await;
        assert_eq!(relay.storaged.terminate().await, 0);
        relay.storaged.spawn();
    }
    load.more(100).await;
    ledger::verify(&relay.client(), &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_of_a_gateway_under_load_loses_nothing() {
    let mut relay = Cluster::simple().await;
    let load = Load::until_cut((0..16).map(|_| relay.client()).collect());
    load.more(200).await;
    assert_eq!(relay.gateways[0].terminate().await, 0);
    let ledgers = load.stop().await;
    relay.start().await;
    ledger::verify(&relay.client(), &ledgers).await;
}

#[tokio::test]
async fn every_process_stops_when_asked() {
    let mut relay = Cluster::builder().gateways(4).federated().build();
    for gateway in &mut relay.gateways {
        gateway.launch = gateway.launch.clone().outliving_nothing();
    }
    relay.start().await;
    relay.client().send(&random_mailbox(), b"before").await.blob_id();
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
    for (signal, gateway) in signals.into_iter().zip(&mut relay.gateways) {
        gateway.signal(signal);
        assert_eq!(gateway.exit_code().await, 0, "{signal}");
    }
    assert_eq!(relay.federated.as_mut().unwrap().terminate().await, 0);
    assert_eq!(relay.storaged.terminate().await, 0);
    let wal = relay.data().join("relay.db-wal");
    assert!(
        std::fs::metadata(wal).map_or(0, |file| file.len()) == 0,
        "a stopped store has nothing left to do"
    );
}
