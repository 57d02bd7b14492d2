//! How commands show what they have to say: lines, JSON, numbers, times, and the progress of what takes long.

pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod time;
pub(crate) mod units;
