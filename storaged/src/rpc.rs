//! What storage serves: one file a service. Handlers decide; the store does.

pub(crate) mod admin;
pub(crate) mod admission;
pub(crate) mod backup;
pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod guardian;
pub(crate) mod keys;
pub(crate) mod mailbox;
pub(crate) mod offload;
pub(crate) mod recovery;
pub(crate) mod telemetry;
pub(crate) mod usage;
