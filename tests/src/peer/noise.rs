//! `Noise_NK_25519_ChaChaPoly_BLAKE2s`: a handshake, then two ciphers with a count each.

use super::frame::LARGEST_MESSAGE;
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::sync::Arc;

/// Bytes of the largest Noise message.
pub const LARGEST: usize = 65_535;

/// Bytes by which sealing makes a text longer.
pub const TAG: usize = 16;

/// Bytes of a handshake message with an empty payload.
pub const HANDSHAKE_MESSAGE: usize = 48;

pub(crate) fn builder<'keys>() -> Builder<'keys> {
    Builder::new("Noise_NK_25519_ChaChaPoly_BLAKE2s".parse().expect("a pattern"))
}

/// What both sides put before the handshake.
pub fn prologue() -> Vec<u8> {
    let mut prologue = b"vauchi-federation-v1".to_vec();
    for number in [LARGEST, LARGEST_MESSAGE] {
        prologue.extend(u32::try_from(number).expect("it fits").to_be_bytes());
    }
    prologue
}

/// A handshake in progress.
#[derive(Debug)]
pub struct Handshake(HandshakeState);

impl Handshake {
    /// The side that dialled.
    ///
    /// # Panics
    /// When the library does not take the key.
    pub fn initiator(prologue: &[u8], responder_key: &[u8; 32]) -> Self {
        let builder =
            builder().prologue(prologue).and_then(|builder| builder.remote_public_key(responder_key));
        Self(builder.and_then(Builder::build_initiator).expect("an initiator"))
    }

    /// The side that was dialled.
    ///
    /// # Panics
    /// When the library does not take the key.
    pub fn responder(prologue: &[u8], private_key: &[u8; 32]) -> Self {
        let builder = builder().prologue(prologue).and_then(|builder| builder.local_private_key(private_key));
        Self(builder.and_then(Builder::build_responder).expect("a responder"))
    }

    /// The next message, with a payload.
    ///
    /// # Panics
    /// When it is not this side's turn.
    pub fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; LARGEST];
        let length = self.0.write_message(payload, &mut message).expect("it is this side's turn");
        message.truncate(length);
        message
    }

    /// Reads the other side's message and gives its payload; `None` if it does not open.
    pub fn read(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut payload = vec![0; LARGEST];
        let length = self.0.read_message(message, &mut payload).ok()?;
        payload.truncate(length);
        Some(payload)
    }

    /// The hash that stands for the connection, and what seals and opens from here on.
    ///
    /// # Panics
    /// When the handshake is not over.
    pub fn finish(self) -> ([u8; 32], Sealing, Opening) {
        let hash = self.0.get_handshake_hash().try_into().expect("BLAKE2s gives 32 bytes");
        let transport = Arc::new(self.0.into_stateless_transport_mode().expect("the handshake is over"));
        let sealing = Sealing { transport: Arc::clone(&transport), count: 0 };
        (hash, sealing, Opening { transport, count: 0 })
    }
}

/// Seals what this side says.
#[derive(Debug)]
pub struct Sealing {
    transport: Arc<StatelessTransportState>,
    count: u64,
}

impl Sealing {
    /// Seals a text under the next number.
    ///
    /// # Panics
    /// When it is longer than a Noise message can be.
    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        let mut message = vec![0; text.len() + TAG];
        self.transport.write_message(self.count, text, &mut message).expect("a text that fits");
        self.count += 1;
        message
    }
}

/// Opens what the other side says.
#[derive(Debug)]
pub struct Opening {
    transport: Arc<StatelessTransportState>,
    count: u64,
}

impl Opening {
    /// Opens the next message; `None` if it is not that.
    pub fn open(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut text = vec![0; message.len().checked_sub(TAG)?];
        self.transport.read_message(self.count, message, &mut text).ok()?;
        self.count += 1;
        Some(text)
    }
}
