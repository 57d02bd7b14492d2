//! Blobs that move between relays: those of this relay that peers hold, and those that it holds for them.

pub(crate) mod claims;
pub(crate) mod foreign_blobs;
pub(crate) mod inventory;
pub(crate) mod leases;
pub(crate) mod offer_cursor;
pub(crate) mod offers;
pub(crate) mod outbox;
pub(crate) mod peers;
pub(crate) mod remote_blobs;
pub(crate) mod remote_page;
mod returns;
pub(crate) mod rows;
pub(crate) mod tombstones;
pub(crate) mod transitions;
