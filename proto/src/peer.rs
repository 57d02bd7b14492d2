//! What relays say to one another, inside the Noise channel: the messages, and their one way to and from bytes.

use crate::convert::peer as convert;
use crate::mail::BlobName;
use crate::messages::Listing;
use crate::transfer::{CarriedBlob, Verdict};
use crate::{Malformed, PeerId, Signature, UnixSeconds};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Version of what relays say to one another.
pub const VERSION: u32 = 1;

/// A message and the number of the question it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Chosen by whoever asks, repeated by whoever answers; 0 for a notice.
    pub request: u64,
    /// What is said; `None` for what this version does not know.
    pub body: Option<Body>,
}

/// What is said.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The initiator says who it is.
    Hello(Hello),
    /// The responder says who it is.
    HelloAck(Hello),
    /// How much room there is.
    Capacity(Room),
    /// Blobs to be held.
    Offload {
        /// The blobs come home.
        home: bool,
        /// The blobs.
        blobs: Vec<OfferedBlob>,
    },
    /// What became of them, in their order, and how much room is left.
    OffloadAck {
        /// One for each blob.
        verdicts: Vec<Verdict>,
        /// How much room is left.
        room: Room,
    },
    /// Asks for blobs that were moved.
    Recall(Vec<BlobName>),
    /// Those that were found, and those that are certainly not there.
    RecallAck {
        /// As many as fit.
        blobs: Vec<OfferedBlob>,
        /// Not there.
        missing: Vec<BlobName>,
    },
    /// Blobs that were acked or purged at their origin.
    Forget(Vec<BlobName>),
    /// Whether they are gone.
    ForgetAck(bool),
    /// The sender leaves: it takes nothing more, and will be away.
    Drain,
    /// Understood.
    DrainAck,
    /// Asks what is held for the sender.
    Inventory {
        /// Behind this name.
        after: Option<BlobName>,
        /// Whether the names are wanted, or only their number and sum.
        names: bool,
    },
    /// A part of it; `None` if nobody looked.
    InventoryAck(Option<Listing>),
}

impl Body {
    /// Whether this answers something.
    pub const fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::HelloAck(_)
                | Self::OffloadAck { .. }
                | Self::RecallAck { .. }
                | Self::ForgetAck(_)
                | Self::DrainAck
                | Self::InventoryAck(_)
        )
    }
}

/// Who a relay is, and the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Of what it speaks.
    pub version: u32,
    /// Who.
    pub identity: PeerId,
    /// Over the handshake.
    pub signature: Signature,
    /// A name for people, at most 64 characters.
    pub relay_id: String,
    /// Where it serves clients; may be empty.
    pub client_url: String,
    /// Messages a minute that it takes.
    pub messages_per_minute: u32,
    /// How much room it has.
    pub room: Room,
    /// Its clock, if it says.
    pub time: Option<UnixSeconds>,
    /// For how long it keeps mail, in seconds; 0 when it does not say.
    pub keeps_secs: u64,
    /// Whether it says what it holds when it is asked.
    pub lists: bool,
}

/// How much room a relay has for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// In bytes.
    pub free_bytes: u64,
    /// Whether it takes blobs at all.
    pub accepting: bool,
}

/// A blob as it is offered: with the checks of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedBlob {
    /// The blob.
    pub blob: CarriedBlob,
    /// SHA-256 of the ciphertext, as its sender computed it.
    pub content_hash: [u8; 32],
    /// How often it has moved, this time included.
    pub hops: Hops,
}

impl OfferedBlob {
    /// Offers a blob.
    pub fn new(blob: CarriedBlob, hops: Hops) -> Self {
        let content_hash = Sha256::digest(blob.ciphertext.as_bytes()).into();
        Self { blob, content_hash, hops }
    }

    /// The blob, if it arrived whole and is what it is named after.
    pub fn checked(self) -> Option<CarriedBlob> {
        let found: [u8; 32] = Sha256::digest(self.blob.ciphertext.as_bytes()).into();
        (found == self.content_hash && self.blob.is_sound()).then_some(self.blob)
    }
}

/// How often a blob has moved between relays. It moves once, so that it is always where its origin says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hops(u32);

impl Hops {
    /// Most moves.
    pub const LIMIT: u32 = 1;

    /// At its origin.
    pub const fn origin() -> Self {
        Self(0)
    }

    /// One move more, where one is allowed.
    pub const fn next(self) -> Option<Self> {
        if self.0 < Self::LIMIT { Some(Self(self.0 + 1)) } else { None }
    }

    /// What a peer says.
    pub const fn said(hops: u32) -> Self {
        Self(hops)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether a blob may have moved that often.
    pub const fn is_allowed(self) -> bool {
        self.0 <= Self::LIMIT
    }
}

impl Message {
    /// A question or an answer.
    pub const fn new(request: u64, body: Body) -> Self {
        Self { request, body: Some(body) }
    }

    /// Something nobody answers.
    pub const fn notice(body: Body) -> Self {
        Self { request: 0, body: Some(body) }
    }

    /// Writes it.
    pub fn encode(self) -> Vec<u8> {
        convert::encode(self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Malformed`] for what is not a message, or has a known body with a field that is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        convert::decode(bytes)
    }
}
