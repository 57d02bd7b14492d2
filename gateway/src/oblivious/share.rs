//! A fair share for each client of what a target takes from the whole outer relay.
//!
//! A target has one budget for all that come through here, so one client could spend it for the others. A client that
//! stays within its share may use all of the budget; one that wants more gets what the others leave, of the upper half
//! only. So whoever comes next finds at least half of a minute's budget. The share is what each client can have when
//! those that want less have what they want, and one more client comes.
//!
//! A relay of this project says its refusals inside of sealed answers, which nobody here can read: what comes back is a
//! 200. So the budget is what the operator says, which by itself is what a relay takes from an outer relay that it does
//! not name, and shares hold only where that is not more than the target takes.
//!
//! Where a front of the target's, or another implementation, refuses in the open (429), clients that are beyond their
//! share are refused until it takes requests again. If what it took in the last minute comes near the budget, that is
//! taken for its budget, which doubles for each minute without a refusal. Otherwise the refusal is not about the rate
//! of all (a front counts something else, or is busy), and the budget stays.

use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Clients that are counted apart at once. Those beyond are counted as one.
const MOST_CLIENTS: usize = 1 << 14;

/// How often shares are computed anew, and within how large a part of a minute's budget.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
const RENEWED_WITHIN: u32 = 16;

const MINUTE: Duration = Duration::from_secs(60);

/// Requests a minute that any target takes. A target that refuses the first of them was asked before this process was.
const LEAST: u32 = 60;

/// The part of the budget from which on a refusal is taken to be about the rate of all. One client alone has half.
const NEAR: u32 = 2;

/// The key of the target's own bucket, which is alone in its table.
const ALL: &[u8] = b"";

/// What a client is known by: see [`crate::address::prefix`].
pub(super) type Client = [u8; 8];

/// Clients for which there is no place. No address begins like this.
const OTHERS: Client = [0xff; 8];

/// How a request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Within its client's share.
    Share,
    /// From what other clients leave.
    Surplus,
}

/// Why a request is not admitted now, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// Its client has had its share.
    Share(Duration),
    /// Its client has not, but the budget is spent.
    Budget(Duration),
}

/// The budget of one target.
#[derive(Debug)]
pub(super) struct FairShare {
    /// What the operator says that the target takes in a minute.
    configured: u32,
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    budget: BucketTable,
    clients: HashMap<Client, Count>,
    all: Count,
    /// When the minute began that is counted.
    minute_began: Duration,
    /// Requests a minute that the target takes, as far as is known.
    taken_by_target: u32,
    /// Requests a minute that are one client's share.
    share: u32,
    renewed_at: Option<Duration>,
    /// Requests that were admitted since.
    since_renewal: u32,
    refused_at: Option<Duration>,
    /// Until when only shares are admitted.
    shares_only_until: Duration,
}

/// Requests that were admitted in this minute and in the one before.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    this: u32,
    last: u32,
}

impl Count {
    const fn add_one(&mut self) {
        self.this = self.this.saturating_add(1);
    }

    /// Requests less than a minute ago, as if those of the last minute had come evenly.
    fn within_a_minute(self, left_of_this: Duration) -> u32 {
        let rest = u64::from(self.last) * left_of_this.as_secs() / MINUTE.as_secs();
        self.this.saturating_add(u32::try_from(rest).unwrap_or(u32::MAX))
    }
}

impl FairShare {
    pub(super) fn new(configured: u32, clock: Clock) -> Self {
        let now = clock.monotonic();
        let state = State {
            budget: BucketTable::new(1),
            clients: HashMap::new(),
            all: Count::default(),
            minute_began: now,
            taken_by_target: configured,
            share: configured,
            renewed_at: None,
            since_renewal: 0,
            refused_at: None,
            shares_only_until: now,
        };
        Self { configured, state: Mutex::new(state), clock }
    }

    /// Admits a request of a client.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(super) fn admit(&self, client: Client) -> Result<Admission, Denial> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        state.renew(self.configured, now);
        let known = state.clients.len() < MOST_CLIENTS || state.clients.contains_key(&client);
        let client = if known { client } else { OTHERS };
        let had = state.clients.get(&client).map_or(0, |count| count.within_a_minute(state.left(now)));
        let whole = Rate::per_minute(state.taken_by_target);
        let admission = if had < state.share {
            state.budget.take(ALL, whole, now).map_err(Denial::Budget)?;
            Admission::Share
        } else {
            let wait = (MINUTE / state.share).clamp(RENEWED_EVERY, MINUTE);
            if now < state.shares_only_until {
                return Err(Denial::Share(wait.max(state.shares_only_until - now)));
            }
            state.budget.take(ALL, whole.upper_half(), now).map_err(|_| Denial::Share(wait))?;
            Admission::Surplus
        };
        state.since_renewal = state.since_renewal.saturating_add(1);
        state.all.add_one();
        state.clients.entry(client).or_default().add_one();
        Ok(admission)
    }

    /// Learns that the target refused a request, for so long.
    pub(super) fn refused(&self, retry_after: Duration) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        // Many refusals at once say one thing.
        if state.refused_at.is_none_or(|at| now.saturating_sub(at) >= RENEWED_EVERY) {
            state.turn_minute(now);
            let taken = state.all.within_a_minute(state.left(now));
            if taken >= state.taken_by_target / NEAR {
                state.taken_by_target = taken.max(LEAST).min(state.taken_by_target);
                state.refused_at = Some(now);
                state.renewed_at = None;
                // Its bucket is empty.
                state.budget.defer(ALL, now.saturating_add(MINUTE));
            }
        }
        let pause = retry_after.clamp(RENEWED_EVERY, MINUTE);
        state.shares_only_until = state.shares_only_until.max(now.saturating_add(pause));
    }

    /// It is whole after any panic: its parts are plain numbers.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Computes the share anew, if that is due.
    fn renew(&mut self, configured: u32, now: Duration) {
        self.turn_minute(now);
        let is_recent = self.renewed_at.is_some_and(|at| now.saturating_sub(at) < RENEWED_EVERY);
        if is_recent && self.since_renewal <= self.taken_by_target / RENEWED_WITHIN {
            return;
        }
        (self.renewed_at, self.since_renewal) = (Some(now), 0);
        if self.refused_at.is_some_and(|at| now.saturating_sub(at) >= MINUTE) {
            self.taken_by_target = self.taken_by_target.saturating_mul(2).min(configured);
            self.refused_at = (self.taken_by_target < configured).then_some(now);
        }
        let left = self.left(now);
        let mut had: Vec<u32> = self.clients.values().map(|count| count.within_a_minute(left)).collect();
        had.sort_unstable();
        self.share = share(self.taken_by_target, &had);
    }

    fn turn_minute(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.minute_began);
        if passed < MINUTE {
            return;
        }
        let is_next = passed < 2 * MINUTE;
        let turn = |count: &mut Count| {
            *count = Count { this: 0, last: if is_next { count.this } else { 0 } };
        };
        turn(&mut self.all);
        self.clients.values_mut().for_each(turn);
        self.clients.retain(|_, count| count.last > 0);
        self.minute_began = now;
    }

    fn left(&self, now: Duration) -> Duration {
        MINUTE.saturating_sub(now.saturating_sub(self.minute_began))
    }
}

/// What each client can have of a budget when those that had less keep what they had, in this order, and one more comes.
/// At most half of it, and at least one request.
fn share(budget: u32, had: &[u32]) -> u32 {
    let mut left = budget;
    let mut clients = u32::try_from(had.len()).unwrap_or(u32::MAX).saturating_add(1);
    for one in had {
        if *one >= left / clients {
            break;
        }
        left -= one;
        clients -= 1;
    }
    (left / clients).min(budget / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;

    const GREEDY: Client = [1; 8];
    const MODEST: Client = [2; 8];

    fn budget(configured: u32) -> (ManualClock, FairShare) {
        let clock = ManualClock::at(UnixSeconds::new(0));
        let share = FairShare::new(configured, clock.clock());
        (clock, share)
    }

    /// How many requests of a client are admitted at once.
    fn admitted(share: &FairShare, client: Client, asked: u32) -> usize {
        (0..asked).filter(|_| share.admit(client).is_ok()).count()
    }

    #[test]
    fn a_share_is_what_is_left_when_who_wants_less_has_it() {
        assert_eq!(share(600, &[]), 300);
        assert_eq!(share(600, &[500]), 300);
        assert_eq!(share(600, &[100]), 300);
        assert_eq!(share(600, &[100, 100, 500]), 200);
        assert_eq!(share(600, &[10, 20, 900]), 285);
        assert_eq!(share(600, &[300, 300, 300]), 150);
        assert_eq!(share(3, &[9; 100]), 1);
    }

    proptest! {
        #[test]
        fn all_shares_fit_into_the_budget(budget in 1_u32..100_000, mut had in prop::collection::vec(0_u32..10_000, 0..50)) {
            had.sort_unstable();
            let share = share(budget, &had);
            let taken: u64 = had.iter().map(|one| u64::from(*one.min(&share))).sum();
            prop_assert!(taken + u64::from(share) <= u64::from(budget).max(had.len() as u64 + 1));
        }
    }

    #[test]
    fn one_client_alone_leaves_half_of_a_minute_to_whoever_comes_next() {
        let (clock, share) = budget(600);
        assert_eq!(admitted(&share, GREEDY, 1000), 300);
        assert_eq!(admitted(&share, MODEST, 200), 200);
        clock.advance(RENEWED_EVERY);
        assert_eq!(admitted(&share, [3; 8], 100), 100);
    }

    #[test]
    fn what_nobody_else_wants_is_the_greedy_ones() {
        let (clock, share) = budget(600);
        admitted(&share, GREEDY, 1000);
        let mut more = 0;
        for _ in 0..60 {
            clock.advance(Duration::from_secs(1));
            more += admitted(&share, GREEDY, 1000);
        }
        assert!((290..=610).contains(&more), "{more} in the next minute");
    }

    #[test]
    fn however_greedy_some_are_a_modest_one_is_never_refused() {
        let (clock, share) = budget(600);
        let greedy: Vec<Client> = (10..20).map(|number| [number; 8]).collect();
        let mut passed = 0;
        for second in 0..180 {
            if second % 2 == 0 {
                assert_eq!(share.admit(MODEST), Ok(Admission::Share), "second {second}");
            }
            passed += greedy.iter().map(|client| admitted(&share, *client, 20)).sum::<usize>();
            clock.advance(Duration::from_secs(1));
        }
        assert!((1200..=2100).contains(&passed), "{passed} in three minutes");
    }

    #[test]
    fn a_refusal_of_the_target_is_told_to_who_is_beyond_its_share() {
        let (clock, share) = budget(1200);
        assert_eq!(admitted(&share, GREEDY, 700), 600);
        assert_eq!(admitted(&share, MODEST, 5), 5);
        share.refused(Duration::from_secs(2));
        assert_eq!(share.admit(GREEDY), Err(Denial::Share(Duration::from_secs(2))));
        assert!(
            matches!(share.admit(MODEST), Err(Denial::Budget(wait)) if wait < Duration::from_millis(100))
        );
        clock.advance(Duration::from_millis(100));
        assert_eq!(
            share.admit(MODEST),
            Ok(Admission::Share),
            "what the target takes meanwhile is the modest one's"
        );
        assert!(matches!(share.admit(GREEDY), Err(Denial::Share(_))));
        clock.advance(Duration::from_secs(2));
        assert!(matches!(share.admit(GREEDY), Err(Denial::Share(_))), "it wants more than is left");
        clock.advance(2 * MINUTE);
        assert_eq!(share.admit(GREEDY), Ok(Admission::Share));
    }

    #[test]
    fn a_budget_that_was_found_small_is_tried_again() {
        let (clock, share) = budget(600);
        assert_eq!(admitted(&share, GREEDY, 300), 300);
        share.refused(Duration::from_secs(1));
        assert_eq!(share.lock().taken_by_target, 300);
        for expected in [600, 600] {
            clock.advance(MINUTE);
            assert!(share.admit(MODEST).is_ok());
            assert_eq!(share.lock().taken_by_target, expected);
        }
        assert_eq!(share.lock().refused_at, None);
    }

    #[test]
    fn a_small_budget_never_falls_below_what_any_target_takes() {
        let (_, share) = budget(LEAST + 10);
        assert_eq!(admitted(&share, GREEDY, 35), 35);
        share.refused(Duration::from_secs(1));
        assert_eq!(share.lock().taken_by_target, LEAST);
    }

    #[test]
    fn a_refusal_that_is_not_about_the_rate_pauses_and_leaves_the_budget() {
        let (clock, share) = budget(600);
        for _ in 0..10 {
            assert_eq!(admitted(&share, MODEST, 1), 1);
            share.refused(Duration::from_secs(2));
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(share.lock().taken_by_target, 600);
        assert_eq!(admitted(&share, GREEDY, 400), 300, "only shares during the pause");
        clock.advance(Duration::from_secs(2));
        assert!(matches!(share.admit(GREEDY), Ok(Admission::Surplus) | Err(Denial::Share(_))));
    }

    #[test]
    fn refusals_at_once_are_one() {
        let (_, share) = budget(600);
        assert_eq!(admitted(&share, GREEDY, 250) + admitted(&share, MODEST, 150), 400);
        for _ in 0..10 {
            share.refused(Duration::from_secs(1));
        }
        assert_eq!(share.lock().taken_by_target, 400);
    }

    #[test]
    fn clients_beyond_those_that_are_counted_apart_are_one() {
        let (clock, share) = budget(1_000_000);
        for number in 0..=MOST_CLIENTS as u64 {
            assert!(share.admit(number.to_be_bytes()).is_ok());
        }
        assert_eq!(share.lock().clients.len(), MOST_CLIENTS + 1);
        assert!(share.lock().clients.contains_key(&OTHERS));
        clock.advance(2 * MINUTE);
        assert!(share.admit(MODEST).is_ok());
        assert_eq!(share.lock().clients.len(), 1, "who is silent is forgotten");
    }
}
