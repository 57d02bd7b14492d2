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

/// Shortest and longest life of an exchange offer, in seconds.
pub const EXCHANGE_TTL_SECS: std::ops::RangeInclusive<u64> = 30..=3600;

/// Longest life of an escrow gate, in seconds (a week).
pub const MAX_ESCROW_TTL_SECS: u32 = 604_800;

/// How long storage lets a guess at an exchange code wait while wrong ones have spent their budget. Gateways wait
/// that much longer for it.
pub const GUESS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
