//! Whether the relay serves: the fewest requests that show it.

use crate::admin_client::Admin;
use relay_daemon::health::from_here;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

const INTERVAL: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(1);

/// Returns when clients get an answer and the store knows every one of the processes that there are to be.
///
/// Gateways share their ports, so none of them can be asked by itself; but each reports to the store. And the
/// store must be this relay's own: gateways would be as content with that of another relay in the same place.
pub(super) async fn serving(
    listen: SocketAddr,
    ops: SocketAddr,
    storage: Admin,
    processes: watch::Receiver<Option<Vec<u32>>>,
) {
    while !(answers(ops, "/ready").await
        && answers(listen, "/health").await
        && knows(&storage, &processes).await)
    {
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn knows(storage: &Admin, processes: &watch::Receiver<Option<Vec<u32>>>) -> bool {
    let asked = timeout(DEADLINE, storage.status()).await;
    let Ok(Ok(status)) = asked else { return false };
    let expected = processes.borrow();
    expected.as_ref().is_some_and(|expected| {
        expected.iter().all(|pid| status.processes.iter().any(|process| process.pid == *pid))
    })
}

async fn answers(address: SocketAddr, path: &str) -> bool {
    let asking = async {
        let stream = TcpStream::connect(from_here(address)).await.ok()?;
        relay_client::get(stream, path, &[]).await.ok()
    };
    timeout(DEADLINE, asking).await.is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn once(answer: &'static str) -> bool {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            assert!(request[..length].starts_with(b"GET /ready HTTP/1."));
        };
        tokio::join!(answers(address, "/ready"), serve).0
    }

    #[tokio::test]
    async fn only_a_200_counts() {
        assert!(once("HTTP/1.1 200 OK\r\n\r\n").await);
        assert!(!once("HTTP/1.1 503 Service Unavailable\r\n\r\n").await);
        assert!(!once("HTTP/1").await);
    }
}
