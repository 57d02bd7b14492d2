//! Staying connected to one configured peer: finding its key, meeting it, turning the keys of the channel in time,
//! and coming back after a pause that grows while it is away.

mod error;
mod key;

use super::{Connection, End, Keys};
use crate::connection::connector::Connector;
use crate::context::{Context, replied};
use crate::link::Reason;
use crate::link::channel::websocket_bounds;
use crate::link::handshake::{self, Failed, LocalIdentity, initiate};
use crate::registry::Command;
use error::DialError;
use relay_daemon::variables::PeerUrl;
use relay_daemon::{Backoff, Shutdown};
use relay_proto::field::identifier;
use relay_proto::messages::{IntroduceReply, Introduction, PinsReply, PinsRequest};
use relay_proto::peer::Hello;
use relay_proto::{NoiseKey, PeerId, StorageError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keeps one peer connected.
pub(crate) struct Dialler {
    /// The peer's place in the operator's list: by it, logs tell which one is meant.
    pub(crate) position: usize,
    pub(crate) url: PeerUrl,
    pub(crate) connector: Arc<Connector>,
    pub(crate) context: Arc<Context>,
    pub(crate) local: LocalIdentity,
}

/// A connection that stands.
struct LinkState {
    driving: JoinHandle<End>,
    closer: Option<mpsc::Sender<Command>>,
    /// Its keys were used for long enough.
    worn: Arc<Notify>,
}

/// The key that a peer is to have.
struct Expected {
    key: NoiseKey,
    /// The operator wrote it down.
    configured: bool,
    /// It was known before the peer was asked.
    pinned: bool,
}

impl Dialler {
    /// Dials until the process stops.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut standing: Option<LinkState> = None;
        while !shutdown.has_begun() {
            let Some(met) = shutdown.unless_begun(self.meet()).await else { break };
            match met {
                Ok(fresh) => {
                    if let Some(closer) = standing.take().and_then(|old| old.closer) {
                        // What was asked there is answered first. A connection that is gone needs no word.
                        drop(closer.send(Command::Close(Reason::Ended)).await);
                    }
                    standing = Some(fresh);
                }
                Err(trouble) => {
                    self.context.metrics.dials_failed.inc();
                    self.note(trouble, pause.is_first());
                }
            }
            let waiting = async {
                if self.outlast(&mut standing, &mut pause).await {
                    tokio::time::sleep(pause.spread_pause()).await;
                }
            };
            shutdown.unless_begun(waiting).await;
        }
        if let Some(standing) = standing {
            // It ends with the others that are told to.
            drop(standing.driving.await);
        }
    }

    /// Waits while a connection stands and its keys are fresh. Returns whether to pause before dialling.
    async fn outlast(&self, standing: &mut Option<LinkState>, pause: &mut Backoff) -> bool {
        let Some(LinkState { driving, worn, .. }) = standing else { return true };
        let end = tokio::select! {
            end = driving => end.unwrap_or(End::Lost),
            () = worn.notified() => return false,
        };
        *standing = None;
        let trouble = DialError::of(end);
        if trouble.is_accident() {
            pause.reset();
        }
        self.note(trouble, true);
        true
    }

    fn note(&self, trouble: DialError, is_first: bool) {
        let pin_changed = trouble == DialError::PinChanged;
        self.context.registry.dialled(self.position, None, pin_changed, trouble.text());
        let peer = self.position + 1;
        if pin_changed {
            self.context.metrics.pins_refused.inc();
            tracing::error!(
                peer,
                "the key of a peer is not the one it is pinned to: somebody may be in between; ask its operator, \
                 and if it did change: relay peers forget"
            );
        } else if is_first {
            tracing::info!(peer, trouble = trouble.text(), "a peer is not connected");
        } else {
            tracing::debug!(peer, trouble = trouble.text(), "a peer is not connected");
        }
    }

    /// Connects, proves and is proved.
    async fn meet(&self) -> Result<LinkState, DialError> {
        let expected = self.expected().await?;
        let stream = self.connector.connect(self.url.host(), self.url.port(), self.url.is_secure()).await?;
        let address = format!("ws://{}{}", self.url.authority(), self.url.path("/federation"));
        let shaking = async {
            let request = address.as_str().into_client_request().map_err(|_| Failed::Handshake)?;
            let (socket, _) = client_async_with_config(request, stream, Some(websocket_bounds()))
                .await
                .map_err(|_| Failed::Handshake)?;
            initiate(socket, &expected.key, &self.local, self.context.registry.own_capacity()).await
        };
        let (channel, hello) =
            match timeout(handshake::LIMIT, shaking).await.unwrap_or(Err(Failed::Handshake)) {
                Ok(met) => met,
                Err(Failed::Handshake) if expected.pinned => return Err(self.unmet(&expected.key).await),
                Err(failed) => return Err(failed.into()),
            };
        if hello.identity == self.local.id() {
            return Err(DialError::Itself);
        }
        self.introduce(&hello, &expected).await?;
        self.context.registry.dialled(self.position, Some(hello.identity), false, "");
        let Ok((joined, commands)) = self.context.registry.join(&hello) else {
            return Err(DialError::Crowded);
        };
        let worn = Arc::new(Notify::new());
        let closer = joined.closer();
        let connection = Connection {
            channel,
            joined,
            commands,
            context: Arc::clone(&self.context),
            keys: Keys::Renewed(Arc::clone(&worn)),
        };
        tracing::info!(peer = self.position + 1, "a peer is connected");
        Ok(LinkState { driving: tokio::spawn(connection.run()), closer, worn })
    }

    /// Why a peer was not met that was expected to have a known key: it may have another one now.
    async fn unmet(&self, known: &NoiseKey) -> DialError {
        match key::fetch(&self.connector, &self.url).await {
            Ok(shown) if shown != *known => DialError::PinChanged,
            _ => DialError::NotARelay,
        }
    }

    /// The key that the operator wrote down, or the one that was seen first, or the one that is shown now.
    async fn expected(&self) -> Result<Expected, DialError> {
        if let Some(key) = self.url.pin {
            return Ok(Expected { key, configured: true, pinned: true });
        }
        let answered = replied(self.context.storage.offload().pins(PinsRequest {}).await);
        let PinsReply { pins } = answered.map_err(|_| DialError::NoStorage)?;
        if let Some(pin) = pins.into_iter().find(|pin| pin.url == self.url.as_str()) {
            let key = identifier("noise_key", &pin.noise_key).map_err(|_| DialError::NoStorage)?;
            return Ok(Expected { key, configured: false, pinned: true });
        }
        let key = key::fetch(&self.connector, &self.url).await?;
        Ok(Expected { key, configured: false, pinned: false })
    }

    async fn introduce(&self, hello: &Hello, expected: &Expected) -> Result<PeerId, DialError> {
        let client_url = match hello.client_url.as_str() {
            "" => self.url.client_url(),
            url => url.to_owned(),
        };
        let introduction = Introduction {
            identity: hello.identity.into(),
            url: self.url.as_str().to_owned(),
            noise_key: expected.key.into(),
            configured: expected.configured,
            client_url,
        };
        match replied(self.context.storage.offload().introduce(introduction).await) {
            Ok(IntroduceReply {}) => Ok(hello.identity),
            Err(StorageError::BadSignature) => Err(DialError::PinChanged),
            Err(_) => Err(DialError::NoStorage),
        }
    }
}
