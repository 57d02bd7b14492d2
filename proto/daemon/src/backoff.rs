//! Pauses between attempts, doubled each time.

use std::time::Duration;

/// The next pause.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Returns true if nothing failed since the last success.
    pub fn is_first(&self) -> bool {
        self.next == self.first
    }

    /// After a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Returns how long to wait now. The pause after it is twice as long.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.longest.min(pause * 2);
        pause
    }

    /// Returns [`Backoff::pause`] or less of it by chance, but at least half: relays that lost one another at once must not
    /// come back at once.
    pub fn spread_pause(&mut self) -> Duration {
        let (whole, mut chance) = (self.pause(), [0; 1]);
        // Without randomness the pauses are merely less well spread.
        let chance = getrandom::fill(&mut chance).map_or(255, |()| u32::from(chance[0]));
        whole / 2 + whole / 2 * chance / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let mut whole = FIRST;
        for _ in 0..12 {
            let next = backoff.spread_pause();
            assert!(next >= whole / 2 && next <= whole, "{next:?} of {whole:?}");
            whole = LONGEST.min(whole * 2);
        }
        assert!(whole == LONGEST && !backoff.is_first());
        assert_eq!(backoff.pause(), LONGEST);
        backoff.reset();
        assert!(backoff.is_first() && backoff.pause() == FIRST);
    }

    #[test]
    fn no_two_relays_wait_alike() {
        let waits: std::collections::BTreeSet<_> =
            (0..100).map(|_| Backoff::new(LONGEST, LONGEST).spread_pause()).collect();
        assert!(waits.len() > 20);
    }
}
