//! Commands for a running relay, over the operator's socket: what it is doing, and what it should do.

pub(crate) mod clock;
pub(crate) mod drain;
pub(crate) mod evict;
pub(crate) mod federation_summary;
pub(crate) mod invite;
pub(crate) mod keys;
pub(crate) mod peers;
pub(crate) mod status;
pub(crate) mod usage;
