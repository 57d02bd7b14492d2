//! Token buckets in a table of fixed size, for any number of keys.
//!
//! A bucket is one number, the moment at which it will be full again (GCRA's theoretical arrival time). A
//! take moves that moment forward by one interval, and is refused while it lies further ahead than the
//! whole bucket is worth. A bucket whose moment has passed is full: nothing distinguishes it from one that
//! never was, so its place may go to another key.
//!
//! A key has a set of eight places. A key that finds no place of its own takes the one with the earliest
//! moment, and starts from that moment if it still lies ahead. So eviction never refills a bucket:
//!
//! > *Whatever key `k` was evicted, every moment in its set is at or after `k`'s own, or `k`'s own has passed.*
//!
//! When `k` is evicted its moment is the earliest of the set, and the newcomer starts from it. Moments only
//! move forward, except where one that has passed gives way to "now", which is later still. So when `k`
//! comes back it starts no earlier than where it left: crowding can make a stranger wait, but it earns nobody
//! a request. Keys are told apart by 64 bits under a random key of the process; no key rests in the table.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Places a key may take.
const WAYS: usize = 8;

const NANOS_PER_MINUTE: u64 = 60_000_000_000;

/// How much a bucket allows. A full one holds what comes back in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that `units` cost.
    nanos: u64,
    units: u64,
    /// Nanoseconds that a full bucket is worth.
    depth: u64,
}

impl Rate {
    /// So many takes a minute; none means one, for a bucket that never opens is not a limit.
    pub const fn per_minute(takes: u32) -> Self {
        let takes = if takes == 0 { 1 } else { takes as u64 };
        let interval = NANOS_PER_MINUTE.div_ceil(takes);
        Self { nanos: interval, units: 1, depth: interval * takes }
    }

    /// So many units in a period; none means one.
    pub fn per(units: u64, period: Duration) -> Self {
        let period = nanos(period);
        Self { nanos: period, units: units.max(1), depth: period }
    }

    /// The same bucket, filled so many times as fast.
    #[must_use]
    pub const fn times(self, factor: u32) -> Self {
        Self { units: self.units.saturating_mul(if factor == 0 { 1 } else { factor as u64 }), ..self }
    }

    /// The same, with only the upper half of the bucket to take from, or one unit where that is more.
    #[must_use]
    pub fn upper_half(self) -> Self {
        Self { depth: (self.depth / 2).max(self.cost(1)), ..self }
    }

    /// Nanoseconds that so many units cost.
    fn cost(self, units: u64) -> u64 {
        let cost = (u128::from(units) * u128::from(self.nanos)).div_ceil(u128::from(self.units));
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}

/// A place for one key.
#[derive(Debug, Clone, Copy, Default)]
struct BucketSlot {
    fingerprint: u64,
    /// When this key's bucket is full again, in nanoseconds of the caller's clock.
    full_at: u64,
}

type Set = [BucketSlot; WAYS];

/// Token buckets by key, in a table that never grows.
#[derive(Debug)]
pub struct BucketTable {
    sets: Box<[Set]>,
    hasher: RandomState,
}

impl BucketTable {
    /// A table of at least so many places (16 bytes each).
    pub fn new(places: usize) -> Self {
        let sets = places.div_ceil(WAYS).next_power_of_two();
        Self { sets: vec![Set::default(); sets].into(), hasher: RandomState::new() }
    }

    /// Takes one token from a key's bucket.
    ///
    /// # Errors
    /// How long to wait for the next token, never zero. A refused take costs nothing.
    pub fn take(&mut self, key: &[u8], rate: Rate, now: Duration) -> Result<(), Duration> {
        self.take_units(key, 1, rate, now)
    }

    /// Takes so many units from a key's bucket, all or none. More than the whole bucket holds are never to be had.
    ///
    /// # Errors
    /// As [`BucketTable::take`].
    pub fn take_units(&mut self, key: &[u8], units: u64, rate: Rate, now: Duration) -> Result<(), Duration> {
        let (set, fingerprint) = self.locate(key);
        let now = nanos(now);
        let place = place_of(&self.sets[set], fingerprint);
        let full_at = after_take(self.sets[set][place].full_at, units, rate, now)?;
        self.sets[set][place] = BucketSlot { fingerprint, full_at };
        Ok(())
    }

    /// Gives a key back what it took. For tables in which keys have places of their own: what it took may have gone over
    /// to whoever took its place.
    pub fn give_back(&mut self, key: &[u8], units: u64, rate: Rate) {
        let (set, fingerprint) = self.locate(key);
        let place = self.sets[set].iter_mut().find(|place| place.fingerprint == fingerprint);
        if let Some(place) = place {
            place.full_at = place.full_at.saturating_sub(rate.cost(units));
        }
    }

    /// Whether a take would pass, without taking.
    ///
    /// # Errors
    /// How long to wait for the next token, never zero.
    pub fn peek(&self, key: &[u8], rate: Rate, now: Duration) -> Result<(), Duration> {
        self.peek_units(key, 1, rate, now)
    }

    /// Whether so many units could be taken, without taking.
    ///
    /// # Errors
    /// As [`BucketTable::peek`].
    pub fn peek_units(&self, key: &[u8], units: u64, rate: Rate, now: Duration) -> Result<(), Duration> {
        let (set, fingerprint) = self.locate(key);
        let place = place_of(&self.sets[set], fingerprint);
        after_take(self.sets[set][place].full_at, units, rate, nanos(now)).map(drop)
    }

    /// Moves the moment of a key forward, for tables that remember somebody else's refusals instead of
    /// counting takes. Where every place holds a later moment, nothing is remembered.
    pub fn defer(&mut self, key: &[u8], until: Duration) {
        let (set, fingerprint) = self.locate(key);
        let place = place_of(&self.sets[set], fingerprint);
        let known = &mut self.sets[set][place];
        if known.full_at < nanos(until) {
            *known = BucketSlot { fingerprint, full_at: nanos(until) };
        }
    }

    /// How long a key is still deferred; `None` when it is not, or is not remembered.
    pub fn deferred(&self, key: &[u8], now: Duration) -> Option<Duration> {
        let (set, fingerprint) = self.locate(key);
        let place = self.sets[set].iter().find(|place| place.fingerprint == fingerprint)?;
        place.full_at.checked_sub(nanos(now)).filter(|wait| *wait > 0).map(Duration::from_nanos)
    }

    /// How many keys have a bucket that is not full, counted up to `most`.
    pub fn busy(&self, most: usize, now: Duration) -> usize {
        let now = nanos(now);
        self.sets.iter().flatten().filter(|place| place.full_at > now).take(most).count()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do to choose a set")]
    fn locate(&self, key: &[u8]) -> (usize, u64) {
        let fingerprint = self.hasher.hash_one(key);
        (fingerprint as usize & (self.sets.len() - 1), fingerprint)
    }
}

/// A key's own place, or the one that it may take over: the one with the earliest moment.
fn place_of(set: &Set, fingerprint: u64) -> usize {
    let mut earliest = 0;
    for (index, place) in set.iter().enumerate() {
        if place.fingerprint == fingerprint {
            return index;
        }
        if place.full_at < set[earliest].full_at {
            earliest = index;
        }
    }
    earliest
}

/// The moment of a bucket after so many units more were taken.
fn after_take(full_at: u64, units: u64, rate: Rate, now: u64) -> Result<u64, Duration> {
    let full_at = full_at.max(now).saturating_add(rate.cost(units));
    match full_at - now {
        ahead if ahead <= rate.depth => Ok(full_at),
        ahead => Err(Duration::from_nanos(ahead - rate.depth)),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn a_bucket_holds_one_minutes_worth_and_fills_steadily() {
        for takes in [1, 7, 30, 60, 600, 6001] {
            let rate = Rate::per_minute(takes);
            let mut table = BucketTable::new(8);
            let passed = (0..2 * takes).filter(|_| table.take(b"key", rate, START).is_ok()).count();
            assert_eq!(passed, takes as usize);
            let later = START + Duration::from_secs(60);
            let passed = (0..2 * takes).filter(|_| table.take(b"key", rate, later).is_ok()).count();
            assert!(passed == takes as usize || passed + 1 == takes as usize, "{passed} of {takes}");
        }
    }

    #[test]
    fn the_wait_told_is_the_wait_needed() {
        let rate = Rate::per_minute(30);
        let mut table = BucketTable::new(8);
        while table.take(b"key", rate, START).is_ok() {}
        let wait = table.take(b"key", rate, START).unwrap_err();
        assert_eq!(table.peek(b"key", rate, START), Err(wait));
        assert_eq!(wait, Duration::from_secs(2));
        assert!(table.take(b"key", rate, START + wait - Duration::from_nanos(1)).is_err());
        assert!(table.take(b"key", rate, START + wait).is_ok());
    }

    #[test]
    fn the_highest_rate_is_still_a_rate() {
        let mut table = BucketTable::new(8);
        assert!(table.take(b"key", Rate::per_minute(u32::MAX), START).is_ok());
        assert!(table.take(b"key", Rate::per_minute(0), START).is_err());
    }

    #[test]
    fn units_are_taken_all_or_none_and_given_back() {
        let hour = Duration::from_secs(3600);
        let rate = Rate::per(2000, hour);
        let mut table = BucketTable::new(8);
        assert_eq!(table.take_units(b"key", 1900, rate, START), Ok(()));
        assert_eq!(table.peek_units(b"key", 100, rate, START), Ok(()));
        let wait = table.take_units(b"key", 200, rate, START).unwrap_err();
        assert_eq!(wait, hour / 20);
        assert_eq!(table.take_units(b"key", 100, rate, START), Ok(()), "a refused take costs nothing");
        assert!(table.take(b"key", rate, START).is_err());
        table.give_back(b"key", 50, rate);
        table.give_back(b"other", 1000, rate);
        assert_eq!(table.take_units(b"key", 50, rate, START), Ok(()));
        assert!(table.take(b"key", rate, START).is_err());
        table.give_back(b"key", u64::MAX, rate);
        assert!(table.take_units(b"key", 2001, rate, START).is_err(), "never more than a whole bucket");
        assert_eq!(table.take_units(b"key", 2000, rate, START), Ok(()));
    }

    #[test]
    fn bytes_by_the_tebibyte_are_counted_exactly_enough() {
        let rate = Rate::per(1 << 40, Duration::from_secs(3600));
        let mut table = BucketTable::new(8);
        let taken = (0..2048).filter(|_| table.take_units(b"key", 1 << 30, rate, START).is_ok()).count();
        assert_eq!(taken, 1024);
    }

    #[test]
    fn a_faster_rate_and_half_a_bucket_are_what_they_say() {
        let count = |rate: Rate| {
            let mut table = BucketTable::new(8);
            (0..1000).filter(|_| table.take(b"key", rate, START).is_ok()).count()
        };
        assert_eq!(count(Rate::per_minute(6).times(10)), 60);
        assert_eq!(count(Rate::per_minute(10).upper_half()), 5);
        assert_eq!(count(Rate::per_minute(1).upper_half()), 1);
    }

    #[test]
    fn a_deferred_key_is_free_again_in_time() {
        let mut table = BucketTable::new(8);
        assert_eq!(table.deferred(b"key", START), None);
        table.defer(b"key", START + Duration::from_secs(3));
        table.defer(b"key", START + Duration::from_secs(1));
        assert_eq!(table.deferred(b"key", START), Some(Duration::from_secs(3)));
        assert_eq!(table.deferred(b"other", START), None);
        assert_eq!(table.deferred(b"key", START + Duration::from_secs(3)), None);
    }

    #[derive(Debug, Clone)]
    struct Step {
        key: u8,
        pause_millis: u64,
    }

    fn steps(keys: u8) -> impl Strategy<Value = Vec<Step>> {
        let step = (0..keys, prop_oneof![4 => Just(0_u64), 1 => 0..30_000_u64])
            .prop_map(|(key, pause_millis)| Step { key, pause_millis });
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        /// The model forgets nothing and counts what the table let through.
        #[test]
        fn a_crowded_table_never_lets_through_more_than_one_that_forgets_nothing(steps in steps(40), takes in 1_u32..8) {
            let rate = Rate::per_minute(takes);
            let mut table = BucketTable::new(8);
            let mut model: HashMap<u8, u64> = HashMap::new();
            let mut now = START;
            for Step { key, pause_millis } in steps {
                now += Duration::from_millis(pause_millis);
                let known = model.entry(key).or_default();
                let expected = after_take(*known, 1, rate, nanos(now));
                if table.take(&[key], rate, now).is_ok() {
                    prop_assert!(expected.is_ok(), "eviction refilled a bucket");
                    *known = expected.unwrap();
                }
            }
        }

        #[test]
        fn a_table_with_room_behaves_as_one_that_forgets_nothing(steps in steps(8), takes in 1_u32..8) {
            let rate = Rate::per_minute(takes);
            let mut table = BucketTable::new(8);
            let mut model: HashMap<u8, u64> = HashMap::new();
            let mut now = START;
            for Step { key, pause_millis } in steps {
                now += Duration::from_millis(pause_millis);
                let known = model.entry(key).or_default();
                let expected = after_take(*known, 1, rate, nanos(now));
                prop_assert_eq!(table.take(&[key], rate, now), expected.map(drop));
                *known = expected.unwrap_or(*known);
            }
        }
    }
}
