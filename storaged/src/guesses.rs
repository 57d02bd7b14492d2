//! Guesses at exchange codes, and how many wrong ones the relay listens to.
//!
//! A code of six digits is found in a million tries. So wrong guesses are paid from one budget of the whole
//! relay; right ones are free. Both are settled on the writer thread, one guess at a time: a guess
//! is heard only while the budget could pay for it, and pays at once if it was wrong. Nothing has to be lent
//! and given back, so any number of right guesses go side by side, and who hangs up before the answer pays
//! all the same.
//!
//! While the budget is spent, guesses wait a little for their turn. Turns go to the caller that was heard
//! longest ago, which makes them go round, and puts whoever guesses wrong behind everybody who does not.

use crate::metrics::{Metrics, Scope};
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::Refusal;
use relay_proto::caller::Caller;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// Guesses that may wait.
const MOST: usize = 64;
/// Guesses that may wait for one caller.
const MOST_EACH: usize = 4;
/// Callers whose last turn is remembered. More than can wait.
const REMEMBERED: usize = 256;
/// Time between two looks of those who wait.
const LOOK: Duration = Duration::from_millis(50);
/// The least that somebody is told to wait who finds the line full.
const LATER: Duration = Duration::from_secs(1);

/// The relay's ear for guesses.
#[derive(Debug)]
pub(crate) struct Guesses {
    state: Mutex<State>,
    rate: Rate,
    changed: Notify,
    clock: Clock,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    budget: BucketTable,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
    /// Whether one of those who waited is being heard.
    is_turn_given: bool,
    /// Who was heard lately after waiting, or was wrong: longest ago first.
    heard: VecDeque<Caller>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    caller: Caller,
}

/// A place in line, left when dropped.
struct Place<'a> {
    guesses: &'a Guesses,
    ticket: u64,
}

/// The turn of one who waited; the next one's comes when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Guesses);

impl Guesses {
    /// An ear for so many wrong guesses a minute.
    pub(crate) fn new(wrong_per_minute: u32, clock: Clock, metrics: Metrics) -> Self {
        let state = State {
            budget: BucketTable::new(1),
            waiting: VecDeque::new(),
            next_ticket: 0,
            is_turn_given: false,
            heard: VecDeque::new(),
        };
        let rate = Rate::per_minute(wrong_per_minute);
        Self { state: Mutex::new(state), rate, changed: Notify::new(), clock, metrics }
    }

    /// Whether a guess is heard now. To be asked on the writer thread, right before its code is looked up.
    ///
    /// # Errors
    /// [`Refusal::GuessesSpent`] when the budget is spent, or when others wait and it is not this one's turn.
    pub(crate) fn hear(&self, has_turn: bool) -> Result<(), Refusal> {
        let state = self.lock();
        if let Err(retry_after) = self.budget(&state) {
            return Err(Refusal::GuessesSpent { retry_after });
        }
        if !has_turn && (state.is_turn_given || !state.waiting.is_empty()) {
            return Err(Refusal::GuessesSpent { retry_after: LATER });
        }
        Ok(())
    }

    /// A guess that was heard was wrong. To be told on the writer thread, before the next guess is heard.
    pub(crate) fn wrong(&self, caller: Caller) {
        let mut state = self.lock();
        // It was there a moment ago, and nobody else takes.
        let _paid = state.budget.take(&[], self.rate, self.clock.monotonic());
        state.remember(caller);
        self.metrics.exchange_wrong_guesses.inc();
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Refusal::GuessesSpent`] when none came until the deadline, or too many wait already.
    pub(crate) async fn wait(&self, caller: Caller, deadline: Instant) -> Result<Turn<'_>, Refusal> {
        let Some(place) = self.join(caller) else { return Err(self.refuse()) };
        loop {
            let changed = self.changed.notified();
            if let Some(turn) = self.turn(&place) {
                return Ok(turn);
            }
            tokio::select! {
                () = changed => {}
                () = sleep(LOOK) => {}
                () = sleep_until(deadline) => return Err(self.refuse()),
            }
        }
    }

    fn join(&self, caller: Caller) -> Option<Place<'_>> {
        let mut state = self.lock();
        let same = state.waiting.iter().filter(|waiting| waiting.caller == caller).count();
        if state.waiting.len() >= MOST || same >= MOST_EACH {
            return None;
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(Waiting { ticket, caller });
        Some(Place { guesses: self, ticket })
    }

    fn turn(&self, place: &Place<'_>) -> Option<Turn<'_>> {
        let mut state = self.lock();
        if state.is_turn_given || self.budget(&state).is_err() {
            return None;
        }
        let next = state.next().filter(|next| state.waiting[*next].ticket == place.ticket)?;
        let Waiting { caller, .. } = state.waiting.remove(next)?;
        state.remember(caller);
        state.is_turn_given = true;
        Some(Turn(self))
    }

    fn budget(&self, state: &State) -> Result<(), Duration> {
        state.budget.peek(&[], self.rate, self.clock.monotonic())
    }

    fn refuse(&self) -> Refusal {
        self.metrics.rate_limited(Scope::Guess);
        let wait = self.budget(&self.lock()).err().unwrap_or_default();
        Refusal::GuessesSpent { retry_after: wait.max(LATER) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}

impl State {
    /// Whose turn is next: the first of those whose caller was heard longest ago, or never.
    fn next(&self) -> Option<usize> {
        let last_heard = |caller| self.heard.iter().position(|heard| *heard == caller).map_or(0, |at| at + 1);
        let order =
            self.waiting.iter().enumerate().map(|(index, waiting)| (last_heard(waiting.caller), index));
        order.min().map(|(_, index)| index)
    }

    fn remember(&mut self, caller: Caller) {
        self.heard.retain(|heard| *heard != caller);
        self.heard.push_back(caller);
        if self.heard.len() > REMEMBERED {
            self.heard.pop_front();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.guesses.lock().waiting.retain(|waiting| waiting.ticket != self.ticket);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_turn_given = false;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::caller::{Budget, Payer};
    use relay_proto::limits::GUESS_PATIENCE as PATIENCE;
    use relay_proto::{AddressHash, UnixSeconds};
    use std::sync::Arc;

    fn caller(number: u8) -> Caller {
        Some(Payer { budget: Budget::Client, address: AddressHash::from_bytes([number; 16]) })
    }

    /// Ten wrong guesses a minute: one in six seconds.
    fn guesses() -> (Arc<Guesses>, ManualClock) {
        let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
        let guesses = Guesses::new(10, clock.clock(), Metrics::new().unwrap());
        (Arc::new(guesses), clock)
    }

    /// Spends the whole budget.
    fn spend(guesses: &Guesses, who: Caller) {
        while guesses.hear(false).is_ok() {
            guesses.wrong(who);
        }
    }

    /// Waits for a turn, guesses, and writes down who was heard.
    fn attempt(
        guesses: &Arc<Guesses>,
        who: u8,
        is_right: bool,
        log: &Arc<Mutex<Vec<u8>>>,
    ) -> tokio::task::JoinHandle<Result<(), Refusal>> {
        let (guesses, log) = (Arc::clone(guesses), Arc::clone(log));
        tokio::spawn(async move {
            let turn = guesses.wait(caller(who), Instant::now() + PATIENCE).await?;
            guesses.hear(true).unwrap();
            log.lock().unwrap().push(who);
            if !is_right {
                guesses.wrong(caller(who));
            }
            drop(turn);
            Ok(())
        })
    }

    async fn until_waiting(guesses: &Guesses, many: usize) {
        while guesses.waiting() < many {
            tokio::task::yield_now().await;
        }
    }

    /// Lets everybody who waits look again.
    async fn settle() {
        sleep(2 * LOOK).await;
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_guesses_spend_the_budget_and_time_brings_it_back() {
        let (guesses, clock) = guesses();
        for _ in 0..10 {
            assert_eq!(guesses.hear(false), Ok(()));
            guesses.wrong(caller(1));
        }
        let wait = Duration::from_secs(6);
        assert_eq!(guesses.hear(false), Err(Refusal::GuessesSpent { retry_after: wait }));
        assert_eq!(guesses.metrics.exchange_wrong_guesses.get(), 10);
        clock.advance(wait);
        assert_eq!(guesses.hear(false), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gets_no_turn_in_five_seconds_is_told_when_to_come_again() {
        let (guesses, clock) = guesses();
        spend(&guesses, caller(1));
        clock.advance(Duration::from_secs(1));
        let before = Instant::now();
        let refused = guesses.wait(caller(2), before + PATIENCE).await.map(drop);
        assert_eq!(refused, Err(Refusal::GuessesSpent { retry_after: Duration::from_secs(5) }));
        assert_eq!(before.elapsed(), PATIENCE);
        assert_eq!(guesses.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_go_round_among_callers_and_in_order_within_one() {
        let (guesses, clock) = guesses();
        let log = Arc::default();
        spend(&guesses, None);
        for (waiting, who) in [1, 1, 1, 2, 2, 3].into_iter().enumerate() {
            drop(attempt(&guesses, who, false, &log));
            until_waiting(&guesses, waiting + 1).await;
        }
        for _ in 0..6 {
            clock.advance(Duration::from_secs(6));
            settle().await;
        }
        assert_eq!(*log.lock().unwrap(), [1, 2, 3, 1, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_wrong_lately_waits_behind_whoever_was_not() {
        let (guesses, clock) = guesses();
        let log = Arc::default();
        spend(&guesses, caller(1));
        for waiting in 0..MOST_EACH {
            drop(attempt(&guesses, 1, false, &log));
            until_waiting(&guesses, waiting + 1).await;
        }
        drop(attempt(&guesses, 2, true, &log));
        drop(attempt(&guesses, 3, true, &log));
        until_waiting(&guesses, MOST_EACH + 2).await;
        clock.advance(Duration::from_secs(6));
        settle().await;
        assert_eq!(*log.lock().unwrap(), [2, 3, 1], "right guesses are free, and the wrong one pays");
        assert_eq!(guesses.waiting(), MOST_EACH - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_short_for_one_caller_and_for_all() {
        let (guesses, _clock) = guesses();
        let log = Arc::default();
        spend(&guesses, None);
        let mut waiting = 0;
        for who in 0..16 {
            for _ in 0..MOST_EACH {
                drop(attempt(&guesses, who, false, &log));
                waiting += 1;
                until_waiting(&guesses, waiting).await;
            }
            let before = Instant::now();
            assert!(attempt(&guesses, who, false, &log).await.unwrap().is_err(), "a fifth of one caller's");
            assert_eq!(before.elapsed(), Duration::ZERO);
        }
        assert_eq!(waiting, MOST);
        assert!(attempt(&guesses, 99, false, &log).await.unwrap().is_err());
        settle().await;
        sleep(PATIENCE).await;
        assert_eq!(guesses.waiting(), 0);
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_does_not_overtake_those_who_wait() {
        let (guesses, clock) = guesses();
        let log = Arc::default();
        spend(&guesses, None);
        let waiting = attempt(&guesses, 1, true, &log);
        until_waiting(&guesses, 1).await;
        clock.advance(Duration::from_secs(6));
        assert_eq!(guesses.hear(false), Err(Refusal::GuessesSpent { retry_after: LATER }));
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(guesses.hear(false), Ok(()), "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_up_leaves_the_line_and_the_turn() {
        let (guesses, clock) = guesses();
        let log = Arc::default();
        spend(&guesses, None);
        let gone = attempt(&guesses, 1, true, &log);
        until_waiting(&guesses, 1).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        assert_eq!(guesses.waiting(), 0);
        clock.advance(Duration::from_secs(6));
        let turn = guesses.wait(caller(1), Instant::now() + PATIENCE).await.unwrap();
        assert!(guesses.hear(false).is_err());
        drop(turn);
        assert_eq!(guesses.hear(false), Ok(()));
    }
}
