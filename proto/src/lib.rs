//! What the relay's processes must agree on.
//!
//! `proto` owns the messages between `gateway`, `federated`, the `relay` command and `storaged`, the
//! identifiers they carry, the one place where bytes from the wire become those identifiers, and the
//! Unix sockets they travel over. It never sees HTTP, SQL or a client's address.
//!
//! Both sides speak the generated [`messages`]. Whoever gets one reads its fields with [`field`], in the first lines of the
//! function that takes it.

pub mod admin;
pub mod anchor;
mod bounds;
pub mod caller;
pub mod client;
mod codec;
mod encoding;
mod exchange_code;
pub mod field;
pub mod guardian;
pub mod identifier;
pub mod key_record;
pub mod keys;
pub mod limits;
pub mod mail;
pub mod opaque;
pub mod page;
pub mod peer;
pub mod server;
pub mod signed_bytes;
pub mod socket;
mod status;
mod storage_error;
pub mod telemetry;
pub mod time;
pub mod transfer;

pub use encoding::Malformed;
pub use exchange_code::ExchangeCode;
pub use identifier::{
    AddressHash, AddressKey, BlobId, Commitment, GateHash, GateName, GuardianHash, GuardianName, MailboxHash,
    MailboxToken, NoiseKey, NoiseSecret, OfferName, OwnerHash, PeerId, PeerSeed, PublicKey, PurgeToken,
    RecoveryKeyHash, RecoveryName, RequestId, Signature, SlotHash, SlotName, TokensDigest, WindowSeed,
};
pub use opaque::{Ciphertext, EscrowBlob, ExchangeText, GuardianEntry, OriginHint, RecoveryProof};
pub use status::refusal_of;
pub use storage_error::StorageError;
pub use time::{Ttl, UnixSeconds};

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
