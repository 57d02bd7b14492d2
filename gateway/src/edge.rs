//! The edge: connections from strangers, bounded in number, time and memory.
//!
//! It stands in the place of `axum::serve`, which accepts without bounds and lets nobody set hyper's: HTTP itself is hyper's
//! and hyper-util's, the router is axum's, and what is here is what neither of them has. Each file says which attack it is
//! for. `edge` owns sockets and HTTP; what a request means is its [`Handler`]'s business. It never logs an address, a path
//! or a header.
//!
//! Bounds of the protocol that hyper has are set in [`protocol`]: long heads, many streams, HTTP/2 streams that are reset as
//! soon as they are opened, peers that are gone without a word.

mod accept;
mod bodies;
mod connection;
mod connection_state;
mod places;
mod stream;
#[cfg(test)]
mod tests;
mod upgrade;

pub(crate) use accept::serve;
pub(crate) use bodies::TrackedBody;
pub(crate) use connection_state::Limits;
pub(crate) use places::{PerAddress, SharedPeers};
pub(crate) use upgrade::UpgradeHandle;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus::{IntCounter, IntGauge};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A request on its way to its reply. Boxed, so that an idle connection does not hold room for a busy one.
pub(crate) type ResponseFuture = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// Replies to requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Replies to one request of a peer. Must not panic.
    fn handle(&self, peer: IpAddr, request: Request<TrackedBody>) -> ResponseFuture;
}

/// How a listener is served.
pub(crate) struct Server<H> {
    pub(crate) handler: H,
    pub(crate) limits: Limits,
    /// Connections at once.
    pub(crate) max_connections: usize,
    /// Body of the reply to connections beyond that.
    pub(crate) turned_away: &'static str,
    /// Whether a connection beyond that takes the place of one that waits, if there is one.
    pub(crate) replaces: bool,
    /// Limits for one address; `None`: one may have all connections.
    pub(crate) per_address: Option<PerAddress>,
    /// For whom these limits do not hold.
    pub(crate) shared_peers: SharedPeers,
    /// Whether the last attempt to accept a connection succeeded.
    pub(crate) accepting: Arc<AtomicBool>,
    pub(crate) active: IntGauge,
    pub(crate) refused: IntCounter,
}

/// Header fields of one request.
const MAX_HEADERS: usize = 64;

/// Bytes of one connection's read buffer: the largest head, and how much of a body is read at once.
const BUFFER: usize = 32 << 10;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;

/// Unread bytes of bodies that one HTTP/2 connection, and each of its streams, may pile up.
const WINDOW: u32 = 64 << 10;

/// How often a quiet HTTP/2 peer is asked whether it lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Streams of one HTTP/2 connection that its peer has reset before they were looked at. In one that many clients share,
/// one client's are no reason to end it: this bounds memory only.
const PENDING_RESETS: usize = 16;
const SHARED_PENDING_RESETS: usize = 16 << 10;

/// Errors of streams that end one client's HTTP/2 connection.
const STREAM_ERRORS: usize = 128;

/// HTTP as the edge speaks it, with one client or with a peer that many clients share. Times are kept by [`connection_state`], not
/// here: hyper's own header timeout would also end idle connections.
fn protocol(is_shared: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(BUFFER)
        .half_close(true)
        .keep_alive(true);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        // Where one client's unread bytes filled it, the others' could not come.
        .initial_connection_window_size(if is_shared { WINDOW * MAX_STREAMS } else { WINDOW })
        .max_header_list_size(16 << 10)
        .max_send_buf_size(128 << 10)
        .max_pending_accept_reset_streams(if is_shared { SHARED_PENDING_RESETS } else { PENDING_RESETS })
        .max_local_error_reset_streams((!is_shared).then_some(STREAM_ERRORS))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE);
    builder
}
