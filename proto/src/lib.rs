//! What the relay's processes must agree on.
//!
//! `proto` owns the messages between `gateway`, `federated`, the `relay` command and `storaged`, the
//! identifiers they carry, the one place where bytes from the wire become those identifiers, and the
//! Unix sockets they travel over. It never sees HTTP, SQL or a client's address.
//!
//! Both sides speak the generated [`messages`]. Whoever gets one reads its fields with [`field`], in the first lines of the
//! function that takes it.

pub mod client;
pub mod identifier;
pub mod keys;
pub mod limits;
pub mod peer;
pub mod server;
pub mod socket;
mod storage;
pub mod time;
mod wire;

pub use identifier::{
    AddressHash, AddressKey, BlobId, Commitment, ExchangeCode, GateHash, GateName, GuardianHash,
    GuardianName, MailboxHash, MailboxToken, Malformed, NoiseKey, NoiseSecret, OfferName, OwnerHash, PeerId,
    PeerSeed, PublicKey, PurgeToken, RecoveryKeyHash, RecoveryName, RequestId, Signature, SlotHash, SlotName,
    TokensDigest, WindowSeed, opaque,
};
pub use keys::{anchor, key_record, signed_bytes};
pub use opaque::{Ciphertext, EscrowBlob, ExchangeText, GuardianEntry, OriginHint, RecoveryProof};
pub use storage::{admin, caller, guardian, mail, page, telemetry, transfer};
pub use time::{Ttl, UnixSeconds};
pub use wire::{StorageError, field, refusal_of};
pub(crate) use wire::{bounds, codec};

/// Messages between the processes, as `protox` and `tonic` generate them from `relay/storage/v1`: both sides speak them as
/// they are. `Debug` of one shows its name and nothing that is in it.
pub mod messages {
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

/// The same for what relays say to one another, from `relay/federation/v1`.
pub mod peer_messages {
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
