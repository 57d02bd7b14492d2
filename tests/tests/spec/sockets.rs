//! Sockets belong to one process: a second relay in the same place refuses, and the first one goes on as if nothing was.

use nix::sys::signal::Signal;
use relay_tests::Cluster;
use relay_tests::Supervised;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::random_mailbox;
use relay_tests::ports::HeldPort;
use relay_tests::process::{Finished, Launch};

/// It must refuse with the directory of the sockets and the variable to change.
fn refused(second: &Finished, sockets: &std::path::Path) {
    assert_eq!(second.code, Some(75), "{}", second.stderr);
    let named = sockets.join("gateway").display().to_string();
    let of_supervisor = sockets.join("admin").display().to_string();
    assert!(second.stderr.contains(&named) || second.stderr.contains(&of_supervisor), "{}", second.stderr);
    assert!(second.stderr.contains("RELAY_SOCKET_DIR"), "{}", second.stderr);
}

/// A storage daemon beside a relay's own, with data of its own and the same sockets.
fn beside(relay: &Cluster, backend: &str) -> Launch {
    let data = relay.directory().join(format!("other-{backend}"));
    let launch = relay.storaged.launch.clone().named(&format!("second-{backend}"));
    launch.variable("RELAY_DATA_DIR", data.display()).variable("RELAY_STORAGE_BACKEND", backend)
}

#[tokio::test]
async fn a_second_store_with_other_data_takes_no_sockets_from_the_first() {
    let relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    let id = relay.client().send(&mailbox, b"here").await.blob_id();
    for backend in ["sqlite", "memory"] {
        let second = beside(&relay, backend);
        refused(&second.finish().await, &relay.sockets());
        assert!(!relay.directory().join(format!("other-{backend}/relay.db")).exists(), "no store was made");
        assert!(relay.storaged.ops.is_ready().await, "its sockets are untouched");
        let other = relay.client().another();
        assert!(other.fetch(&[&mailbox]).await.page().ids().contains(&id.as_str()));
        other.send(&mailbox, backend.as_bytes()).await.blob_id();
    }
    assert_eq!(relay.client().fetch(&[&mailbox]).await.page().blobs.len(), 3);
}

#[tokio::test]
async fn a_stopped_store_keeps_its_sockets() {
    let relay = Cluster::simple().await;
    relay.storaged.signal(Signal::SIGSTOP);
    refused(&beside(&relay, "memory").finish().await, &relay.sockets());
    relay.storaged.signal(Signal::SIGCONT);
    deadline::until("a ready store", PATIENCE, async || relay.storaged.ops.is_ready().await.then_some(()))
        .await;
}

#[tokio::test]
async fn what_a_killed_store_left_is_no_obstacle() {
    let mut relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    let id = relay.client().send(&mailbox, b"kept").await.blob_id();
    for _ in 0..5 {
        relay.storaged.restart().await;
        assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [&id]);
    }
}

#[tokio::test]
async fn a_store_that_starts_while_the_one_before_it_ends_takes_over() {
    let mut relay = Cluster::simple().await;
    relay.storaged.signal(Signal::SIGSTOP);
    let mut next = relay.launch(relay_tests::binaries::Program::Storaged, "next-storaged").start();
    // It waits: the other one lives. Then that one dies.
    deadline::until("a start", PATIENCE, async || next.output().contains("confined").then_some(())).await;
    relay.storaged.kill();
    deadline::until("a ready store", PATIENCE, async || relay.storaged.ops.is_ready().await.then_some(()))
        .await;
    assert!(next.is_running());
}

#[tokio::test]
async fn a_second_relay_up_in_the_same_place_refuses_before_it_serves_anybody() {
    let first = Supervised::build().start().await;
    let mailbox = random_mailbox();
    let id = first.client().send(&mailbox, b"here").await.blob_id();
    let sockets = first.data().join("run");
    for backend in ["sqlite", "memory"] {
        let (main, ops) = (HeldPort::draw(), HeldPort::draw());
        let second = first
            .command(&["up"])
            .named(&format!("second-{backend}"))
            .variable("RELAY_LISTEN_ADDR", main.address())
            .variable("RELAY_METRICS_ADDR", ops.address())
            .variable("RELAY_SOCKET_DIR", sockets.display())
            .variable("RELAY_DATA_DIR", first.directory().join("other").display())
            .variable("RELAY_STORAGE_BACKEND", backend);
        let second = second.finish().await;
        refused(&second, &sockets);
        assert!(!second.stderr.contains("starts"), "it started something: {}", second.stderr);
        assert!(!first.directory().join("other/relay.db").exists());
        assert_eq!(first.client().fetch(&[&mailbox]).await.page().ids(), [&id]);
    }
}
