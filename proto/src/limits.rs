//! Bounds that more than one process must agree on.

/// Most mailbox tokens in one fetch or register.
pub const MAX_MAILBOXES: usize = 1900;

/// Most commands in one write message.
pub const MAX_WRITE_COMMANDS: usize = 128;

/// Ciphertext bytes after which a gateway closes a write message. A single larger blob goes alone.
pub const MAX_WRITE_BYTES: usize = 4 << 20;

/// Largest value of `RELAY_MAX_MESSAGE_SIZE`, in bytes.
pub const MAX_BLOB_BYTES: usize = 16 << 20;

/// Largest gRPC message, in bytes: a full write message, or the largest blob, and its framing.
pub const MAX_GRPC_MESSAGE: usize = MAX_WRITE_BYTES + MAX_BLOB_BYTES + (1 << 20);

/// How far a signed timestamp may be from the relay's clock, in seconds, both ways.
pub const SIGNATURE_WINDOW_SECS: u64 = 60;

/// Most recovery keys in one query.
pub const MAX_RECOVERY_KEYS: usize = 50;

/// Most entries of a guardian set.
pub const MAX_GUARDIANS: usize = 10;

/// How many times the policy's `oblivious_rate` gateways allow a named relay that do not read its `named_relay_rate`, and
/// how many times storage means that does not set one.
pub const OLD_RELAY_SHARE: u32 = 10;

/// Shortest and longest life of an exchange offer, in seconds.
pub const EXCHANGE_TTL_SECS: std::ops::RangeInclusive<u64> = 30..=3600;

/// Slots behind an escrow gate.
pub const ESCROW_SLOTS: u32 = 2;

/// Longest life of an escrow gate, in seconds (a week).
pub const MAX_ESCROW_TTL_SECS: u32 = 604_800;

/// How long storage lets a guess at an exchange code wait while wrong ones have spent their budget. Gateways wait
/// that much longer for it.
pub const GUESS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Most blobs in one message between relays, and in one lease.
pub const MAX_CARRIED_BLOBS: usize = 128;

/// Up to how many blobs are counted that last longer than peers keep mail.
pub const MAX_OUTLASTING: u64 = 1000;

/// Most blobs that one message between relays lists.
pub const MAX_LISTED_BLOBS: usize = 1000;

/// Bytes of ciphertext after which a message between relays takes no further blob. A single larger one goes alone.
pub const MAX_CARRIED_BYTES: usize = 4 << 20;

/// Largest message between relays, in bytes: the largest blob, or the rest of a full message, and what frames it.
pub const MAX_PEER_MESSAGE: usize = 20 << 20;

/// Most moved blobs that one fetch brings back or hints at.
pub const MAX_MOVED_BLOBS: usize = 64;

/// Most forwarding hints in one answer.
pub const MAX_HINTS: usize = 32;

/// How far the clocks of two relays may be apart for mail to move between them, in seconds: what one stores, the other
/// lets go of by its own clock.
pub const MAX_CLOCKS_APART_SECS: u64 = 300;

/// Longest URL that a peer may announce for clients, in bytes.
pub const MAX_CLIENT_URL: usize = 200;

/// Bytes of the address at which a peer is dialled, at most.
pub const MAX_PEER_URL: usize = 2048;

/// Addresses of peers that are pinned, at most.
pub const MAX_PINS: u64 = 1024;
