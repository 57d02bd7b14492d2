//! What makes a request count once: signatures, single-use values, answers that are remembered, and names of what was
//! deleted.

pub(crate) mod ack_tombstones;
pub(crate) mod idempotency;
pub(crate) mod nonces;
pub(crate) mod replays;
pub(crate) mod signatures;
