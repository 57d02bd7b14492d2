//! The messages of `peer.proto`, written down a second time.

pub use prost::Message as Encoded;
use prost::{Enumeration, Message as Encoding, Oneof};

/// A message and its number.
#[derive(Clone, PartialEq, Encoding)]
pub struct Message {
    /// Chosen by whoever asks, repeated by whoever answers; 0 for a notice.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// What is said, if it is known.
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub body: Option<Body>,
}

impl Message {
    /// A message with a number.
    pub const fn new(request: u64, body: Body) -> Self {
        Self { request, body: Some(body) }
    }
}

/// What is said.
#[derive(Clone, PartialEq, Oneof)]
pub enum Body {
    /// The initiator says who it is.
    #[prost(message, tag = "2")]
    Hello(Hello),
    /// The responder does.
    #[prost(message, tag = "3")]
    HelloAck(Hello),
    /// How much room there is.
    #[prost(message, tag = "4")]
    Capacity(Capacity),
    /// Blobs to be held.
    #[prost(message, tag = "5")]
    Offload(Offload),
    /// What became of them.
    #[prost(message, tag = "6")]
    OffloadAck(OffloadAck),
    /// Asks for blobs back.
    #[prost(message, tag = "7")]
    Recall(Names),
    /// What there is of them.
    #[prost(message, tag = "8")]
    RecallAck(RecallAck),
    /// Blobs that are no longer wanted.
    #[prost(message, tag = "9")]
    Forget(Names),
    /// Whether they are gone.
    #[prost(message, tag = "10")]
    ForgetAck(ForgetAck),
    /// The sender leaves.
    #[prost(message, tag = "11")]
    Drain(Drain),
    /// Understood.
    #[prost(message, tag = "12")]
    DrainAck(Drain),
    /// Asks what is held for the sender.
    #[prost(message, tag = "13")]
    Inventory(Inventory),
    /// A part of it.
    #[prost(message, tag = "14")]
    InventoryAck(InventoryAck),
}

impl Body {
    /// Whether it answers a question.
    pub const fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::OffloadAck(_)
                | Self::RecallAck(_)
                | Self::ForgetAck(_)
                | Self::DrainAck(_)
                | Self::InventoryAck(_)
        )
    }

    /// Whether it asks for an answer.
    pub const fn is_question(&self) -> bool {
        matches!(
            self,
            Self::Offload(_) | Self::Recall(_) | Self::Forget(_) | Self::Drain(_) | Self::Inventory(_)
        )
    }
}

/// `Hello` and `HelloAck`, which have the same fields.
#[derive(Clone, PartialEq, Encoding)]
pub struct Hello {
    /// 1.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Ed25519 public key.
    #[prost(bytes = "vec", tag = "2")]
    pub identity: Vec<u8>,
    /// Ed25519 signature.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
    /// What the sender says of itself.
    #[prost(message, optional, tag = "4")]
    pub about: Option<About>,
}

/// What a relay says of itself.
#[derive(Clone, PartialEq, Encoding)]
pub struct About {
    /// A name for people.
    #[prost(string, tag = "1")]
    pub relay_id: String,
    /// Where it serves clients; may be empty.
    #[prost(string, tag = "2")]
    pub client_url: String,
    /// Messages a minute that it takes.
    #[prost(uint32, tag = "3")]
    pub messages_per_minute: u32,
    /// How much room it has.
    #[prost(message, optional, tag = "4")]
    pub capacity: Option<Capacity>,
    /// Seconds since 1970 by its clock; 0 where it does not say.
    #[prost(uint64, tag = "5")]
    pub unix_time: u64,
    /// For how long it keeps mail.
    #[prost(uint64, tag = "6")]
    pub keeps_secs: u64,
    /// Whether it answers an inventory.
    #[prost(bool, tag = "7")]
    pub lists: bool,
}

/// How much room there is.
#[derive(Clone, Copy, PartialEq, Eq, Encoding)]
pub struct Capacity {
    /// Bytes.
    #[prost(uint64, tag = "1")]
    pub free_bytes: u64,
    /// Whether it takes blobs at all.
    #[prost(bool, tag = "2")]
    pub accepting: bool,
}

/// A blob on its way.
#[derive(Clone, PartialEq, Eq, Encoding)]
pub struct Blob {
    /// Hash of the mailbox's token, 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub mailbox: Vec<u8>,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub blob_id: Vec<u8>,
    /// The content.
    #[prost(bytes = "vec", tag = "3")]
    pub ciphertext: Vec<u8>,
    /// A word of the sending client.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub origin_hint: Option<Vec<u8>>,
    /// Seconds since 1970.
    #[prost(uint64, tag = "5")]
    pub created_at: u64,
    /// Seconds since 1970.
    #[prost(uint64, tag = "6")]
    pub expires_at: u64,
    /// Names the owner of the mailbox, if one is known.
    #[prost(bytes = "vec", optional, tag = "7")]
    pub owner: Option<Vec<u8>>,
    /// SHA-256 of the ciphertext.
    #[prost(bytes = "vec", tag = "8")]
    pub content_hash: Vec<u8>,
    /// How often it has moved, this time included.
    #[prost(uint32, tag = "9")]
    pub hop_count: u32,
}

/// Which blob is meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Encoding)]
pub struct BlobName {
    /// Hash of the mailbox's token.
    #[prost(bytes = "vec", tag = "1")]
    pub mailbox: Vec<u8>,
    /// Its id.
    #[prost(bytes = "vec", tag = "2")]
    pub blob_id: Vec<u8>,
}

/// Blobs to be held.
#[derive(Clone, PartialEq, Encoding)]
pub struct Offload {
    /// The blobs.
    #[prost(message, repeated, tag = "1")]
    pub blobs: Vec<Blob>,
    /// They come home.
    #[prost(bool, tag = "2")]
    pub home: bool,
}

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Verdict {
    /// Nothing was said.
    Unspecified = 0,
    /// It is kept.
    Accepted = 1,
    /// It is not wanted.
    Refused = 2,
    /// Another time perhaps.
    NotNow = 3,
}

/// What became of the blobs of an offload.
#[derive(Clone, PartialEq, Encoding)]
pub struct OffloadAck {
    /// In the order of the offload; numbers, because a peer may say any.
    #[prost(enumeration = "Verdict", repeated, tag = "1")]
    pub verdicts: Vec<i32>,
    /// How much room is left.
    #[prost(message, optional, tag = "2")]
    pub capacity: Option<Capacity>,
}

/// `Recall` and `Forget`, which have the same field.
#[derive(Clone, PartialEq, Encoding)]
pub struct Names {
    /// The blobs that are meant.
    #[prost(message, repeated, tag = "1")]
    pub names: Vec<BlobName>,
}

/// What there is of the blobs of a recall.
#[derive(Clone, PartialEq, Encoding)]
pub struct RecallAck {
    /// Those that are there.
    #[prost(message, repeated, tag = "1")]
    pub blobs: Vec<Blob>,
    /// Those that are not.
    #[prost(message, repeated, tag = "2")]
    pub missing: Vec<BlobName>,
}

/// Whether the blobs of a forget are gone.
#[derive(Clone, Copy, PartialEq, Eq, Encoding)]
pub struct ForgetAck {
    /// They are.
    #[prost(bool, tag = "1")]
    pub done: bool,
}

/// `Drain` and `DrainAck`, which have no fields.
#[derive(Clone, Copy, PartialEq, Eq, Encoding)]
pub struct Drain {}

/// Asks what is held for the sender.
#[derive(Clone, PartialEq, Encoding)]
pub struct Inventory {
    /// Behind this name.
    #[prost(message, optional, tag = "1")]
    pub after: Option<BlobName>,
    /// Whether the names are wanted.
    #[prost(bool, tag = "2")]
    pub names: bool,
}

/// A part of what is held.
#[derive(Clone, PartialEq, Encoding)]
pub struct InventoryAck {
    /// Somebody looked.
    #[prost(bool, tag = "1")]
    pub looked: bool,
    /// How many there are.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// Exclusive or of their ids.
    #[prost(bytes = "vec", tag = "3")]
    pub ids: Vec<u8>,
    /// Which they are, if that was asked.
    #[prost(message, repeated, tag = "4")]
    pub blobs: Vec<HeldBlob>,
    /// Where the part ends.
    #[prost(message, optional, tag = "5")]
    pub until: Option<BlobName>,
}

/// A blob that is held.
#[derive(Clone, PartialEq, Eq, Encoding)]
pub struct HeldBlob {
    /// Hash of the mailbox's token.
    #[prost(bytes = "vec", tag = "1")]
    pub mailbox: Vec<u8>,
    /// Its id.
    #[prost(bytes = "vec", tag = "2")]
    pub blob_id: Vec<u8>,
    /// Bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// Seconds since 1970.
    #[prost(uint64, tag = "4")]
    pub created_at: u64,
    /// Seconds since 1970.
    #[prost(uint64, tag = "5")]
    pub expires_at: u64,
}
