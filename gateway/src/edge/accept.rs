//! Accepts connections, and lets them go when the gateway stops.
//!
//! Against floods of connections, of one address or of many. hyper begins with a connection that somebody else has accepted,
//! and `axum::serve` accepts without end: here their number is bounded, and a few of those beyond are told why. When accepting
//! fails, as without file descriptors, it is tried again after a pause. hyper-util's `GracefulShutdown` would end idle
//! connections at once; here a request that is on its way when stopping begins is still served ([`IDLE_GRACE`]).

use super::connection::{Peer, Shared, drive};
use super::connection_state::ConnectionState;
use super::places::{Addresses, ConnectionSlot, Replaceable};
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
/// just about to use its connection gets its reply, with the word that it is the last.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// Connections that are told at once that there are too many. Beyond, they are just closed.
const REFUSED_AT_ONCE: usize = 64;

/// The same for those of addresses that have too many.
const REFUSED_OF_ONE_AT_ONCE: usize = 16;

/// How long a connection that is turned away may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Statuses of replies to connections that are turned away: because of all that there are, or of one address's.
const TOO_MANY: &str = "503 Service Unavailable";
const TOO_MANY_OF_ONE: &str = "429 Too Many Requests";

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Serves a listener until `stopping` begins and all its connections have ended: those with requests in
/// progress when these have their replies, the others soon.
pub(crate) async fn serve<H: Handler>(listener: TcpListener, server: Server<H>, stopping: Shutdown) {
    let mut acceptor = Acceptor {
        permits: Arc::new(Semaphore::new(server.max_connections)),
        refusing: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
        refusing_of_one: Arc::new(Semaphore::new(REFUSED_OF_ONE_AT_ONCE)),
        addresses: Addresses::default(),
        replaceable: Replaceable::default(),
        tasks: TaskTracker::new(),
        pause: FIRST_PAUSE,
        shared: Arc::new(Shared {
            server,
            protocol: protocol(false),
            shared_protocol: protocol(true),
            stopping: stopping.clone(),
            closing: CancellationToken::new(),
        }),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => acceptor.take(accepted).await,
            () = stopping.begun() => break,
        }
    }
    // Connections that the kernel has accepted already would be reset with the listener.
    while let Poll::Ready(accepted) = poll_fn(|context| Poll::Ready(listener.poll_accept(context))).await {
        if accepted.is_err() {
            break;
        }
        acceptor.take(accepted).await;
    }
    drop(listener);
    acceptor.tasks.close();
    if timeout(IDLE_GRACE, acceptor.tasks.wait()).await.is_err() {
        acceptor.shared.closing.cancel();
        // Bounded by the connections' own farewell.
        acceptor.tasks.wait().await;
    }
}

struct Acceptor<H> {
    permits: Arc<Semaphore>,
    refusing: Arc<Semaphore>,
    refusing_of_one: Arc<Semaphore>,
    addresses: Addresses,
    replaceable: Replaceable,
    tasks: TaskTracker,
    pause: Duration,
    shared: Arc<Shared<H>>,
}

impl<H: Handler> Acceptor<H> {
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
        let peer = Peer { address: peer.ip(), is_shared: server.shared_peers.contain(peer.ip()) };
        let Ok(place) = self.place(peer) else {
            if let Some(limit) = &server.per_address {
                limit.refused.inc();
                self.tell(stream, TOO_MANY_OF_ONE, limit.turned_away, &self.refusing_of_one);
            }
            return;
        };
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Permit::Here(permit),
            Err(_) if server.replaces && self.replaceable.end_one() => {
                Permit::Soon(Arc::clone(&self.permits))
            }
            Err(_) => {
                server.refused.inc();
                self.tell(stream, TOO_MANY, server.turned_away, &self.refusing);
                return;
            }
        };
        // Replies are written whole; waiting to fill packets would only delay them. Where it cannot be set,
        // the connection works all the same.
        drop(stream.set_nodelay(true));
        let (state, shared) = (Arc::new(ConnectionState::new(peer.is_shared)), Arc::clone(&self.shared));
        if server.replaces {
            self.replaceable.add(&state);
        }
        self.tasks.spawn(async move {
            let Some(permit) = permit.have().await else { return };
            let open = Open::count(&shared.server.active, permit, place);
            drive(stream, peer, state, shared).await;
            drop(open);
        });
    }

    /// A place among the connections of the same address; `None` where there is no such limit.
    fn place(&self, peer: Peer) -> Result<Option<ConnectionSlot>, ()> {
        match &self.shared.server.per_address {
            Some(limit) if !peer.is_shared => {
                self.addresses.place(peer.address, limit.most).map(Some).ok_or(())
            }
            _ => Ok(None),
        }
    }

    /// Tells a connection why it is turned away, unless too many are being told.
    fn tell(&self, stream: TcpStream, status: &'static str, body: &'static str, room: &Arc<Semaphore>) {
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            self.tasks.spawn(turn_away(stream, status, body, permit));
        }
    }
}

/// Leave to hold a connection, now or when the one has ended whose place it takes.
enum Permit {
    Here(OwnedSemaphorePermit),
    Soon(Arc<Semaphore>),
}

impl Permit {
    async fn have(self) -> Option<OwnedSemaphorePermit> {
        match self {
            Self::Here(permit) => Some(permit),
            Self::Soon(permits) => timeout(REFUSAL_TIMEOUT, permits.acquire_owned()).await.ok()?.ok(),
        }
    }
}

/// A connection that counts, until dropped.
struct Open {
    active: IntGauge,
    _permit: OwnedSemaphorePermit,
    _place: Option<ConnectionSlot>,
}

impl Open {
    fn count(active: &IntGauge, permit: OwnedSemaphorePermit, place: Option<ConnectionSlot>) -> Self {
        active.inc();
        Self { active: active.clone(), _permit: permit, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// Tells a connection that there are too many.
async fn turn_away(
    mut stream: TcpStream,
    status: &'static str,
    body: &'static str,
    permit: OwnedSemaphorePermit,
) {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // The request is on its way; closing before it arrives would reset the connection under the reply.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the peer waits for it is the peer's affair.
    drop(timeout(REFUSAL_TIMEOUT, told).await);
    drop(permit);
}
