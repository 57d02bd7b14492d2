//! The time that the store goes by, which is not always that of the machine.

pub(crate) mod memory;
pub(crate) mod trusted;
pub(crate) mod trusted_time;

pub(crate) use trusted::TrustedClock;
pub(crate) use trusted_time::{BEHIND, Memory, Times};
