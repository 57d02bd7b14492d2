//! How much may be on its way to one peer: little at first, twice as much whenever that was answered soon, and half where
//! it took long, so that a slow line carries what it can carry, in messages that arrive in time, and a fast one is kept
//! busy.

use std::time::Duration;

/// Most bytes of ciphertext in one message, where the blobs are not larger themselves. Enough for a commit to be
/// worth its sync, and little to offer again when a connection breaks.
pub(super) const MESSAGE: u64 = 2 << 20;

/// The least, the first and the most, in bytes.
const LEAST: u64 = 64 << 10;
const FIRST: u64 = 512 << 10;
const MOST: u64 = 8 * MESSAGE;

/// An answer within this time was soon, and one after that one late.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(5);

/// What may be and is on its way to a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    size: u64,
    in_flight: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: FIRST, in_flight: 0 }
    }
}

impl Window {
    /// Bytes that are on their way.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes that the next message may have; 0 while it is to wait. A peer that has nothing of this relay's on its way
    /// gets a message in any case.
    pub(super) fn message(&self) -> u64 {
        let message = self.size.min(MESSAGE);
        let fits = self.in_flight == 0 || self.in_flight + message <= self.size;
        if fits { message } else { 0 }
    }

    /// A message is on its way.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.in_flight += bytes;
    }

    /// It was answered after a while, or never.
    pub(super) fn end(&mut self, bytes: u64, answered: Option<Duration>) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.size = match answered {
            None => LEAST,
            Some(took) if took <= SOON => MOST.min(self.size * 2),
            Some(took) if took <= LATE => self.size,
            Some(_) => LEAST.max(self.size / 2),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fast_peer_is_soon_given_as_much_as_may_be() {
        let mut window = Window::default();
        for _ in 0..5 {
            let bytes = window.message();
            window.begin(bytes);
            window.end(bytes, Some(Duration::from_millis(20)));
        }
        for _ in 0..8 {
            assert_eq!(window.message(), MESSAGE);
            window.begin(MESSAGE);
        }
        assert_eq!((window.message(), window.in_flight()), (0, MOST));
    }

    #[test]
    fn a_slow_peer_is_given_one_small_message_at_a_time() {
        let mut window = Window::default();
        for _ in 0..5 {
            let bytes = window.message();
            window.begin(bytes);
            window.end(bytes, Some(Duration::from_secs(6)));
        }
        assert_eq!(window.message(), LEAST);
        window.begin(LEAST);
        assert_eq!(window.message(), 0);
        window.end(LEAST, Some(Duration::from_secs(2)));
        assert_eq!(window.message(), LEAST, "it is as fast as it is asked to be");
        window.begin(LEAST);
        window.end(LEAST, None);
        assert_eq!(window.message(), LEAST, "and is asked again after it said nothing");
    }

    proptest! {
        #[test]
        fn no_more_is_on_its_way_than_the_window_or_one_message(steps in prop::collection::vec((any::<bool>(), 0_u64..8), 0..60)) {
            let mut window = Window::default();
            let mut open = Vec::new();
            for (begins, seconds) in steps {
                let bytes = window.message();
                if begins && bytes > 0 {
                    window.begin(bytes);
                    open.push(bytes);
                } else if let Some(bytes) = open.pop() {
                    window.end(bytes, (seconds < 7).then(|| Duration::from_secs(seconds)));
                }
                prop_assert_eq!(window.in_flight(), open.iter().sum::<u64>());
                prop_assert!(window.in_flight() <= MOST || open.len() == 1);
                prop_assert!(!open.is_empty() || window.message() >= LEAST);
            }
        }
    }
}
