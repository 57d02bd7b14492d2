//! How work that is in no hurry leaves the machine to work that is.

use std::thread;
use std::time::{Duration, Instant};

/// The longest rest. What took so long was mostly waiting, for a disk or for whoever takes the pieces, and that is no
/// work: resting for all of it would look like silence to the other side.
const LONGEST: Duration = Duration::from_secs(1);

/// Long work on one thread, in small pieces with rests between them.
#[derive(Debug)]
pub struct Throttle {
    /// Rest for each moment of work.
    rest: u32,
    since: Instant,
}

impl Throttle {
    /// Work that somebody waits for: it never rests.
    pub fn hurried() -> Self {
        Self { rest: 0, since: Instant::now() }
    }

    /// Work beside a relay that serves: it takes a sixth of the time of one processor.
    pub fn gentle() -> Self {
        Self { rest: 5, since: Instant::now() }
    }

    /// Is called after each piece of work, a few milliseconds long at best: sleeps for as long as that one is worth.
    #[expect(clippy::disallowed_methods, reason = "there is nothing to wait for but time")]
    pub fn rest(&mut self) {
        let rest = self.due();
        if !rest.is_zero() {
            thread::sleep(rest);
        }
        self.since = Instant::now();
    }

    /// The rest that is due for the work since the last one, for who has something else to do meanwhile.
    pub fn due(&self) -> Duration {
        self.worth(self.since.elapsed())
    }

    fn worth(&self, worked: Duration) -> Duration {
        worked.saturating_mul(self.rest).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_no_hurry_rests_longer_than_it_works() {
        let worked = Duration::from_millis(3);
        assert_eq!(Throttle::gentle().worth(worked), Duration::from_millis(15));
        assert_eq!(Throttle::hurried().worth(worked), Duration::ZERO);
    }

    #[test]
    fn whoever_waited_for_a_minute_does_not_rest_for_five() {
        assert_eq!(Throttle::gentle().worth(Duration::from_secs(60)), LONGEST);
        assert_eq!(Throttle::gentle().worth(Duration::MAX), LONGEST);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "stands for work")]
    fn a_rest_is_no_work() {
        let mut pace = Throttle::gentle();
        thread::sleep(Duration::from_millis(2));
        let before = Instant::now();
        pace.rest();
        assert!(before.elapsed() >= Duration::from_millis(10));
        assert!(pace.since >= before + Duration::from_millis(10), "the next piece begins after it");
    }
}
