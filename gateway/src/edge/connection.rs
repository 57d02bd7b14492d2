//! One connection, from its acceptance to its end.
//!
//! Against connections that are held open for nothing: the deadlines of [`ConnectionState`] end them. hyper has a deadline
//! for a head, which would also end connections that are merely idle, and none for a peer that takes no reply, for an idle
//! connection or for its age.

use super::bodies::{Progress, ReplyBody, TrackedBody};
use super::connection_state::{ConnectionState, DeadlineAction, Limits};
use super::stream::Stream;
use super::upgrade::UpgradeSlot;
use super::{Handler, Server};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use relay_daemon::Shutdown;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

/// What the connections of one listener share.
pub(super) struct Shared<H> {
    pub(super) server: Server<H>,
    pub(super) protocol: Builder<TokioExecutor>,
    /// The same for peers that many clients share.
    pub(super) shared_protocol: Builder<TokioExecutor>,
    /// Stopping has begun: whoever asks now is told to close afterwards.
    pub(super) stopping: Shutdown,
    /// Whoever has nothing in progress is to end.
    pub(super) closing: CancellationToken,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether many clients share its connections.
    pub(super) is_shared: bool,
}

/// Serves a connection until it ends: by its peer, by its limits, or because the gateway stops.
pub(super) async fn drive<H: Handler>(
    tcp: TcpStream,
    peer: Peer,
    state: Arc<ConnectionState>,
    shared: Arc<Shared<H>>,
) {
    let slot = UpgradeSlot::default();
    let stopping = shared.stopping.begun();
    let quiet = shared.server.limits.quiet;
    speak_http(tcp, peer, &state, shared, &slot).await;
    let Some((upgrade, tunnel)) = slot.taken() else { return };
    // An upgrade that was not to be is over now: the conversation has been dropped.
    let Ok(upgraded) = upgrade.await else { return };
    tokio::select! {
        () = tunnel.carry(TokioIo::new(upgraded), quiet) => {}
        // A tunnel has no last request to wait for; federated takes its leave of peers by itself.
        () = stopping => {}
    }
}

/// Speaks HTTP until the connection ends or becomes something else.
async fn speak_http<H: Handler>(
    tcp: TcpStream,
    peer: Peer,
    state: &Arc<ConnectionState>,
    shared: Arc<Shared<H>>,
    slot: &UpgradeSlot,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let version = request.version();
        let (progress, shared) = (Progress::begin(state), Arc::clone(&shared));
        let (mut head, body) = request.into_parts();
        slot.show(&mut head.extensions);
        let (body, taken) = TrackedBody::new(body);
        let answer = shared.server.handler.handle(peer.address, Request::from_parts(head, body));
        async move {
            let mut response = answer.await;
            // An reply that leaves a body unread is the last one, and so is any once stopping has begun. HTTP/2
            // ends streams and connections by itself.
            let last = !taken.load(Relaxed) || shared.stopping.has_begun();
            let goes_on = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if last && !goes_on && version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let is_multiplexed = version == Version::HTTP_2;
            Ok::<_, Infallible>(response.map(|body| ReplyBody::new(body, progress, is_multiplexed)))
        }
    });
    let io = TokioIo::new(Stream::new(tcp, Arc::clone(state)));
    let protocol = if peer.is_shared { &shared.shared_protocol } else { &shared.protocol };
    let mut connection = pin!(protocol.serve_connection_with_upgrades(io, service));
    let mut closing = pin!(shared.closing.cancelled());
    let mut replaced = pin!(state.replaced());
    let mut watchdog = pin!(Watchdog::new(state, shared.server.limits));
    let mut retired = false;
    poll_fn(|context| {
        loop {
            // What went wrong with a connection is its peer's affair, and may quote it.
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if shared.server.replaces && replaced.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let asked = !retired && closing.as_mut().poll(context).is_ready();
            match watchdog.as_mut().poll(context) {
                Poll::Ready(DeadlineAction::Close) => return Poll::Ready(()),
                Poll::Ready(DeadlineAction::Retire) if !retired => {}
                _ if asked => {}
                _ => return Poll::Pending,
            }
            retired = true;
            state.retire();
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;
}

/// Wakes its connection's task when something is due. Costs one timer, which is moved only when something
/// is due earlier than it is set for: a request that has its reply at once moves nothing.
struct Watchdog<'a> {
    state: &'a ConnectionState,
    limits: Limits,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl<'a> Watchdog<'a> {
    fn new(state: &'a ConnectionState, limits: Limits) -> Self {
        let (when, _) = state.next(&limits);
        Self { state, limits, timer: Box::pin(sleep_until(when)) }
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<DeadlineAction> {
        loop {
            let (when, due) = self.state.next(&self.limits);
            if when < self.timer.deadline() {
                self.timer.as_mut().reset(when);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if when <= tokio::time::Instant::now() {
                return Poll::Ready(due);
            }
            self.timer.as_mut().reset(when);
        }
    }
}
