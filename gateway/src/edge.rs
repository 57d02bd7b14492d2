//! The edge: connections from strangers, bounded in number, time and memory.
//!
//! `edge` owns sockets and HTTP; what a request means is its [`Handler`]'s business. It never logs an
//! address, a path or a header.

mod accept;
mod bodies;
mod connection;
mod passage;
mod stream;
#[cfg(test)]
mod tests;
mod vitals;

pub(crate) use accept::serve;
pub(crate) use bodies::Asked;
pub(crate) use passage::Passage;
pub(crate) use vitals::Limits;

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

/// A request on its way to its answer. Boxed, so that an idle connection does not hold room for a busy one.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request of a peer. Must not panic.
    fn handle(&self, peer: IpAddr, request: Request<Asked>) -> Answering;
}

/// How a listener is served.
pub(crate) struct Server<H> {
    pub(crate) handler: H,
    pub(crate) limits: Limits,
    /// Connections at once.
    pub(crate) max_connections: usize,
    /// Body of the answer to connections beyond that.
    pub(crate) turned_away: &'static str,
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

/// HTTP as the edge speaks it. Times are kept by [`vitals`], not here: hyper's own header timeout would also
/// end idle connections.
fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(BUFFER)
        .half_close(true)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(16 << 10)
        .max_send_buf_size(128 << 10)
        .max_pending_accept_reset_streams(16)
        .max_local_error_reset_streams(128)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE);
    builder
}
