//! From a fresh WebSocket to a channel whose two ends know one another.

use super::Broken;
use super::channel::{Channel, Event, Transit, websocket_bounds};
use super::greeting::{self, HelloInfo, Role};
use super::noise::Handshake;
use super::stream::Priority;
use futures_util::{SinkExt as _, StreamExt as _};
use relay_daemon::Clock;
use relay_proto::peer::{self, Hello};
use relay_proto::peer_messages::Capacity;
use relay_proto::peer_messages::message::Body;
use relay_proto::{NoiseKey, NoiseSecret, PeerId, PeerSeed};
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Carrier;
use tokio_tungstenite::tungstenite::protocol;

/// How long it may take from a WebSocket to one another's proof.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// What this relay shows of itself.
#[derive(Debug, Clone)]
pub(crate) struct LocalIdentity {
    /// Of its end of the Noise channel.
    pub(crate) noise_secret: NoiseSecret,
    /// Of the key by which it proves itself.
    pub(crate) signing_seed: PeerSeed,
    pub(crate) about: HelloInfo,
    /// Whose time it shows.
    pub(crate) clock: Clock,
}

impl LocalIdentity {
    /// Who this relay is.
    pub(crate) fn id(&self) -> PeerId {
        self.signing_seed.id()
    }

    fn hello(&self, role: Role, responder: &NoiseKey, hash: &[u8; 32], room: Capacity) -> Hello {
        greeting::sign(role, &self.signing_seed, responder, hash, &self.about, (room, self.clock.now()))
    }
}

/// A handshake did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// The other end does not have the key that was meant, or is no relay, or the connection broke.
    #[error("the handshake broke")]
    Handshake,
    /// It is there, and does not say who it is as it should.
    #[error("the peer did not prove itself")]
    Unproved,
    /// It does not know this relay.
    #[error("the peer does not accept this relay")]
    NotAccepted,
}

impl From<Broken> for Failed {
    fn from(_: Broken) -> Self {
        Self::Unproved
    }
}

/// Meets a relay that was dialled, which must have this key. The caller bounds the time.
///
/// A responder shows itself before it says whether it accepts: what it showed is answered in any case.
pub(crate) async fn initiate<S: Transit>(
    mut socket: WebSocketStream<S>,
    responder: &NoiseKey,
    local: &LocalIdentity,
    room: Capacity,
) -> Result<(Channel<S>, Hello), Failed> {
    let noise = async {
        let mut noise = Handshake::initiator(responder)?;
        socket.send(Carrier::Binary(noise.write()?.into())).await.map_err(|_| Broken)?;
        noise.read(&binary(&mut socket).await?)?;
        noise.finish()
    };
    let (transport, hash) = noise.await.map_err(|_| Failed::Handshake)?;
    let mut channel = Channel::new(socket, transport);
    let hello = local.hello(Role::Initiator, responder, &hash, room);
    channel.push(peer::encode(&peer::notice(Body::Hello(hello.into()))), Priority::Prompt, 0);
    let Body::HelloAck(theirs) = body(&mut channel).await? else { return Err(Failed::Unproved) };
    let theirs = Hello::try_from(theirs).map_err(|_| Failed::Unproved)?;
    greeting::check(Role::Responder, &theirs, responder, &hash)?;
    channel.open();
    Ok((channel, theirs))
}

/// Meets a relay that dialled, on a connection that has become a WebSocket. The caller bounds the time, and decides
/// whether to go on.
pub(crate) async fn respond<S: Transit>(
    connection: S,
    local: &LocalIdentity,
    room: Capacity,
) -> Result<(Channel<S>, Hello), Failed> {
    let mut socket =
        WebSocketStream::from_raw_socket(connection, protocol::Role::Server, Some(websocket_bounds())).await;
    let key = local.noise_secret.public();
    let noise = async {
        let mut noise = Handshake::responder(&local.noise_secret)?;
        noise.read(&binary(&mut socket).await?)?;
        socket.send(Carrier::Binary(noise.write()?.into())).await.map_err(|_| Broken)?;
        noise.finish()
    };
    let (transport, hash) = noise.await.map_err(|_| Failed::Handshake)?;
    let mut channel = Channel::new(socket, transport);
    let Body::Hello(theirs) = body(&mut channel).await? else { return Err(Failed::Unproved) };
    let theirs = Hello::try_from(theirs).map_err(|_| Failed::Unproved)?;
    greeting::check(Role::Initiator, &theirs, &key, &hash)?;
    let hello = local.hello(Role::Responder, &key, &hash, room);
    channel.push(peer::encode(&peer::notice(Body::HelloAck(hello.into()))), Priority::Prompt, 0);
    channel.open();
    Ok((channel, theirs))
}

async fn binary<S: Transit>(socket: &mut WebSocketStream<S>) -> Result<bytes::Bytes, Broken> {
    loop {
        match socket.next().await {
            Some(Ok(Carrier::Binary(message))) => return Ok(message),
            Some(Ok(Carrier::Ping(_) | Carrier::Pong(_))) => {}
            _ => return Err(Broken),
        }
    }
}

async fn body<S: Transit>(channel: &mut Channel<S>) -> Result<Body, Failed> {
    loop {
        match channel.next(true).await {
            Event::Message(message) => {
                let message = peer::decode(message).map_err(|_| Failed::Unproved)?;
                return message.body.ok_or(Failed::Unproved);
            }
            Event::Alive => {}
            Event::Closed(super::Reason::NotAccepted) => return Err(Failed::NotAccepted),
            Event::Closed(_) | Event::Cut | Event::Broken => return Err(Failed::Handshake),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;
    use tokio::io::{DuplexStream, duplex};

    fn local(number: u8) -> LocalIdentity {
        LocalIdentity {
            noise_secret: NoiseSecret::from_bytes([number; 32]),
            signing_seed: PeerSeed::from_bytes([number; 32]),
            about: HelloInfo {
                relay_id: format!("relay-{number}"),
                client_url: String::new(),
                messages_per_minute: 300,
                keeps_secs: 86_400,
            },
            clock: ManualClock::at(UnixSeconds::new(u64::from(number) * 1000)).clock(),
        }
    }

    async fn client(connection: DuplexStream) -> WebSocketStream<DuplexStream> {
        WebSocketStream::from_raw_socket(connection, protocol::Role::Client, Some(websocket_bounds())).await
    }

    #[tokio::test]
    async fn two_relays_learn_who_the_other_is() {
        let (near, far) = duplex(1 << 16);
        let (one, other) = (local(1), local(2));
        let room = Capacity { free_bytes: 7, accepting: true };
        let key = other.noise_secret.public();
        // Whoever answers has its greeting sent by the channel's next step.
        let responding = async {
            let (mut channel, hello) = respond(far, &other, room).await?;
            tokio::select! { _ = channel.next(true) => {}, () = tokio::task::yield_now() => {} }
            Ok::<_, Failed>((channel, hello))
        };
        let (dialled, accepted) = tokio::join!(initiate(client(near).await, &key, &one, room), responding);
        let ((_, theirs), (_, ours)) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((theirs.identity, ours.identity), (other.id(), one.id()));
        assert_eq!((theirs.relay_id.as_str(), theirs.capacity), ("relay-2", room));
        assert_eq!([theirs.time, ours.time], [2000, 1000].map(|time| Some(UnixSeconds::new(time))));
    }

    #[tokio::test]
    async fn a_relay_with_another_key_is_not_met() {
        let (near, far) = duplex(1 << 16);
        let meant = NoiseSecret::from_bytes([9; 32]).public();
        let (one, other) = (local(1), local(2));
        let (dialled, accepted) = tokio::join!(
            initiate(client(near).await, &meant, &one, Capacity::default()),
            respond(far, &other, Capacity::default())
        );
        assert_eq!(dialled.err(), Some(Failed::Handshake));
        assert_eq!(accepted.err(), Some(Failed::Handshake));
    }
}
