//! What keeps a relay from starting.

use super::finds;
use nix::unistd::geteuid;
use relay_tests::{Cluster, Supervised};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

#[tokio::test]
async fn variables_that_make_no_sense() {
    let relay = Supervised::build();
    finds("variables", &relay.command(&["doctor", "--json"]).variable("RELAY_RATE_LIMIT", "many")).await;
    finds("variables", &relay.command(&["doctor", "--json"]).variable("RELAY_RATELIMIT", "60")).await;
    let open = relay.command(&["doctor", "--json"]).variable("RELAY_LISTEN_ADDR", "0.0.0.0:8080");
    finds("variables", &open).await;
}

#[tokio::test]
async fn a_socket_path_that_no_kernel_takes() {
    let long = format!("/tmp/{}", "x".repeat(120));
    let relay = Supervised::build();
    finds("socket-path", &relay.command(&["doctor", "--json"]).variable("RELAY_SOCKET_DIR", long)).await;
}

#[tokio::test]
async fn a_data_directory_that_is_not_there() {
    finds("data-missing", &Supervised::build().command(&["doctor", "--json"])).await;
}

/// A store that ran and does not run any more.
async fn stopped() -> Cluster {
    let mut relay = Cluster::simple().await;
    relay.gateways[0].kill();
    assert_eq!(relay.storaged.terminate().await, 0);
    relay
}

#[tokio::test]
async fn a_database_that_is_gone() {
    let relay = stopped().await;
    fs::remove_file(relay.database()).unwrap();
    finds("data-lost", &super::doctor(&relay)).await;
}

#[tokio::test]
async fn a_database_that_is_damaged() {
    let relay = stopped().await;
    fs::write(relay.database(), [b'x'; 8192]).unwrap();
    finds("data-damaged", &super::doctor(&relay)).await;
}

#[tokio::test]
async fn a_database_of_a_newer_version() {
    let relay = stopped().await;
    let database = rusqlite::Connection::open(relay.database()).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    finds("data-newer", &super::doctor(&relay)).await;
}

#[tokio::test]
async fn data_that_others_may_read() {
    let relay = Cluster::simple().await;
    fs::set_permissions(relay.data(), Permissions::from_mode(0o755)).unwrap();
    finds("data-mode", &super::doctor(&relay)).await;
    fs::set_permissions(relay.data(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(relay.database(), Permissions::from_mode(0o644)).unwrap();
    finds("data-mode", &super::doctor(&relay)).await;
}

#[tokio::test]
async fn data_that_belongs_to_somebody_else() {
    if !geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "only root can give files away");
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    let relay = stopped().await;
    chown(relay.database(), Some(12_345), None).unwrap();
    finds("data-owner", &super::doctor(&relay)).await;
}
