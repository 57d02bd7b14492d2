//! The way in for peers that dial: a WebSocket upgrade at `/federation` becomes a tunnel to federated, which does all
//! the rest. A gateway copies bytes and reads none of them; federated learns nothing of the request but the WebSocket
//! handshake, above all no address.

use crate::bodies::error::ErrorCode;
use crate::limits::places::{self, Places};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use relay_daemon::headers::says;
use relay_proto::AddressHash;
use relay_proto::caller::Caller;
use relay_proto::socket::KnownSecret;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Tunnels of one gateway at once.
pub(crate) const MOST: usize = 64;

/// And of one address: a few relays in one house, and the next connection of each.
pub(crate) const MOST_EACH: usize = 8;

/// How long federated may take to accept a peer's connection.
const REACH: Duration = Duration::from_secs(5);

/// How long one side may take to close, or to say its last words, when the other has.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes that a tunnel holds in each direction.
const BUFFER: usize = 16 << 10;

/// The tunnels of a gateway.
#[derive(Debug)]
pub(crate) struct Tunnels {
    socket: PathBuf,
    secret: KnownSecret,
    room: Arc<Semaphore>,
    /// How many each address has that has any.
    each: Arc<Places<AddressHash>>,
    active: IntGauge,
}

impl Tunnels {
    /// Tunnels to the socket at `socket`; `active` counts those that are open.
    pub(crate) fn new(socket: PathBuf, active: IntGauge) -> Self {
        let (secret, room) = (KnownSecret::of(&socket), Arc::new(Semaphore::new(MOST)));
        Self { socket, secret, room, each: Arc::default(), active }
    }

    /// Opens a tunnel for a request of somebody with these headers. Returns also the value of `Sec-WebSocket-Accept`.
    ///
    /// # Errors
    /// When no upgrade is asked for, there are too many tunnels, or federated does not take this one.
    pub(crate) async fn open(
        &self,
        caller: Caller,
        asked: &HeaderMap,
    ) -> Result<(HeaderValue, Tunnel), ErrorCode> {
        let request = handshake(asked).ok_or(ErrorCode::NotAnUpgrade)?;
        let place = self.place(caller)?;
        let (accept, far) =
            timeout(REACH, self.reach(request)).await.unwrap_or(Err(ErrorCode::FederationAway))?;
        Ok((accept, Tunnel::new(TokioIo::new(far), place)))
    }

    /// Room for one tunnel more of somebody.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyTunnels`] when there is none, or none for that address.
    pub(crate) fn place(&self, caller: Caller) -> Result<TunnelSlot, ErrorCode> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| ErrorCode::TooManyTunnels)?;
        let of_address = caller
            .map(|payer| self.each.take(payer.address, MOST_EACH).ok_or(ErrorCode::TooManyTunnels))
            .transpose()?;
        self.active.inc();
        Ok(TunnelSlot { active: self.active.clone(), _of_address: of_address, _permit: permit })
    }

    async fn reach(&self, mut request: Request<Empty<Bytes>>) -> Result<(HeaderValue, Upgraded), ErrorCode> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| ErrorCode::FederationAway)?;
        // Tunnels are rare, and federated may have started again since the last one.
        self.secret.forget();
        self.secret.show(request.headers_mut());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| ErrorCode::FederationAway)?;
        let asking = async move {
            let response = sender.send_request(request).await.map_err(|_| ErrorCode::FederationAway)?;
            match response.status() {
                StatusCode::SWITCHING_PROTOCOLS => {
                    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT).cloned();
                    let accept = accept.ok_or(ErrorCode::FederationAway)?;
                    let far = hyper::upgrade::on(response).await.map_err(|_| ErrorCode::FederationAway)?;
                    Ok((accept, far))
                }
                // It looks closer than a gateway.
                StatusCode::BAD_REQUEST => Err(ErrorCode::NotAnUpgrade),
                _ => Err(ErrorCode::FederationAway),
            }
        };
        // The connection has to be driven for the reply to come. It ends with the upgrade, or with its sender.
        let (answer, _) = tokio::join!(asking, connection.with_upgrades());
        answer
    }
}

/// The request that federated gets, if one for a WebSocket came. It is made anew: what a peer or a proxy wrote besides
/// stays here.
fn handshake(asked: &HeaderMap) -> Option<Request<Empty<Bytes>>> {
    if !says(asked, &CONNECTION, "upgrade") || !says(asked, &UPGRADE, "websocket") {
        return None;
    }
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = hyper::Uri::from_static("/federation");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("relay"));
    headers.insert(CONNECTION, UPGRADES);
    headers.insert(UPGRADE, WEBSOCKET);
    for name in [SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY] {
        let value = asked.get(&name)?.clone();
        headers.insert(name, value);
    }
    Some(request)
}

/// Values of `Connection` and `Upgrade` where a WebSocket begins.
pub(crate) const UPGRADES: HeaderValue = HeaderValue::from_static("upgrade");
pub(crate) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A tunnel's share of what there may be, counted until dropped.
#[derive(Debug)]
pub(crate) struct TunnelSlot {
    active: IntGauge,
    _of_address: Option<places::ClientSlot<AddressHash>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for TunnelSlot {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// Either end of a tunnel.
pub(crate) trait End: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<E: AsyncRead + AsyncWrite + Unpin + Send + 'static> End for E {}

/// A tunnel that federated has accepted. Dropping it closes federated's end.
pub(crate) struct Tunnel {
    far: Box<dyn End>,
    place: TunnelSlot,
}

impl Tunnel {
    pub(crate) fn new(far: impl End, place: TunnelSlot) -> Self {
        Self { far: Box::new(far), place }
    }

    /// Copies bytes both ways until either side ends, or nothing has moved for `quiet`; that is noticed within twice
    /// the time.
    pub(crate) async fn carry(self, near: impl End, quiet: Duration) {
        let Self { far, place } = self;
        let moved = AtomicBool::new(true);
        let ((near_read, near_write), (far_read, far_write)) = (split(near), split(far));
        let mut outward = pin!(copy(far_read, near_write, &moved));
        tokio::select! {
            // Federated may have a last word for a peer to whom it does not listen any more.
            () = copy(near_read, far_write, &moved) => drop(timeout(FAREWELL, outward).await),
            () = &mut outward => {}
            () = silence(quiet, &moved) => {}
        }
        drop(place);
    }
}

/// Copies until either end is over, and says so to the other. Whether that is heard is the other's affair.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, moved: &AtomicBool) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() || to.flush().await.is_err() {
            break;
        }
        moved.store(true, Relaxed);
    }
    drop(timeout(FAREWELL, to.shutdown()).await);
}

/// Waits until nothing has moved for so long.
async fn silence(quiet: Duration, moved: &AtomicBool) {
    while moved.swap(false, Relaxed) {
        sleep(quiet).await;
    }
}

#[cfg(test)]
mod tests;
