//! The first message of each side: who it is, and the proof.

use super::keys::PeerKeys;
use super::message::{About, Body, Capacity, Encoded as _, Hello, Message};
use super::websocket::Side;
use ed25519_dalek::{Signature, VerifyingKey};

/// Version of what relays say.
pub const VERSION: u32 = 1;

/// Bytes that a first message may have.
pub const LARGEST: usize = 4096;

/// What is said first, as it should be or not. By default it is.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// The version that is claimed.
    pub version: u32,
    /// What this peer says of itself.
    pub about: Option<About>,
    /// Claims another identity.
    pub identity: Option<Vec<u8>>,
    /// Signs with other keys than those of the identity.
    pub signer: Option<PeerKeys>,
    /// Puts another signature in place of one that holds.
    pub signature: Option<Vec<u8>>,
    /// Signs as if in another role.
    pub role: Option<u8>,
    /// Signs another handshake hash.
    pub hash: Option<[u8; 32]>,
    /// Signs another X25519 key of the responder.
    pub responder_key: Option<[u8; 32]>,
    /// What is said instead.
    pub first: First,
}

/// What comes where a greeting should be.
#[derive(Debug, Clone, Default)]
pub enum First {
    /// The greeting.
    #[default]
    Greeting,
    /// Nothing at all.
    Nothing,
    /// Another message.
    Other(Message),
    /// The greeting that belongs to the other role.
    OtherRole,
    /// A cut.
    Cut,
}

impl Default for Greeting {
    fn default() -> Self {
        Self {
            version: VERSION,
            about: Some(About::default_of_a_peer()),
            identity: None,
            signer: None,
            signature: None,
            role: None,
            hash: None,
            responder_key: None,
            first: First::Greeting,
        }
    }
}

impl About {
    /// A peer with room, which serves no clients.
    pub fn default_of_a_peer() -> Self {
        Self {
            relay_id: "scripted-peer".to_owned(),
            client_url: String::new(),
            messages_per_minute: 300,
            capacity: Some(Capacity { free_bytes: 1 << 30, accepting: true }),
            unix_time: 0,
            keeps_secs: 0,
            lists: false,
        }
    }
}

/// What is signed.
pub fn signed_text(role: u8, identity: &[u8], responder_key: &[u8; 32], hash: &[u8; 32]) -> Vec<u8> {
    [b"vauchi-federation-hello-v1", &[role][..], identity, responder_key, hash].concat()
}

const fn role_of(side: Side) -> u8 {
    match side {
        Side::Client => 1,
        Side::Server => 2,
    }
}

impl Greeting {
    /// The bytes of the first message of a side, or nothing.
    pub fn encode(
        &self,
        keys: &PeerKeys,
        side: Side,
        responder_key: &[u8; 32],
        hash: &[u8; 32],
    ) -> Option<Vec<u8>> {
        let said = match &self.first {
            First::Nothing | First::Cut => return None,
            First::Other(message) => return Some(message.encode_to_vec()),
            First::OtherRole if side == Side::Client => Side::Server,
            First::OtherRole => Side::Client,
            First::Greeting => side,
        };
        let identity = self.identity.clone().unwrap_or_else(|| keys.identity().to_vec());
        let role = self.role.unwrap_or_else(|| role_of(said));
        let text = signed_text(
            role,
            &identity,
            self.responder_key.as_ref().unwrap_or(responder_key),
            self.hash.as_ref().unwrap_or(hash),
        );
        let signature = match &self.signature {
            Some(signature) => signature.clone(),
            None => self.signer.as_ref().unwrap_or(keys).sign(&text).to_vec(),
        };
        let hello = Hello { version: self.version, identity, signature, about: self.about.clone() };
        let body = if said == Side::Client { Body::Hello(hello) } else { Body::HelloAck(hello) };
        Some(Message { request: 0, body: Some(body) }.encode_to_vec())
    }
}

/// Who the relay at the other end is.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Its Ed25519 key.
    pub identity: [u8; 32],
    /// What it says of itself.
    pub about: About,
}

/// Looks at the relay's first message. `side` is its side.
///
/// # Errors
/// The rule that is broken.
pub fn check(
    bytes: &[u8],
    side: Side,
    responder_key: &[u8; 32],
    hash: &[u8; 32],
) -> Result<Introduction, &'static str> {
    if bytes.len() > LARGEST {
        return Err("a greeting that is too large");
    }
    let message = Message::decode(bytes).map_err(|_| "a greeting that is no message")?;
    let hello = match (message.body, side) {
        (Some(Body::Hello(hello)), Side::Client) | (Some(Body::HelloAck(hello)), Side::Server) => hello,
        _ => return Err("another message before the greeting"),
    };
    if hello.version != VERSION {
        return Err("another version");
    }
    let identity: [u8; 32] = hello.identity.try_into().map_err(|_| "an identity that is not 32 bytes")?;
    let key = VerifyingKey::from_bytes(&identity).map_err(|_| "an identity that is no key")?;
    let signature =
        Signature::from_slice(&hello.signature).map_err(|_| "a signature that is not 64 bytes")?;
    let text = signed_text(role_of(side), &identity, responder_key, hash);
    key.verify_strict(&text, &signature).map_err(|_| "a greeting whose signature does not hold")?;
    let about = hello.about.ok_or("a greeting that says nothing of its sender")?;
    if about.messages_per_minute == 0 || about.capacity.is_none() {
        return Err("a greeting that says too little of its sender");
    }
    Ok(Introduction { identity, about })
}
