//! Starting: a process that cannot do its work refuses, says why, and breaks nothing.

use relay_tests::Cluster;
use relay_tests::binaries::Program;
use relay_tests::fields::random_mailbox;
use std::fs;
use std::net::TcpListener;

/// A relay that holds one blob and is stopped.
async fn stopped() -> (Cluster, String) {
    let mut relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    relay.client().send(&mailbox, b"precious").await.blob_id();
    assert_eq!(relay.gateways[0].terminate().await, 0);
    assert_eq!(relay.storaged.terminate().await, 0);
    (relay, mailbox)
}

/// Starts the store, which must refuse with a code and with these words.
async fn refuses(relay: &Cluster, code: i32, words: &[&str]) {
    let refusal = relay.storaged.launch.finish().await;
    assert_eq!(refusal.code, Some(code), "{}", refusal.stderr);
    for word in words {
        assert!(refusal.stderr.contains(word), "no {word:?} in: {}", refusal.stderr);
    }
}

#[tokio::test]
async fn a_second_store_on_the_same_data_refuses_while_the_first_goes_on() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    client.send(&mailbox, b"before").await.blob_id();
    let second = relay.launch(Program::Storaged, "second-storaged").finish().await;
    assert_eq!(second.code, Some(75), "{}", second.stderr);
    assert!(second.stderr.contains(&relay.data().display().to_string()), "{}", second.stderr);
    client.send(&mailbox, b"after").await.blob_id();
    client.another().send(&mailbox, b"over a new connection").await.blob_id();
    assert!(relay.storaged.ops.is_ready().await, "its sockets are untouched");
    assert_eq!(client.fetch(&[mailbox]).await.page().blobs.len(), 3);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_kept() {
    let (mut relay, mailbox) = stopped().await;
    let set_version = |version: i64| {
        let database = rusqlite::Connection::open(relay.database()).unwrap();
        let before: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
        before
    };
    let known = set_version(9999);
    refuses(&relay, 76, &["9999"]).await;
    assert_eq!(set_version(known), 9999);
    relay.start().await;
    assert_eq!(relay.client().fetch(&[mailbox]).await.page().blobs.len(), 1);
}

#[tokio::test]
async fn data_without_its_database_is_refused_and_nothing_is_made_anew() {
    let (relay, _) = stopped().await;
    fs::remove_file(relay.database()).unwrap();
    refuses(&relay, 66, &["relay.db"]).await;
    assert!(!relay.database().exists());
    refuses(&relay, 66, &["relay.db"]).await;
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_kept_as_it_is() {
    let (relay, _) = stopped().await;
    let mut bytes = fs::read(relay.database()).unwrap();
    bytes[100..2000].fill(0xa5);
    fs::write(relay.database(), &bytes).unwrap();
    refuses(&relay, 65, &["relay.db"]).await;
    assert!(fs::read(relay.database()).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept_as_it_is() {
    let (relay, _) = stopped().await;
    fs::write(relay.database(), b"minutes of the annual meeting, not a database at all".repeat(100)).unwrap();
    let bytes = fs::read(relay.database()).unwrap();
    refuses(&relay, 65, &["relay.db"]).await;
    assert!(fs::read(relay.database()).unwrap() == bytes);
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_refused_by_name() {
    let relay = Cluster::builder().build();
    fs::write(relay.data(), "in the way").unwrap();
    let refusal = relay.storaged.launch.finish().await;
    assert_ne!(refusal.code, Some(0));
    assert!(refusal.stderr.contains(&relay.data().display().to_string()), "{}", refusal.stderr);
    assert_eq!(fs::read_to_string(relay.data()).unwrap(), "in the way");
}

#[tokio::test]
async fn data_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let relay = Cluster::simple().await;
    relay.client().send(&random_mailbox(), b"private").await.blob_id();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&relay.data()) & 0o077, 0, "the data directory is open to others");
    assert_eq!(mode(&relay.database()) & 0o077, 0, "the database is open to others");
    for socket in ["gateway", "federation", "admin"] {
        let socket = relay.sockets().join(socket).join("storage.sock");
        assert_eq!(mode(&socket) & 0o777, 0o660);
        assert_eq!(mode(socket.parent().unwrap()) & 0o007, 0, "a socket is open to others");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let mut relay = Cluster::builder().build();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    relay.storaged.spawn();
    relay.storaged.ready().await;
    for variable in ["RELAY_LISTEN_ADDR", "RELAY_METRICS_ADDR"] {
        let launch = relay.gateways[0].launch.clone().variable(variable, &address);
        let refusal = launch.finish().await;
        assert_eq!(refusal.code, Some(69), "{}", refusal.stderr);
        assert!(refusal.stderr.contains(&address) && refusal.stderr.contains(variable), "{}", refusal.stderr);
    }
}

#[tokio::test]
async fn a_gateway_may_start_before_the_store() {
    let mut relay = Cluster::builder().build();
    relay.gateways[0].spawn();
    relay.storaged.spawn();
    relay.start().await;
    relay.client().send(&random_mailbox(), b"in any order").await.blob_id();
}

#[tokio::test]
async fn a_store_in_memory_says_so_and_forgets() {
    let mut relay = Cluster::builder().variable("RELAY_STORAGE_BACKEND", "memory").start().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let id = client.send(&mailbox, b"fleeting").await.blob_id();
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
    assert!(client.ack(&mailbox, &id).await.acknowledged());
    client.send(&mailbox, b"never read").await.blob_id();
    let said = relay.storaged.output().replace('"', "");
    assert!(said.contains("durability=memory"), "{said}");
    assert!(!relay.database().exists());
    relay.storaged.restart().await;
    assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
}
