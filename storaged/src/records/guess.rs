//! The steps of an exchange for which one must know its code. Whoever takes one may be guessing, so only so many wrong
//! ones are carried out.

use super::exchange;
use super::guess_limiter::GuessLimiter;
use crate::clock::TrustedClock;
use crate::db::{Load, Store, StoreError, Write};
use crate::limits::{Limits, Payment};
use relay_proto::caller::Caller;
use relay_proto::limits::GUESS_PATIENCE;
use relay_proto::{ExchangeText, OfferName, RequestId, StorageError, UnixSeconds};
use rusqlite::Connection;
use std::sync::Arc;
use tokio::time::Instant;

/// A step for which one must know a code.
#[derive(Debug)]
pub(crate) struct Guess {
    pub(crate) caller: Caller,
    /// Names this request, so that a retry gets the same text again.
    pub(crate) request_id: RequestId,
    pub(crate) offer: OfferName,
    pub(crate) step: ExchangeStep,
}

/// What is to be done with an offer.
#[derive(Debug)]
pub(crate) enum ExchangeStep {
    /// Take its payload and leave this response.
    Claim(ExchangeText),
    /// Take the response, which ends the exchange.
    Complete {
        /// Offers that there may be.
        max_offers: u64,
    },
}

/// Takes a step and returns the other one's text. The step is tried first and waits only while too many guesses were
/// wrong, so that a retry of what was done is answered even then.
///
/// # Errors
/// When the code is not right, the exchange is not at this step, too many guesses were wrong, or the store fails.
pub(crate) async fn take(
    store: &Store,
    guess: Guess,
    guesses: &Arc<GuessLimiter>,
    limits: &Arc<Limits>,
    time: &TrustedClock,
) -> Result<ExchangeText, StorageError> {
    let (caller, load) = (guess.caller, guess.load());
    let deadline = Instant::now() + GUESS_PATIENCE;
    let guess = Arc::new(guess);
    let mut turn = None;
    loop {
        let (guess, limiter, limits) = (Arc::clone(&guess), Arc::clone(guesses), Arc::clone(limits));
        // Exchanges live for minutes: none is to be claimed for as long as a clock is not trusted.
        let (now, has_turn) = (time.times().stamp, turn.is_some());
        let work = move |write: &mut Write<'_>| {
            if let Some(text) = guess.answered(write.sql, now)? {
                return Ok(text);
            }
            limiter.hear(guess.caller, has_turn)?;
            let outcome = guess.carry_out(write, now, limits.payment(guess.caller));
            if matches!(outcome, Err(StoreError::Refused(StorageError::UnknownCode))) {
                limiter.wrong(guess.caller);
            }
            outcome
        };
        let outcome = store.writer.run_one_of(load, work).await;
        match outcome.map_err(StorageError::from) {
            Err(StorageError::GuessesSpent { .. }) => {
                // The old turn ends before a new one begins.
                drop(turn.take());
                turn = Some(guesses.wait(caller, deadline).await?);
            }
            outcome => return outcome,
        }
    }
}

impl Guess {
    fn load(&self) -> Load {
        match &self.step {
            ExchangeStep::Claim(response) => Load { commands: 1, bytes: response.as_str().len() },
            ExchangeStep::Complete { .. } => Load::LIGHT,
        }
    }

    fn carry_out(
        &self,
        write: &mut Write<'_>,
        now: UnixSeconds,
        payment: Payment<'_>,
    ) -> Result<ExchangeText, StoreError> {
        let Self { request_id, offer, .. } = self;
        match &self.step {
            ExchangeStep::Claim(response) => {
                exchange::claim(write, request_id, offer, response, now, payment)
            }
            ExchangeStep::Complete { max_offers } => {
                exchange::complete(write, request_id, offer, *max_offers, now, payment)
            }
        }
    }

    /// Returns what this very request was answered before.
    fn answered(&self, sql: &Connection, now: UnixSeconds) -> Result<Option<ExchangeText>, StoreError> {
        match &self.step {
            ExchangeStep::Claim(_) => exchange::claimed(sql, &self.request_id, &self.offer, now),
            ExchangeStep::Complete { .. } => exchange::completed(sql, &self.request_id, now),
        }
    }
}
