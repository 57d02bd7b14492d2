use super::*;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long a test waits for federated to take its sockets, or to stop.
const DEADLINE: Duration = Duration::from_secs(20);

fn vars(directory: &Path) -> Vars {
    Vars::from_pairs([("RELAY_SOCKET_DIR", directory.display().to_string())])
}

fn peering_vars(directory: &Path) -> Vars {
    vars(directory)
        .with("RELAY_FEDERATION_ENABLED", "true")
        .with("RELAY_FEDERATION_PEERS", "ws://127.0.0.1:9")
}

async fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

async fn wait_for(socket: &Path) {
    let listening = async {
        while UnixStream::connect(socket).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, listening).await.expect("federated listens");
}

#[tokio::test]
async fn it_lives_without_storage_says_that_it_is_not_ready_and_stops_when_asked() {
    for variables in [vars, peering_vars] {
        let directory = tempfile::tempdir().unwrap();
        let vars = variables(directory.path());
        let shutdown = Shutdown::default();
        let running = tokio::spawn(run(vars.clone(), Clock::system(), shutdown.clone()));
        let socket = directory.path().join("federated/ops.sock");
        wait_for(&socket).await;
        assert!(get(&socket, "/health").await.starts_with("HTTP/1.1 200"));
        let ready = get(&socket, "/ready").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("storage"), "{ready}");
        assert!(get(&socket, "/metrics").await.contains("relay_federation_store_fill_ratio"));

        let second = run(vars, Clock::system(), Shutdown::default()).await.unwrap_err();
        assert_eq!(second.exit, Exit::Unavailable);

        // Where there are peers, it still waits for storage to hand out this relay's keys.
        assert!(!running.is_finished());
        shutdown.begin();
        tokio::time::timeout(DEADLINE, running).await.expect("federated stops").unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_variable() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let vars = peering_vars(directory.path())
        .with("RELAY_FEDERATION_LISTEN_ADDR", taken.local_addr().unwrap().to_string());
    let refused = run(vars, Clock::system(), Shutdown::default()).await.unwrap_err();
    assert_eq!(refused.exit, Exit::Unavailable);
    assert!(refused.text.contains("RELAY_FEDERATION_LISTEN_ADDR"), "{refused}");
}
