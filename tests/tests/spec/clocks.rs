//! Clocks that are wrong. No test can set the machine's clock; but a relay whose database was written that many days
//! ago cannot tell that from a clock that jumped.

use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::random_mailbox;
use relay_tests::process::Finished;
use rusqlite::Connection;
use serde_json::Value;

/// Stops storage, makes its database so many days older, or younger, and starts it again.
pub(crate) async fn moved(relay: &mut Cluster, days: i64) {
    assert_eq!(relay.storaged.terminate().await, 0);
    let sql = Connection::open(relay.database()).unwrap();
    let seconds = days * 86_400;
    for (table, column) in [
        ("meta", "value"),
        ("blobs", "created"),
        ("acked", "hour"),
        ("used", "hour"),
        ("registrations", "expires"),
        ("recovery_proofs", "expires"),
    ] {
        let known = if table == "meta" {
            "WHERE name LIKE 'clock_%' AND name <> 'clock_held' AND value > 0"
        } else {
            ""
        };
        sql.execute(&format!("UPDATE {table} SET {column} = {column} - {seconds} {known}"), []).unwrap();
    }
    // A row's key begins with the hour in which it expires. Out of the way first, so that no two meet.
    sql.execute("UPDATE blobs SET seq = -seq", []).unwrap();
    sql.execute(&format!("UPDATE blobs SET seq = -seq - ({} << 40)", days * 24), []).unwrap();
    drop(sql);
    relay.storaged.spawn();
    relay.gateways[0].ready().await;
}

async fn run(relay: &Cluster, arguments: &[&str]) -> Finished {
    let finished = relay.command(arguments).finish().await;
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    finished
}

async fn clock(relay: &Cluster) -> Value {
    let status = run(relay, &["status", "--json"]).await;
    serde_json::from_str::<Value>(&status.stdout).unwrap()["clock"].clone()
}

#[tokio::test]
async fn a_start_far_ahead_deletes_and_hides_nothing_until_the_operator_trusts_the_clock() {
    for blobs in [1, 480] {
        let mut relay = Cluster::simple().await;
        let client = relay.client();
        let mailbox = random_mailbox();
        for number in 0..blobs {
            client.send(&mailbox, &u32::to_be_bytes(number)).await.blob_id();
        }
        let gone = client.send(&mailbox, b"acked").await.blob_id();
        assert!(client.ack(&mailbox, &gone).await.acknowledged());
        moved(&mut relay, 130).await;
        let metrics = relay.storaged.ops.metrics().await;
        assert_eq!(metrics.sum("relay_sweep_suspended"), 1.0);
        assert_eq!(clock(&relay).await["standing"], "ahead");
        assert!(run(&relay, &["status"]).await.stdout.contains("relay clock trust"));
        assert!(!client.fetch(&[&mailbox]).await.page().blobs.is_empty(), "mail is hidden");
        assert_eq!(client.send(&mailbox, b"acked").await.blob_id(), gone);
        assert_eq!(client.send(&random_mailbox(), b"new").await.status, 200);
        assert_eq!(relay.stored("relay_blobs_stored").await, u64::from(blobs) + 1, "acked mail came back");

        let told = run(&relay, &["clock", "trust"]).await.stdout;
        assert!(told.contains("130 d 0 h ahead"), "{told}");
        assert_eq!(clock(&relay).await["standing"], "trusted");
        assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
        relay.storaged.restart().await;
        deadline::until("what is over to be swept", PATIENCE, async || {
            (relay.stored("relay_blobs_stored").await == 1).then_some(())
        })
        .await;
        assert!(run(&relay, &["clock", "trust"]).await.stdout.contains("trusted already"));
    }
}

#[tokio::test]
async fn under_a_clock_that_is_behind_mail_is_read_and_acked_and_nothing_is_stored() {
    let mut relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let id = client.send(&mailbox, b"one").await.blob_id();
    moved(&mut relay, -1).await;
    assert_eq!(clock(&relay).await["standing"], "behind");
    let refused = client.send(&mailbox, b"two").await;
    refused.refuses(503, "relay stores nothing at this time");
    assert!(refused.retry_after() > 0);
    assert_eq!(client.register(&[&mailbox]).await.status, 503);
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [id.as_str()]);
    assert!(client.ack(&mailbox, &id).await.acknowledged());
    let ready = relay.storaged.ops.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("behind the newest trusted time"), "{}", ready.text());
    assert!(relay.storaged.output().contains("nothing new is stored"), "the log says why");
    run(&relay, &["clock", "trust"]).await;
    assert!(relay.storaged.ops.is_ready().await);
    assert_eq!(client.send(&mailbox, b"one").await.blob_id(), id);
    assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty(), "what was acked meanwhile stays acked");
}

#[tokio::test]
async fn a_clock_that_comes_right_again_is_trusted_at_once() {
    let mut relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let id = client.send(&mailbox, b"one").await.blob_id();
    for days in [130, 1826, -1, -400] {
        moved(&mut relay, days).await;
        assert_ne!(clock(&relay).await["standing"], "trusted");
        moved(&mut relay, -days).await;
        assert_eq!(clock(&relay).await["standing"], "trusted", "after {days} days");
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [id.as_str()]);
    }
}
