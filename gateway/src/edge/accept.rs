//! Takes connections in, and lets them go when the gateway stops.

use super::connection::{Shared, drive};
use super::{Handler, Server, protocol};
use prometheus::IntGauge;
use relay_daemon::Shutdown;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For how long a connection that is idle when stopping begins may still ask something. A client that is
/// just about to use its connection gets its answer, with the word that it is the last.
const LAST_ORDERS: Duration = Duration::from_millis(500);

/// Connections that are told at once that there are too many. Beyond, they are just closed.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// How long a connection that is turned away may take to hear it.
const TURN_AWAY_PATIENCE: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Serves a listener until `stopping` begins and all its connections have ended: those with requests in
/// progress when these are answered, the others soon.
pub(crate) async fn serve<H: Handler>(listener: TcpListener, server: Server<H>, stopping: Shutdown) {
    let mut door = Door {
        permits: Arc::new(Semaphore::new(server.max_connections)),
        turning_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
        tasks: TaskTracker::new(),
        pause: FIRST_PAUSE,
        shared: Arc::new(Shared {
            server,
            protocol: protocol(),
            stopping: stopping.clone(),
            closing: CancellationToken::new(),
        }),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => door.take(accepted).await,
            () = stopping.begun() => break,
        }
    }
    // Connections that the kernel has accepted already would be reset with the listener.
    while let Poll::Ready(accepted) = poll_fn(|context| Poll::Ready(listener.poll_accept(context))).await {
        if accepted.is_err() {
            break;
        }
        door.take(accepted).await;
    }
    drop(listener);
    door.tasks.close();
    if timeout(LAST_ORDERS, door.tasks.wait()).await.is_err() {
        door.shared.closing.cancel();
        // Bounded by the connections' own farewell.
        door.tasks.wait().await;
    }
}

struct Door<H> {
    permits: Arc<Semaphore>,
    turning_away: Arc<Semaphore>,
    tasks: TaskTracker,
    pause: Duration,
    shared: Arc<Shared<H>>,
}

impl<H: Handler> Door<H> {
    /// Takes in what was accepted, or recovers from why nothing was.
    async fn take(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                self.shared.server.accepting.store(true, Relaxed);
                self.pause = FIRST_PAUSE;
                self.welcome(stream, peer);
            }
            // The peer gave up before it was its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if self.shared.server.accepting.swap(false, Relaxed) {
                    tracing::warn!(kind = ?error.kind(), code = error.raw_os_error(), "cannot accept connections");
                }
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let server = &self.shared.server;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            server.refused.inc();
            if let Ok(permit) = Arc::clone(&self.turning_away).try_acquire_owned() {
                self.tasks.spawn(turn_away(stream, server.turned_away, permit));
            }
            return;
        };
        // Answers are written whole; waiting to fill packets would only delay them. Where it cannot be set,
        // the connection works all the same.
        drop(stream.set_nodelay(true));
        let open = Open::count(&server.active, permit);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            drive(stream, peer.ip(), shared).await;
            drop(open);
        });
    }
}

/// A connection that counts, until dropped.
struct Open {
    active: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn count(active: &IntGauge, permit: OwnedSemaphorePermit) -> Self {
        active.inc();
        Self { active: active.clone(), _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// Tells a connection that there are too many.
async fn turn_away(mut stream: TcpStream, body: &'static str, permit: OwnedSemaphorePermit) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // The request is on its way; closing before it arrives would reset the connection under the answer.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the peer waits for it is the peer's affair.
    drop(timeout(TURN_AWAY_PATIENCE, told).await);
    drop(permit);
}
