//! Mail between this relay and its peers: what they ask of this relay, and what it asks of them.

pub(crate) mod deletions;
pub(crate) mod inventory;
pub(crate) mod offload;
pub(crate) mod recall;
pub(crate) mod request_handler;
