//! Dialling a relay.

use super::channel::Channel;
use super::closed::Closed;
use super::keys::PeerKeys;
use super::noise::Handshake;
use super::options::Options;
use super::websocket::WebSocket;
use crate::client::{Client, Via};
use crate::deadline;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::net::SocketAddr;
use tokio::net::TcpSocket;

/// What an initiator sent until it was through: what someone on the way could have recorded.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Its Noise messages, in order: the handshake message, then those of the greeting.
    pub sent: Vec<Vec<u8>>,
}

/// Ways to a relay.
#[derive(Debug)]
pub struct Dialled;

impl Dialled {
    /// Dials and greets.
    ///
    /// # Panics
    /// When it does not come to a channel.
    pub async fn connect(address: SocketAddr, keys: &PeerKeys, options: &Options) -> Channel {
        match Self::attempt(address, keys, options).await {
            Ok(channel) => channel,
            Err(closed) => panic!("no channel to the relay: {closed:?}"),
        }
    }

    /// Dials and greets, or says how it ended. A relay that does not know the initiator still answers: then there
    /// is a channel, which it closes with reason 1.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When the relay does not show a key, breaks a rule, or takes too long.
    pub async fn attempt(address: SocketAddr, keys: &PeerKeys, options: &Options) -> Result<Channel, Closed> {
        let relay_key = match options.relay_key {
            Some(key) => key,
            None => Self::key(address, &options.path).await,
        };
        let initiate = async {
            let socket = Self::socket(address, options).await?;
            Channel::initiate(socket, keys, &relay_key, options).await
        };
        deadline::soon("a channel to the relay", initiate).await.map_err(Closed::lawful)
    }

    /// The relay's X25519 key, as it serves it.
    ///
    /// # Panics
    /// When it does not.
    pub async fn key(address: SocketAddr, path: &str) -> [u8; 32] {
        let client = Client::new(address, Via::Plain);
        let reply = client.raw("GET", &format!("{path}/federation/key"), &[], "").await;
        assert_eq!(reply.status, 200, "no federation key: {}", reply.describe());
        let bytes = URL_SAFE_NO_PAD.decode(&reply.body).expect("a key is base64url, and nothing else");
        bytes.try_into().expect("a key has 32 bytes")
    }

    /// A WebSocket to a relay, and nothing said on it.
    ///
    /// # Errors
    /// When the relay does not agree to it.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn socket(address: SocketAddr, options: &Options) -> Result<WebSocket, Closed> {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("a buffer of that size");
        }
        if let Some(source) = options.source {
            socket.bind(SocketAddr::new(source, 0)).expect("an address of this machine");
        }
        let stream = socket.connect(address).await.expect("somebody listens");
        WebSocket::dial(stream, address, &format!("{}/federation", options.path)).await
    }

    /// Says again what another initiator said, and returns what the relay makes of it.
    ///
    /// # Panics
    /// When the relay goes on talking, or does nothing.
    pub async fn replay(address: SocketAddr, recording: &Recording, options: &Options) -> Closed {
        let replay = async {
            let mut socket = Self::socket(address, options).await?;
            for message in &recording.sent {
                socket.writer.binary(message).await;
            }
            // At most the relay's half of a handshake may come, which nobody here can open.
            for _ in 0..2 {
                socket.reader.binary().await?;
            }
            Err(Closed::violation("a replayed initiator was greeted"))
        };
        let ended: Result<(), Closed> = deadline::soon("the end of a replay", replay).await;
        ended.map_or_else(Closed::lawful, |()| Closed::Cut)
    }

    /// Speaks the first half of a handshake and leaves the rest to the caller, as one does who wants to keep the
    /// relay waiting.
    ///
    /// # Errors
    /// When the relay does not agree to a WebSocket.
    pub async fn half(address: SocketAddr, options: &Options) -> Result<WebSocket, Closed> {
        let relay_key = Self::key(address, &options.path).await;
        let socket = Self::socket(address, options).await?;
        socket.writer.binary(&Handshake::initiator(&options.prologue, &relay_key).write(&[])).await;
        Ok(socket)
    }
}
