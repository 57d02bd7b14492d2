//! What is done without being asked: deleting what has expired, and what an operator deletes by kind.

pub(crate) mod future_tombstones;
mod rows;
pub(crate) mod sweep;
pub(crate) mod usage;
