//! Where peers connect that dial this relay: a little HTTP with two addresses, behind gateways and, where the operator wants it,
//! on a port of its own.

use super::{Connection, Keys};
use crate::connection::arrivals::{Arrival, Arrivals};
use crate::context::{Context, replied};
use crate::link::Reason;
use crate::link::channel::{Channel, Transit};
use crate::link::handshake::{self, LocalIdentity, respond};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use relay_daemon::Shutdown;
use relay_daemon::headers::says;
use relay_proto::messages::{Introduction, Pin, PinsReply, PinsRequest};
use relay_proto::socket::SecretCheck;
use relay_proto::{PeerId, StorageError};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;

/// Handshakes on their way at once.
const PENDING: usize = 16;

/// Connections at once that have not become a channel.
const ASKING: usize = 64;

/// How long one may take to ask.
const ASK: Duration = Duration::from_secs(5);

/// How long the last frame to somebody who is turned away may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a connection could not be accepted: files are short, and more haste makes none.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What a listener for peers needs to know.
pub(crate) struct PeerListener {
    pub(crate) local: LocalIdentity,
    /// Identities that may connect; without any, those of the peers at `urls`.
    pub(crate) accepted: Vec<PeerId>,
    pub(crate) urls: Vec<String>,
    pub(crate) context: Arc<Context>,
    pub(crate) tasks: TaskTracker,
    pub(crate) pending: Arc<Arrivals>,
    pub(crate) asking: Arc<Arrivals>,
}

/// Bounds of the listener.
pub(crate) fn bounds() -> [Arc<Arrivals>; 2] {
    [PENDING, ASKING].map(Arrivals::new)
}

impl PeerListener {
    /// Takes what gateways pass on.
    pub(crate) async fn serve_tunnel(
        self: Arc<Self>,
        listener: UnixListener,
        gateways: SecretCheck,
        shutdown: &Shutdown,
    ) {
        // Gateways know where somebody comes from, give each address a few tunnels, and say nothing of it.
        let accept = || async { listener.accept().await.map(|(stream, _)| (stream, None)) };
        self.serve(accept, Some(gateways), shutdown).await;
    }

    /// Takes connections on a port.
    pub(crate) async fn serve_port(self: Arc<Self>, listener: TcpListener, shutdown: &Shutdown) {
        let accept = || async {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((stream, Some(peer.ip())))
        };
        self.serve(accept, None, shutdown).await;
    }

    async fn serve<S, F>(
        self: Arc<Self>,
        accept: impl Fn() -> F,
        gateways: Option<SecretCheck>,
        shutdown: &Shutdown,
    ) where
        S: Transit,
        F: Future<Output = io::Result<(S, Option<IpAddr>)>>,
    {
        loop {
            let Some(accepted) = shutdown.unless_begun(accept()).await else { return };
            let Ok((stream, source)) = accepted else {
                tokio::time::sleep(BACK_OFF).await;
                continue;
            };
            let Some(arrival) = self.asking.enter(source) else {
                self.context.metrics.handshakes_refused.inc();
                continue;
            };
            self.tasks.spawn(Arc::clone(&self).hear(stream, source, gateways.clone(), arrival));
        }
    }

    /// One request, and perhaps what comes of it.
    async fn hear<S: Transit>(
        self: Arc<Self>,
        stream: S,
        source: Option<IpAddr>,
        gateways: Option<SecretCheck>,
        arrival: Arrival,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = match &gateways {
                Some(gateways) if !gateways.admits(request.headers()) => {
                    text(StatusCode::FORBIDDEN, "the secret of the socket is missing or wrong")
                }
                _ => Arc::clone(&self).answer(request, source),
            };
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(ASK)
            .max_headers(32)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // What went wrong is the other end's affair.
        drop(arrival.unless_crowded(timeout(ASK, connection)).await);
    }

    fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        source: Option<IpAddr>,
    ) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/federation/key") => {
                text(StatusCode::OK, self.local.noise_secret.public().to_base64url())
            }
            (&Method::GET, "/federation") => {
                let Some(accept) = websocket_accept(request.headers()) else {
                    return text(StatusCode::BAD_REQUEST, "a WebSocket upgrade is expected here");
                };
                let Some(arrival) = self.pending.enter(source) else {
                    self.context.metrics.handshakes_refused.inc();
                    return text(StatusCode::SERVICE_UNAVAILABLE, "too many peers are arriving");
                };
                let upgrade = hyper::upgrade::on(&mut request);
                let listener = Arc::clone(&self);
                self.tasks.spawn(async move { listener.meet(upgrade, arrival).await });
                switching(accept)
            }
            (_, "/federation" | "/federation/key") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            _ => text(StatusCode::NOT_FOUND, "no such endpoint"),
        }
    }

    async fn meet(self: Arc<Self>, upgrade: OnUpgrade, arrival: Arrival) {
        let shaking = async {
            let connection = TokioIo::new(upgrade.await.ok()?);
            respond(connection, &self.local, self.context.registry.own_capacity()).await.ok()
        };
        let shaken = arrival.unless_crowded(timeout(handshake::LIMIT, shaking)).await;
        let Some((channel, hello)) = shaken.and_then(Result::ok).flatten() else {
            self.context.metrics.handshakes_refused.inc();
            return;
        };
        match self.accepts(&hello.identity).await {
            Ok(true) => {}
            Ok(false) => return self.turn_away(channel, Reason::NotAccepted).await,
            // Nobody knows just now. It comes again soon, as to a relay that is being started anew.
            Err(_) => return self.turn_away(channel, Reason::Stopping).await,
        }
        let introduction = Introduction {
            identity: hello.identity.into(),
            client_url: hello.client_url.clone(),
            ..Introduction::default()
        };
        if replied(self.context.storage.offload().introduce(introduction).await).is_err() {
            return self.turn_away(channel, Reason::Stopping).await;
        }
        let Ok((joined, commands)) = self.context.registry.join(&hello) else {
            return self.turn_away(channel, Reason::TooMuch).await;
        };
        drop(arrival);
        let context = Arc::clone(&self.context);
        let connection = Connection { channel, joined, commands, context, keys: Keys::Awaited };
        tracing::info!("a peer has connected");
        let end = connection.run().await;
        tracing::debug!(?end, "a peer's connection is over");
    }

    async fn turn_away<S: Transit>(&self, channel: Channel<S>, reason: Reason) {
        self.context.metrics.handshakes_refused.inc();
        tracing::debug!(?reason, "somebody who dialled is turned away");
        // Who does not take the last frames does not get them.
        drop(timeout(CLOSE_TIMEOUT, channel.close(reason)).await);
    }

    async fn accepts(&self, identity: &PeerId) -> Result<bool, StorageError> {
        if *identity == self.local.id() {
            return Ok(false);
        }
        if !self.accepted.is_empty() {
            return Ok(self.accepted.contains(identity));
        }
        let PinsReply { pins } = replied(self.context.storage.offload().pins(PinsRequest {}).await)?;
        let is_theirs =
            |pin: &Pin| pin.identity[..] == identity.as_bytes()[..] && self.urls.contains(&pin.url);
        Ok(pins.iter().any(is_theirs))
    }
}

/// What completes a WebSocket upgrade (RFC 6455, section 4.2), if a request asks for one.
fn websocket_accept(headers: &HeaderMap) -> Option<String> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let asked = says(headers, &header::CONNECTION, "upgrade")
        && says(headers, &header::UPGRADE, "websocket")
        && says(headers, &header::SEC_WEBSOCKET_VERSION, "13")
        && key.len() == 24;
    asked.then(|| derive_accept_key(key.as_bytes()))
}

fn switching(accept: String) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    // The key is base64, which every header takes.
    response.body(Full::default()).unwrap_or_default()
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_whole_or_none() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect()
        };
        // RFC 6455, section 1.3.
        let accept = websocket_accept(&headers(&good));
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        for left_out in 0..good.len() {
            let mut some = good.to_vec();
            some.remove(left_out);
            assert_eq!(websocket_accept(&headers(&some)), None, "{left_out}");
        }
        let mut odd = good;
        odd[3].1 = "short";
        assert_eq!(websocket_accept(&headers(&odd)), None);
    }
}
