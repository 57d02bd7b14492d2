//! How far a peer's clock is from this relay's. What one relay stores, the other lets go of by its own clock, so mail moves
//! between clocks that agree only.

use relay_daemon::Clock;
use relay_proto::UnixSeconds;
use std::time::Duration;

/// How far this relay's clock may move against its uptime before peers are told the time anew, in seconds.
const STEP: u64 = 30;

/// What a peer said of its clock in its greeting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerClock {
    said: UnixSeconds,
    at: Duration,
}

impl PeerClock {
    /// It is said now.
    pub(crate) fn said_now(said: UnixSeconds, clock: &Clock) -> Self {
        Self { said, at: clock.monotonic() }
    }

    /// How far it is ahead of this relay's, in seconds. Follows this relay's clock when that is set.
    pub(crate) fn ahead(self, clock: &Clock) -> i64 {
        let theirs = self.said.plus(clock.monotonic().saturating_sub(self.at).as_secs());
        difference(theirs, clock.now())
    }
}

/// Notices when this relay's own clock is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnClock {
    wall: UnixSeconds,
    at: Duration,
}

impl OwnClock {
    /// As it is now.
    pub(crate) fn read(clock: &Clock) -> Self {
        Self { wall: clock.now(), at: clock.monotonic() }
    }

    /// Whether it was set since.
    pub(crate) fn was_set(self, clock: &Clock) -> bool {
        let expected = self.wall.plus(clock.monotonic().saturating_sub(self.at).as_secs());
        expected.distance(clock.now()) > STEP
    }
}

fn difference(one: UnixSeconds, other: UnixSeconds) -> i64 {
    let apart = i64::try_from(one.distance(other)).unwrap_or(i64::MAX);
    if one >= other { apart } else { -apart }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_difference_stays_while_both_clocks_run_and_follows_when_this_one_is_set() {
        let manual = ManualClock::at(NOW);
        let clock = manual.clock();
        let theirs = PeerClock::said_now(NOW.plus(100), &clock);
        assert_eq!(theirs.ahead(&clock), 100);
        manual.advance(HOUR);
        assert_eq!(theirs.ahead(&clock), 100);
        manual.jump_to(NOW.plus(3600 + 1000));
        assert_eq!(theirs.ahead(&clock), -900);
        manual.jump_to(UnixSeconds::new(u64::MAX));
        assert!(theirs.ahead(&clock) < 0);
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_runs_is_not() {
        let manual = ManualClock::at(NOW);
        let clock = manual.clock();
        let own = OwnClock::read(&clock);
        manual.advance(50 * HOUR);
        assert!(!own.was_set(&clock));
        for moved in [NOW.plus(50 * 3600 + 31), NOW.plus(50 * 3600 - 31), UnixSeconds::new(0)] {
            manual.jump_to(moved);
            assert!(own.was_set(&clock));
        }
    }
}
