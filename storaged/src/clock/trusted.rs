//! The clock that storage goes by: the machine's, as far as it is believed. It tells the operator when it is not.

use crate::clock::trusted_time::{ClockTrust, HOLD, TrustedTime};
use crate::clock::{Memory, Times, memory};
use crate::db::{Store, StoreError};
use crate::metrics::Metrics;
use relay_daemon::Clock;
use relay_proto::messages::{ClockStanding, ClockStatus};
use relay_proto::{StorageError, UnixSeconds};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A clock and what is known of it.
#[derive(Debug)]
pub(crate) struct TrustedClock {
    clock: Clock,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    time: TrustedTime,
    standing: ClockTrust,
}

impl TrustedClock {
    /// Goes on from what is remembered. `built` is when this program was built, or 0.
    pub(crate) fn new(memory: Memory, clock: Clock, built: UnixSeconds, metrics: Metrics) -> Self {
        let state = State { time: TrustedTime::new(memory, built), standing: ClockTrust::Trusted };
        let this = Self { clock, metrics, state: Mutex::new(state) };
        this.times();
        this
    }

    /// The times of this moment.
    pub(crate) fn times(&self) -> Times {
        self.look(&mut self.lock()).1
    }

    /// The times of this moment, if what has an end may be stored.
    ///
    /// # Errors
    /// [`StorageError::ClockWrong`] while the clock is behind.
    pub(crate) fn times_to_store(&self) -> Result<Times, StorageError> {
        let (standing, times) = self.look(&mut self.lock());
        if standing.may_store() { Ok(times) } else { Err(StorageError::ClockWrong) }
    }

    /// Why storage is not ready, if it is for the clock.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self.look(&mut self.lock()).0 {
            ClockTrust::Trusted | ClockTrust::Ahead => Ok(()),
            ClockTrust::Behind => Err("the clock is behind the newest trusted time"),
            ClockTrust::BeforeBuild => Err("the clock is before the time this program was built"),
        }
    }

    /// What the operator is shown.
    pub(crate) fn status(&self) -> ClockStatus {
        let mut state = self.lock();
        let (standing, _) = self.look(&mut state);
        status(standing, &state.time)
    }

    /// Whether the clock is believed.
    pub(crate) fn is_trusted(&self) -> bool {
        self.look(&mut self.lock()).0 == ClockTrust::Trusted
    }

    /// Believes the clock from now on, because the operator says so. Answers how it stood before.
    ///
    /// # Errors
    /// [`StorageError::ClockWrong`] for a clock that is certainly wrong, and when the store cannot be written.
    pub(crate) async fn trust(&self, store: &Store) -> Result<ClockStatus, StorageError> {
        let before = {
            let mut state = self.lock();
            let (standing, _) = self.look(&mut state);
            let before = status(standing, &state.time);
            if !state.time.trust() {
                return Err(StorageError::ClockWrong);
            }
            before
        };
        tracing::info!("the operator trusts the clock");
        self.keep(store).await?;
        Ok(before)
    }

    /// Writes down what is known of the time.
    pub(crate) async fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let memory = {
            let mut state = self.lock();
            self.look(&mut state);
            state.time.memory()
        };
        store.writer.run_one(move |write| memory::remember(write.sql, memory)).await
    }

    fn look(&self, state: &mut State) -> (ClockTrust, Times) {
        let (standing, times) = state.time.look(self.clock.now(), self.clock.monotonic());
        if standing != state.standing {
            tell(standing, &state.time);
            state.standing = standing;
            self.metrics.sweep_suspended.set(i64::from(standing != ClockTrust::Trusted));
        }
        (standing, times)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(standing: ClockTrust, time: &TrustedTime) {
    let apart_secs = time.apart();
    match standing {
        ClockTrust::Trusted => tracing::info!("the clock is trusted"),
        ClockTrust::Ahead => tracing::error!(
            apart_secs,
            "the clock jumped ahead and is not trusted: nothing expires by it. Set it right; if it is right: relay clock \
             trust. After a day of uptime it is trusted anyway"
        ),
        ClockTrust::Behind => tracing::error!(
            apart_secs,
            "the clock is behind the newest trusted time: nothing new is stored, because it would end too early. Set it \
             right; if it is right: relay clock trust. After a day of uptime it is trusted anyway"
        ),
        ClockTrust::BeforeBuild => tracing::error!(
            apart_secs,
            "the clock is before the time this program was built: nothing new is stored, because it would end too early. \
             Set it right"
        ),
    }
}

fn status(standing: ClockTrust, time: &TrustedTime) -> ClockStatus {
    ClockStatus {
        standing: match standing {
            ClockTrust::Trusted => ClockStanding::Trusted.into(),
            ClockTrust::Ahead => ClockStanding::Ahead.into(),
            ClockTrust::Behind => ClockStanding::Behind.into(),
            ClockTrust::BeforeBuild => ClockStanding::BeforeBuild.into(),
        },
        apart_secs: time.apart(),
        trusted_in_secs: match standing {
            ClockTrust::Ahead | ClockTrust::Behind => HOLD.saturating_sub(time.held()).as_secs(),
            ClockTrust::Trusted | ClockTrust::BeforeBuild => 0,
        },
    }
}
