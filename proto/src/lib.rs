//! What the relay's processes must agree on.
//!
//! `proto` owns the messages between `gateway`, `federated`, the `relay` command and `storaged`, the
//! identifiers they carry, the one place where bytes from the wire become those identifiers, and the
//! Unix sockets they travel over. It never sees HTTP, SQL or a client's address.
//!
//! The generated protobuf types stay inside this crate. Callers use [`client`], servers implement the
//! handler traits of [`server`], and both speak the domain types below.

pub mod admin;
pub mod anchor;
mod bounds;
pub mod caller;
pub mod client;
mod codec;
mod convert;
mod door;
pub mod escrow;
pub mod exchange;
mod exchange_code;
pub mod federation;
pub mod guardian;
pub mod identifier;
pub mod inventory;
pub mod key_record;
pub mod keys;
pub mod limits;
pub mod mail;
pub mod opaque;
pub mod page;
pub mod peer;
pub mod policy;
pub mod recovery;
mod refusal;
pub mod server;
pub mod socket;
mod status;
pub mod telemetry;
pub mod time;

pub use door::Malformed;
pub use exchange_code::ExchangeCode;
pub use identifier::{
    AddressHash, AddressKey, BlobId, Commitment, GateHash, GateName, GuardianHash, GuardianName, MailboxHash,
    MailboxToken, NoiseKey, NoiseSecret, OfferName, OwnerHash, PeerId, PeerSeed, PublicKey, PurgeToken,
    RecoveryKeyHash, RecoveryName, RequestId, Signature, SlotHash, SlotName, TokensDigest, WindowSeed,
};
pub use opaque::{Ciphertext, EscrowBlob, ExchangeText, GuardianEntry, OriginHint, RecoveryProof};
pub use refusal::Refusal;
pub use time::{Ttl, UnixSeconds};

/// Messages as `protox` and `tonic` generate them. Nothing outside this crate names them.
mod wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated"
    )]
    tonic::include_proto!("relay.storage.v1");
}

/// The same for what relays say to one another.
mod peer_wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("relay.federation.v1");
}
