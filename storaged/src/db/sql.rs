//! Numbers between Rust, which counts from zero, and SQLite, which has signed integers only.

use relay_proto::UnixSeconds;

/// A moment as SQLite keeps it. The far end of time is the end SQLite knows.
pub(crate) fn moment(time: UnixSeconds) -> i64 {
    count(time.get())
}

/// A moment from SQLite.
pub(crate) fn time(seconds: i64) -> UnixSeconds {
    UnixSeconds::new(seconds.max(0).unsigned_abs())
}

/// A count as SQLite keeps it.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
