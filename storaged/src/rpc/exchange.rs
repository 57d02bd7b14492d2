//! Six-digit exchanges: an offer, one claim, one completion.

use crate::clock::trusted::TrustedClock;
use crate::clock::trusted_time::Times;
use crate::config;
use crate::db::Store;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::writer::Load;
use crate::limits::Limits;
use crate::limits::shares::Payment;
use crate::records::exchange;
use crate::records::guess_limiter::Guesses;
use relay_proto::caller::Caller;
use relay_proto::exchange::{Claim, Complete, Offer};
use relay_proto::limits::{EXCHANGE_TTL_SECS, GUESS_PATIENCE};
use relay_proto::server::ExchangeHandler;
use relay_proto::{ExchangeCode, ExchangeText, Refusal, UnixSeconds};
use rusqlite::Connection;
use std::sync::Arc;
use tokio::time::Instant;

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) guesses: Arc<Guesses>,
    pub(crate) bounds: config::Exchange,
    pub(crate) time: Arc<TrustedClock>,
}

impl ExchangeHandler for Exchange {
    async fn offer(&self, offer: Offer) -> Result<ExchangeCode, Refusal> {
        self.limits.charge_caller(offer.caller)?;
        let config::Exchange { max_offers, default_ttl_secs, .. } = self.bounds;
        let ttl_secs = offer.ttl_secs.unwrap_or(default_ttl_secs);
        if !EXCHANGE_TTL_SECS.contains(&ttl_secs) {
            return Err(Refusal::invalid("ttl_secs"));
        }
        let now = self.time.times_to_store()?;
        let load = Load { commands: 1, bytes: offer.payload.as_str().len() };
        let limits = Arc::clone(&self.limits);
        let work = move |write: &mut Write<'_>| {
            exchange::offer(write, &offer, ttl_secs, max_offers, now, limits.payment(offer.caller))
        };
        Ok(self.store.writer.run(load, |batch| batch.attempt(work)).await?)
    }

    async fn claim(&self, claim: Claim) -> Result<ExchangeText, Refusal> {
        self.guess(Guess::Claim(claim)).await
    }

    async fn complete(&self, complete: Complete) -> Result<ExchangeText, Refusal> {
        self.guess(Guess::Complete(complete)).await
    }
}

impl Exchange {
    /// Takes a step for which one must know a code. The step is tried first and waits only if it is not
    /// heard, so that a retry of what was done is answered even while nobody is listened to.
    async fn guess(&self, guess: Guess) -> Result<ExchangeText, Refusal> {
        let (caller, load) = (guess.caller(), guess.load());
        self.limits.charge_caller(caller)?;
        let deadline = Instant::now() + GUESS_PATIENCE;
        let guess = Arc::new(guess);
        let mut turn = None;
        loop {
            let (guess, guesses, limits) =
                (Arc::clone(&guess), Arc::clone(&self.guesses), Arc::clone(&self.limits));
            let (now, has_turn, max_offers) = (self.time.times(), turn.is_some(), self.bounds.max_offers);
            let work = move |write: &mut Write<'_>| {
                if let Some(text) = guess.answered(write.sql, now.stamp)? {
                    return Ok(text);
                }
                guesses.hear(guess.caller(), has_turn)?;
                let outcome = guess.take(write, max_offers, now, limits.payment(guess.caller()));
                if matches!(outcome, Err(StoreError::Refused(Refusal::UnknownCode))) {
                    guesses.wrong(guess.caller());
                }
                outcome
            };
            let outcome = self.store.writer.run(load, |batch| batch.attempt(work)).await;
            match outcome.map_err(Refusal::from) {
                Err(Refusal::GuessesSpent { .. }) => {
                    // The old turn ends before a new one begins.
                    drop(turn.take());
                    turn = Some(self.guesses.wait(caller, deadline).await?);
                }
                outcome => return outcome,
            }
        }
    }
}

/// A step for which one must know a code.
#[derive(Debug)]
enum Guess {
    Claim(Claim),
    Complete(Complete),
}

impl Guess {
    const fn caller(&self) -> Caller {
        match self {
            Self::Claim(claim) => claim.caller,
            Self::Complete(complete) => complete.caller,
        }
    }

    fn load(&self) -> Load {
        match self {
            Self::Claim(claim) => Load { commands: 1, bytes: claim.response.as_str().len() },
            Self::Complete(_) => Load::LIGHT,
        }
    }

    /// Takes the step. Runs on the writer thread.
    fn take(
        &self,
        write: &mut Write<'_>,
        max_offers: u64,
        now: Times,
        payment: Payment<'_>,
    ) -> Result<ExchangeText, StoreError> {
        // Exchanges live for minutes: none is to be claimed for as long as a clock is not trusted.
        let now = now.stamp;
        match self {
            Self::Claim(claim) => exchange::claim(write, claim, now, payment),
            Self::Complete(complete) => exchange::complete(write, complete, max_offers, now, payment),
        }
    }

    /// What this very call was answered before.
    fn answered(&self, sql: &Connection, now: UnixSeconds) -> Result<Option<ExchangeText>, StoreError> {
        match self {
            Self::Claim(claim) => exchange::claimed(sql, claim, now),
            Self::Complete(complete) => exchange::completed(sql, complete, now),
        }
    }
}
