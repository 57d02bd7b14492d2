//! Pauses between attempts: doubled each time up to a minute, and each half to all of its length by chance, so that
//! relays that lost one another at once do not come back at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// The next pause.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    /// Whether nothing failed yet since all was well.
    pub(super) fn is_first(&self) -> bool {
        self.0 == FIRST
    }

    /// All is well.
    pub(super) fn reset(&mut self) {
        self.0 = FIRST;
    }

    /// How long to wait now. The one after it is longer.
    pub(super) fn next(&mut self) -> Duration {
        let (whole, mut chance) = (self.0, [0; 1]);
        self.0 = LONGEST.min(whole * 2);
        // Without randomness the pauses are merely less well spread.
        let chance = getrandom::fill(&mut chance).map_or(255, |()| u32::from(chance[0]));
        whole / 2 + whole / 2 * chance / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew() {
        let mut pause = Pause::default();
        let mut whole = FIRST;
        for _ in 0..12 {
            let next = pause.next();
            assert!(next >= whole / 2 && next <= whole, "{next:?} of {whole:?}");
            whole = LONGEST.min(whole * 2);
        }
        assert!(whole == LONGEST && !pause.is_first());
        pause.reset();
        assert!(pause.is_first() && pause.next() <= FIRST);
    }

    #[test]
    fn no_two_relays_wait_alike() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| Pause(LONGEST).next()).collect();
        assert!(waits.len() > 20);
    }
}
