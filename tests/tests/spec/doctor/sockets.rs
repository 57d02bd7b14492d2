//! The way to storage, and processes that are missing or may too little.

use super::{comes_to_find, doctor, finds, finds_nothing};
use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::{Cluster, Supervised, volume};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use tokio::net::TcpStream;

#[tokio::test]
async fn no_socket() {
    let relay = Supervised::build();
    fs::create_dir(relay.directory().join("data")).unwrap();
    fs::set_permissions(relay.directory().join("data"), Permissions::from_mode(0o700)).unwrap();
    finds("socket-missing", &relay.command(&["doctor", "--json"])).await;
}

#[tokio::test]
async fn a_socket_where_nobody_listens() {
    let mut relay = Cluster::simple().await;
    relay.storaged.kill();
    finds("socket-dead", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_socket_behind_a_closed_directory() {
    // Root may open everything, unless it is root nowhere.
    if !volume::is_here() {
        return;
    }
    let relay = Cluster::simple().await;
    let directory = relay.sockets().join("admin");
    fs::set_permissions(&directory, Permissions::from_mode(0o0)).unwrap();
    finds("socket-denied", &doctor(&relay).wrapped("unshare", &["-U", "--"])).await;
    fs::set_permissions(&directory, Permissions::from_mode(0o750)).unwrap();
}

#[tokio::test]
async fn a_user_who_is_not_admitted() {
    let mut relay = Cluster::builder().variable("RELAY_SOCKET_UIDS", 4_242_424).build();
    relay.storaged.spawn();
    let socket = relay.sockets().join("admin/storage.sock");
    deadline::until("a socket", PATIENCE, async || UnixStream::connect(&socket).ok()).await;
    finds("socket-refused", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_socket_that_is_open_to_everybody() {
    let relay = Cluster::simple().await;
    let admin = relay.sockets().join("admin");
    for directory in [relay.directory(), &relay.sockets(), &admin] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    finds_nothing(&doctor(&relay)).await;
    fs::set_permissions(admin.join("storage.sock"), Permissions::from_mode(0o666)).unwrap();
    finds("socket-open", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_storage_that_does_not_answer() {
    let relay = Cluster::simple().await;
    relay.storaged.signal(Signal::SIGSTOP);
    finds("storage-silent", &doctor(&relay)).await;
    relay.storaged.signal(Signal::SIGCONT);
}

#[tokio::test]
async fn a_gateway_that_is_missing() {
    let mut relay = Cluster::simple().await;
    relay.gateways[0].kill();
    comes_to_find("gateway-missing", &doctor(&relay)).await;
}

#[tokio::test]
async fn fewer_gateways_than_wanted() {
    let relay = Cluster::simple().await;
    finds("gateway-few", &doctor(&relay).variable("RELAY_GATEWAYS", 2)).await;
}

#[tokio::test]
async fn a_gateway_that_may_open_too_few_files() {
    let mut relay = Cluster::builder().build();
    let launch = relay.gateways[0].launch.clone();
    relay.gateways[0].launch = launch.wrapped("prlimit", &["--nofile=600"]);
    relay.start().await;
    finds("files-few", &doctor(&relay)).await;
}

#[tokio::test]
async fn clients_that_were_turned_away() {
    let relay = Cluster::builder().variable("RELAY_MAX_CONNECTIONS", 1).start().await;
    let held = TcpStream::connect(relay.address()).await.unwrap();
    deadline::until("a connection that is turned away", PATIENCE, async || {
        relay.client().attempt("GET", "/health", &[], "").await.ok().filter(|reply| reply.status == 503)
    })
    .await;
    drop(held);
    comes_to_find("connections-refused", &doctor(&relay)).await;
}

#[tokio::test]
async fn options_that_are_not_wise() {
    let relay = Cluster::simple().await;
    for (code, variable, value) in [
        ("proxies-everybody", "RELAY_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("rotation-for-tests", "RELAY_OHTTP_KEY_ROTATION_HOURS", "10s"),
        ("metrics-open", "RELAY_METRICS_ADDR", "0.0.0.0:9"),
    ] {
        finds(code, &doctor(&relay).variable(variable, value)).await;
    }
}
