//! Where the search for blobs to offer stands. Each peer is offered what there is once in a round, so that what it
//! refused is not in the way of the rest, and what is not to be offered is not read over and over.

use crate::transfer::offers::Lease;
use relay_daemon::Clock;
use relay_proto::PeerId;
use relay_proto::transfer::Direction;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time from one round's begin to the next one's. A peer may have changed its mind by then.
const ROUND: Duration = Duration::from_secs(3600);

/// Peers that are kept in mind. Beyond that all begin anew.
const PEERS: usize = 1024;

/// The rounds of all peers.
#[derive(Debug)]
pub(crate) struct OfferCursor {
    rounds: Mutex<HashMap<(PeerId, Direction), Round>>,
    clock: Clock,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    began: Duration,
    stands_at: i64,
}

impl OfferCursor {
    /// All rounds begin.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { rounds: Mutex::default(), clock }
    }

    /// Behind which place the search goes on. Begins a round when the last one has lasted.
    pub(crate) fn stands_at(&self, lease: &Lease) -> i64 {
        let now = self.clock.monotonic();
        let mut rounds = self.lock();
        if rounds.len() > PEERS {
            rounds.clear();
        }
        let fresh = Round { began: now, stands_at: 0 };
        let round = rounds.entry((lease.peer, lease.direction)).or_insert(fresh);
        if now.saturating_sub(round.began) >= ROUND {
            *round = fresh;
        }
        round.stands_at
    }

    /// Everything up to a place was looked at.
    pub(crate) fn passed(&self, lease: &Lease, place: i64) {
        if let Some(round) = self.lock().get_mut(&(lease.peer, lease.direction)) {
            round.stands_at = round.stands_at.max(place);
        }
    }

    /// All rounds begin anew.
    pub(crate) fn restart(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(PeerId, Direction), Round>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;

    #[test]
    fn a_round_goes_on_where_it_stood_and_begins_anew_after_an_hour() {
        let clock = ManualClock::at(UnixSeconds::new(0));
        let rounds = OfferCursor::new(clock.clock());
        let lease = |number, direction| Lease {
            peer: PeerId::from_bytes([number; 32]),
            direction,
            max_blobs: 1,
            max_bytes: 1,
            lease_secs: 1,
            latest_expiry: None,
        };
        let first = lease(1, Direction::ToHolder);
        assert_eq!(rounds.stands_at(&first), 0);
        rounds.passed(&first, 7);
        rounds.passed(&first, 3);
        assert_eq!(rounds.stands_at(&first), 7);
        assert_eq!(
            [lease(1, Direction::ToOrigin), lease(2, Direction::ToHolder)]
                .map(|other| rounds.stands_at(&other)),
            [0, 0]
        );
        clock.advance(ROUND);
        assert_eq!(rounds.stands_at(&first), 0);
        rounds.passed(&first, 7);
        rounds.restart();
        assert_eq!(rounds.stands_at(&first), 0);
    }
}
