//! What operators and peers may know of the store: how full it is, who runs, how old its keys are.

use crate::UnixSeconds;
use crate::telemetry::Process;

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes in use.
    pub live_bytes: u64,
    /// Bytes that may be in use.
    pub ceiling_bytes: u64,
    /// Whether what is stored outlives the process.
    pub durable: bool,
}

/// What an operator is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Everybody who is running, storage first.
    pub processes: Vec<Process>,
    /// How full the store is.
    pub capacity: Capacity,
    /// Blobs stored.
    pub blobs: u64,
    /// Mailboxes registered.
    pub registrations: u64,
    /// Of the database.
    pub schema_version: u32,
    /// Of the bundled library.
    pub sqlite_version: String,
    /// Whether expiry waits for an operator, because the clock looks wrong.
    pub sweep_suspended: bool,
    /// Keys that the relay holds, by name and age.
    pub keys: Vec<Key>,
}

/// A key that the relay holds; never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub since: UnixSeconds,
}
