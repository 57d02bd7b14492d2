//! Wall-clock time as the relay keeps it: whole seconds, and at rest whole hours.

use std::time::Duration;

const HOUR: u64 = 3600;

/// Seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixSeconds(u64);

impl UnixSeconds {
    /// A moment, by its seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The seconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The start of this moment's hour. What rests on disk shows no more than that.
    pub const fn hour_floor(self) -> Self {
        Self(self.0 - self.0 % HOUR)
    }

    /// The first full hour at or after this moment.
    pub const fn hour_ceil(self) -> Self {
        Self(self.0.saturating_add(HOUR - 1)).hour_floor()
    }

    /// This moment and some seconds, or the end of time.
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This moment less some seconds, or the beginning of time.
    pub const fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds between two moments, whichever is first.
    pub const fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(Duration);

impl Ttl {
    /// A time to live of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Its length in seconds.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// When something that arrives now may go: the first full hour at which the whole time has passed.
    /// Rounding up keeps the promise, and an expiry on disk tells the hour of arrival and no more.
    pub const fn expiry(self, now: UnixSeconds) -> UnixSeconds {
        now.plus(self.as_secs()).hour_ceil()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_expires_before_its_time_or_an_hour_late(now in 0..u64::MAX / 4, ttl in 0..u64::MAX / 4) {
            let expiry = Ttl::from_secs(ttl).expiry(UnixSeconds::new(now)).get();
            prop_assert!(expiry >= now + ttl);
            prop_assert!(expiry < now + ttl + HOUR);
            prop_assert_eq!(expiry % HOUR, 0);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        assert_eq!(UnixSeconds::new(u64::MAX).plus(5).get(), u64::MAX);
        assert_eq!(UnixSeconds::new(3).minus(5).get(), 0);
        assert!(UnixSeconds::new(u64::MAX).hour_ceil().get() > u64::MAX - HOUR);
    }
}
