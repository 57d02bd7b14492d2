//! Where a blob lies in its table: by the hour of its expiry, then by the number of its arrival.
//!
//! The oldest mail is then the first in the table, a sweep reads no index, and acking a blob has one index
//! less to tidy up.

use relay_proto::UnixSeconds;

/// Bits of the arrival's number: a trillion blobs.
const ARRIVAL_BITS: u32 = 40;
/// The arrival's number in a row's key.
pub(crate) const ARRIVALS: i64 = (1 << ARRIVAL_BITS) - 1;
const HOUR: u64 = 3600;
/// Hours that fit above the arrival's number in a positive integer; they last for a thousand years.
const LAST_HOUR: u64 = (1 << (63 - ARRIVAL_BITS)) - 1;

/// A row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(i64);

impl Position {
    /// The place of a blob that expires at a full hour and is the so-many-th to arrive.
    pub(crate) fn new(expires: UnixSeconds, arrival: u64) -> Self {
        let hour = (expires.get() / HOUR).min(LAST_HOUR);
        let key = (hour << ARRIVAL_BITS) | (arrival & ((1 << ARRIVAL_BITS) - 1));
        Self(i64::try_from(key).unwrap_or(i64::MAX))
    }

    /// What is read from a row.
    pub(crate) const fn from_sql(key: i64) -> Self {
        Self(key)
    }

    /// What is written to a row.
    pub(crate) const fn sql(self) -> i64 {
        self.0
    }

    /// When the blob expires.
    pub(crate) fn expires(self) -> UnixSeconds {
        UnixSeconds::new((self.0.max(0).unsigned_abs() >> ARRIVAL_BITS) * HOUR)
    }

    /// The number of the arrival, as SQLite has it.
    pub(crate) const fn arrival(self) -> i64 {
        self.0 & ARRIVALS
    }

    /// The first place of blobs that have not expired: all before it have.
    pub(crate) fn first_alive(now: UnixSeconds) -> Self {
        Self::new(now.hour_floor().plus(HOUR), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_keep_the_order_of_expiry_and_of_arrival(
            hours in prop::array::uniform2(0..LAST_HOUR), arrivals in prop::array::uniform2(0..1_u64 << 40),
        ) {
            let [a, b] = [0, 1].map(|n| Position::new(UnixSeconds::new(hours[n] * HOUR), arrivals[n]));
            prop_assert_eq!(a.cmp(&b), (hours[0], arrivals[0]).cmp(&(hours[1], arrivals[1])));
            prop_assert_eq!(a.expires().get(), hours[0] * HOUR);
            prop_assert_eq!(Position::from_sql(a.sql()), a);
            prop_assert_eq!(a.arrival().unsigned_abs(), arrivals[0]);
        }

        #[test]
        fn exactly_what_has_expired_lies_before_the_living(hour in 0..LAST_HOUR, now in 0..LAST_HOUR * HOUR, arrival in 0..1_u64 << 40) {
            let expires = UnixSeconds::new(hour * HOUR);
            let now = UnixSeconds::new(now);
            let dead = Position::new(expires, arrival) < Position::first_alive(now);
            prop_assert_eq!(dead, expires <= now);
        }
    }

    #[test]
    fn a_clock_at_the_end_of_time_still_gives_a_place() {
        assert!(Position::new(UnixSeconds::new(u64::MAX), u64::MAX).sql() > 0);
    }
}
