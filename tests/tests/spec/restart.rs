//! Restarts: killing any process loses nothing that was answered, and clients of a gateway never notice that
//! the store behind it died.

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::random_mailbox;
use relay_tests::ledger::{self, Load};
use relay_tests::{Cluster, Via};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_killed_again_and_again_costs_no_client_an_answer() {
    let mut relay = Cluster::builder().gateways(2).start().await;
    let load = Load::steady((0..16).map(|_| relay.client()).collect());
    for _ in 0..6 {
        load.more(100).await;
        relay.storaged.restart().await;
    }
    load.more(100).await;
    ledger::verify(&relay.client(), &load.stop().await).await;
}

#[tokio::test]
async fn a_request_waits_for_a_store_that_comes_back() {
    let mut relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    for via in Via::ALL {
        let client = relay.client_via(via);
        relay.storaged.kill();
        let waiting = tokio::spawn({
            let (client, mailbox) = (client.another(), mailbox.clone());
            async move { client.send(&mailbox, b"patient").await }
        });
        relay.storaged.spawn();
        let id = waiting.await.unwrap().blob_id();
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
    }
}

#[tokio::test]
async fn without_a_store_requests_are_refused_with_a_hint() {
    let mut relay = Cluster::simple().await;
    relay.storaged.kill();
    for via in Via::ALL {
        let client = relay.client_via(via);
        let reply = client.send(&random_mailbox(), b"nowhere to go").await;
        reply.failure(503);
        assert!(!reply.has_head() || reply.retry_after() >= 1);
    }
    assert_eq!(
        relay.client().raw("GET", "/health", &[], "").await.status,
        200,
        "the gateway itself is alive"
    );
    let ops = &relay.gateways[0].ops;
    deadline::until("a gateway that says so", PATIENCE, async || {
        (ops.get("/ready").await.status == 503).then_some(())
    })
    .await;
    relay.storaged.spawn();
    relay.storaged.ready().await;
    relay.gateways[0].ready().await;
    relay.client().send(&random_mailbox(), b"back again").await.blob_id();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oblivious_clients_do_not_notice_that_the_store_died() {
    for via in Via::OBLIVIOUS {
        let mut relay = Cluster::builder().gateways(2).start().await;
        let load = Load::steady((0..4).map(|_| relay.client_via(via)).collect());
        for _ in 0..3 {
            load.more(30).await;
            relay.storaged.restart().await;
        }
        load.more(30).await;
        ledger::verify(&relay.client(), &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_costs_nobody_elses_answers() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let elsewhere = Load::steady((0..4).map(|_| relay.client_of(1)).collect());
    let here = Load::until_cut((0..4).map(|_| relay.client_of(0)).collect());
    here.more(50).await;
    relay.gateways[0].restart().await;
    elsewhere.more(50).await;
    for load in [elsewhere, here] {
        ledger::verify(&relay.client_of(0), &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_killed_at_once_under_load_loses_nothing() {
    let mut relay = Cluster::builder().gateways(2).federated().start().await;
    for _ in 0..3 {
        let load = Load::until_cut((0..8).map(|_| relay.client()).collect());
        load.more(200).await;
        relay.kill();
        let ledgers = load.stop().await;
        relay.start().await;
        ledger::verify(&relay.client(), &ledgers).await;
    }
}

#[tokio::test]
async fn an_acked_blob_is_gone_after_a_restart() {
    let mut relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"read").await.blob_id();
        let kept = client.send(&mailbox, b"unread").await.blob_id();
        assert!(client.ack(&mailbox, &id).await.acknowledged());
        relay.storaged.restart().await;
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&kept]);
        assert_eq!(client.send(&mailbox, b"read").await.blob_id(), id, "what was acked stays known");
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&kept]);
    }
}
