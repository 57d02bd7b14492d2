//! Guesses at exchange codes, and how many wrong ones the relay listens to.
//!
//! A code of six digits is found in a million tries. So wrong guesses are paid from one budget of the whole relay, which
//! is the smaller the more offers are live: 1,000 a minute among all of them, so that the chance to find any stays under
//! 0.1 % a minute; never less than ten, so that people who mistype are answered. Right guesses are free. Both are settled
//! on the writer thread, one guess at a time: a guess is heard only while the budget could pay for it, and pays at once
//! if it was wrong. Nothing has to be lent and given back, so any number of right guesses go side by side, and who hangs
//! up before the answer pays all the same.
//!
//! The lower half of the budget is for callers who were not wrong lately: whoever guesses cannot spend it, however many
//! guesses he makes. While a caller's part is spent, its guesses wait a little for their turn. Turns go first to those
//! who were not wrong lately, then to the caller that was heard longest ago, which makes them go round. A line that is
//! full takes a newcomer in place of whoever was wrong lately or has the most places.
//!
//! An oblivious relay that the operator named stands for many clients, which nobody can tell apart: it may be wrong more
//! often, has more places, and more turns in a round.

use crate::db::Totals;
use crate::metrics::{Metrics, Scope};
use crate::records::exchange;
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::caller::{Caller, RELAY_SHARE, RateLimitSubject};
use relay_proto::{AddressHash, StorageError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// Wrong guesses a minute, times live offers.
const WRONG_TIMES_OFFERS: u64 = 1000;
/// Wrong guesses a minute that are heard however many offers are live.
const FEWEST: u64 = 10;
/// Guesses that may wait.
const MOST: usize = 64;
/// Guesses that may wait for one address.
const MOST_EACH: usize = 4;
/// Guesses that may wait for all addresses of one network.
const MOST_OF_NETWORK: usize = 8;
/// Guesses that may wait for one named relay.
const MOST_OF_RELAY: usize = 32;
/// Callers whose last turn is remembered. More than can wait.
const REMEMBERED: usize = 256;
/// Networks that are remembered for having been wrong lately.
const WRONG_PLACES: usize = 8192;
/// Time between two looks of those who wait.
const LOOK: Duration = Duration::from_millis(50);
/// The least that somebody is told to wait who finds the line full.
const LATER: Duration = Duration::from_secs(1);

/// The relay's ear for guesses.
#[derive(Debug)]
pub(crate) struct GuessLimiter {
    state: Mutex<LimiterState>,
    /// Wrong guesses a minute, where few offers are live.
    most_wrong: u32,
    gauges: Arc<Totals>,
    changed: Notify,
    clock: Clock,
    metrics: Metrics,
}

#[derive(Debug)]
struct LimiterState {
    budget: BucketTable,
    /// Who was wrong within the last minute.
    wrong: BucketTable,
    /// In the order in which they came.
    waiting: VecDeque<WaitingGuess>,
    next_ticket: u64,
    /// Whether one of those who waited is being heard.
    is_turn_given: bool,
    /// Who was heard lately after waiting, or was wrong, and how often since others were: longest ago first.
    heard: VecDeque<(Caller, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct WaitingGuess {
    ticket: u64,
    caller: Caller,
}

/// A place in line, left when dropped.
struct QueueSlot<'a> {
    guesses: &'a GuessLimiter,
    ticket: u64,
}

/// The turn of one who waited; the next one's comes when it is dropped.
#[derive(Debug)]
pub(crate) struct GuessPermit<'a>(&'a GuessLimiter);

/// What is next for one who waits.
enum NextInLine<'a> {
    GuessPermit(GuessPermit<'a>),
    Wait,
    /// Somebody else has the place now.
    Gone,
}

impl GuessLimiter {
    /// An ear for so many wrong guesses a minute at most.
    pub(crate) fn new(most_wrong: u32, gauges: Arc<Totals>, clock: Clock, metrics: Metrics) -> Self {
        let state = LimiterState {
            budget: BucketTable::new(1),
            wrong: BucketTable::new(WRONG_PLACES),
            waiting: VecDeque::new(),
            next_ticket: 0,
            is_turn_given: false,
            heard: VecDeque::new(),
        };
        Self { state: Mutex::new(state), most_wrong, gauges, changed: Notify::new(), clock, metrics }
    }

    /// Whether a guess is heard now. To be asked on the writer thread, right before its code is looked up.
    ///
    /// # Errors
    /// [`StorageError::GuessesSpent`] when the caller's part of the budget is spent, or when others wait and it is not this
    /// one's turn.
    pub(crate) fn hear(&self, caller: Caller, has_turn: bool) -> Result<(), StorageError> {
        let state = self.lock();
        if let Err(retry_after) = self.budget(&state, caller) {
            return Err(StorageError::GuessesSpent { retry_after });
        }
        if !has_turn && (state.is_turn_given || !state.waiting.is_empty()) {
            return Err(StorageError::GuessesSpent { retry_after: LATER });
        }
        Ok(())
    }

    /// A guess that was heard was wrong. To be told on the writer thread, before the next guess is heard.
    pub(crate) fn wrong(&self, caller: Caller) {
        let mut state = self.lock();
        let now = self.clock.monotonic();
        // It was there a moment ago, and nobody else takes.
        let _paid = state.budget.take(&[], self.rate(), now);
        // Where there is nothing to take, it is known already.
        let _noted = state.wrong.take(&network(caller), wrong_rate(caller), now);
        state.remember(caller);
        self.metrics.exchange_wrong_guesses.inc();
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`StorageError::GuessesSpent`] when none came until the deadline, or too many wait already.
    pub(crate) async fn wait(
        &self,
        caller: Caller,
        deadline: Instant,
    ) -> Result<GuessPermit<'_>, StorageError> {
        let Some(place) = self.join(caller) else { return Err(self.refuse(caller)) };
        loop {
            let changed = self.changed.notified();
            match self.turn(&place) {
                NextInLine::GuessPermit(turn) => return Ok(turn),
                NextInLine::Wait => {}
                NextInLine::Gone => return Err(self.refuse(caller)),
            }
            tokio::select! {
                () = changed => {}
                () = sleep(LOOK) => {}
                () = sleep_until(deadline) => return Err(self.refuse(caller)),
            }
        }
    }

    fn join(&self, caller: Caller) -> Option<QueueSlot<'_>> {
        let mut state = self.lock();
        let same = state.waiting.iter().filter(|waiting| waiting.caller == caller).count();
        if same >= most_of(caller) || state.places_of(caller) >= most_of_network(caller) {
            return None;
        }
        if state.waiting.len() >= MOST {
            let yields = self.who_yields(&state, caller)?;
            state.waiting.remove(yields);
            self.changed.notify_waiters();
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(WaitingGuess { ticket, caller });
        Some(QueueSlot { guesses: self, ticket })
    }

    /// Who leaves a full line to a newcomer: the last of those who were wrong lately, where the newcomer was not; or the
    /// last of the network that has the most places, where that has more than the newcomer's would have.
    fn who_yields(&self, state: &LimiterState, caller: Caller) -> Option<usize> {
        let was_wrong = self.was_wrong(state, caller);
        let key = |waiting: &WaitingGuess| {
            let is_wrong = !was_wrong && self.was_wrong(state, waiting.caller);
            (is_wrong, state.load_of(waiting.caller, 0))
        };
        let (at, (is_wrong, load)) =
            state.waiting.iter().map(key).enumerate().max_by_key(|(at, key)| (*key, *at))?;
        (is_wrong || load > state.load_of(caller, 1)).then_some(at)
    }

    fn turn(&self, place: &QueueSlot<'_>) -> NextInLine<'_> {
        let mut state = self.lock();
        if !state.waiting.iter().any(|waiting| waiting.ticket == place.ticket) {
            return NextInLine::Gone;
        }
        let next = self.next(&state).filter(|_| !state.is_turn_given);
        let Some((at, WaitingGuess { caller, ticket })) = next else { return NextInLine::Wait };
        if ticket != place.ticket || self.budget(&state, caller).is_err() {
            return NextInLine::Wait;
        }
        state.waiting.remove(at);
        state.remember(caller);
        state.is_turn_given = true;
        NextInLine::GuessPermit(GuessPermit(self))
    }

    /// Whose turn is next: those who were not wrong lately come first, and among them the one whose caller was heard
    /// longest ago, or never.
    fn next(&self, state: &LimiterState) -> Option<(usize, WaitingGuess)> {
        let order = |(at, waiting): &(usize, WaitingGuess)| {
            (self.was_wrong(state, waiting.caller), state.last_heard(waiting.caller), *at)
        };
        state.waiting.iter().copied().enumerate().min_by_key(order)
    }

    /// How many wrong guesses there may be now.
    fn rate(&self) -> Rate {
        let allowed = (WRONG_TIMES_OFFERS / self.gauges.of(exchange::KIND.total).max(1)).max(FEWEST);
        Rate::per_minute(u32::try_from(allowed).unwrap_or(u32::MAX).min(self.most_wrong))
    }

    fn budget(&self, state: &LimiterState, caller: Caller) -> Result<(), Duration> {
        let rate = self.rate();
        let rate = if self.was_wrong(state, caller) { rate.upper_half() } else { rate };
        state.budget.peek(&[], rate, self.clock.monotonic())
    }

    fn was_wrong(&self, state: &LimiterState, caller: Caller) -> bool {
        state.wrong.peek(&network(caller), wrong_rate(caller), self.clock.monotonic()).is_err()
    }

    fn refuse(&self, caller: Caller) -> StorageError {
        self.metrics.rate_limited(Scope::Guess);
        let wait = self.budget(&self.lock(), caller).err().unwrap_or_default();
        StorageError::GuessesSpent { retry_after: wait.max(LATER) }
    }

    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}

fn is_relay(caller: Caller) -> bool {
    caller.as_ref().is_some_and(RateLimitSubject::is_named_relay)
}

/// What a caller is counted by. A named relay whose address also sends requests of its own is two.
fn network(caller: Caller) -> [u8; AddressHash::LENGTH + 1] {
    let mut key = [u8::from(is_relay(caller)); AddressHash::LENGTH + 1];
    let network = caller.map(|payer| *payer.network.as_bytes()).unwrap_or_default();
    key[..AddressHash::LENGTH].copy_from_slice(&network);
    key
}

/// How often a caller may be wrong before it counts as one who was wrong lately.
fn wrong_rate(caller: Caller) -> Rate {
    Rate::per_minute(if is_relay(caller) { RELAY_SHARE } else { 1 })
}

fn most_of(caller: Caller) -> usize {
    if is_relay(caller) { MOST_OF_RELAY } else { MOST_EACH }
}

fn most_of_network(caller: Caller) -> usize {
    if is_relay(caller) { MOST_OF_RELAY } else { MOST_OF_NETWORK }
}

impl LimiterState {
    /// Places that a caller's network has.
    fn places_of(&self, caller: Caller) -> usize {
        let own = network(caller);
        self.waiting.iter().filter(|waiting| network(waiting.caller) == own).count()
    }

    /// How much of its places a caller's network has, with some more.
    fn load_of(&self, caller: Caller, more: usize) -> usize {
        (self.places_of(caller) + more) * MOST / most_of_network(caller)
    }

    /// How lately a caller was heard: 0 for never.
    fn last_heard(&self, caller: Caller) -> usize {
        self.heard.iter().position(|(heard, _)| *heard == caller).map_or(0, |at| at + 1)
    }

    fn remember(&mut self, caller: Caller) {
        let before = self.heard.iter_mut().find(|(heard, _)| *heard == caller);
        // A relay keeps its place until it had as many turns as it stands for clients.
        if let Some((_, turns)) = before
            && is_relay(caller)
            && *turns % RELAY_SHARE != 0
        {
            *turns += 1;
            return;
        }
        self.heard.retain(|(heard, _)| *heard != caller);
        self.heard.push_back((caller, 1));
        if self.heard.len() > REMEMBERED {
            self.heard.pop_front();
        }
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.guesses.lock().waiting.retain(|waiting| waiting.ticket != self.ticket);
    }
}

impl Drop for GuessPermit<'_> {
    fn drop(&mut self) {
        self.0.lock().is_turn_given = false;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
