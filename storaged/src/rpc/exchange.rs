//! Six-digit exchanges: an offer, one claim, one completion.

use super::{Records, Reply};
use crate::config;
use crate::records::exchange::{self, NewOffer};
use crate::records::guess::{self, ExchangeStep, Guess};
use crate::records::guess_limiter::GuessLimiter;
use relay_proto::field::{caller, identifier, sealed};
use relay_proto::limits::EXCHANGE_TTL_SECS;
use relay_proto::messages::{
    ClaimReply, ClaimRequest, CompleteReply, CompleteRequest, OfferReply, OfferRequest, exchange_server,
};
use relay_proto::{ExchangeText, StorageError};
use std::sync::Arc;
use tonic::{Request, Response};

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) records: Records,
    pub(crate) guesses: Arc<GuessLimiter>,
    pub(crate) bounds: config::ExchangeSettings,
}

#[tonic::async_trait]
impl exchange_server::Exchange for Exchange {
    async fn offer(&self, request: Request<OfferRequest>) -> Reply<OfferReply> {
        let OfferRequest { caller: payer, request_id, payload, ttl_secs } = request.into_inner();
        let config::ExchangeSettings { max_offers, default_ttl_secs, .. } = self.bounds;
        let new = NewOffer {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            payload: sealed("payload", payload)?,
            ttl_secs: ttl_secs.unwrap_or(default_ttl_secs),
        };
        let Records { store, limits, time } = &self.records;
        limits.charge_caller(new.caller)?;
        if !EXCHANGE_TTL_SECS.contains(&new.ttl_secs) {
            return Err(StorageError::invalid("ttl_secs").into());
        }
        let code =
            exchange::offer(store, new, max_offers, time.times_to_store()?, Arc::clone(limits)).await?;
        Ok(Response::new(OfferReply { code: code.get() }))
    }

    async fn claim(&self, request: Request<ClaimRequest>) -> Reply<ClaimReply> {
        let ClaimRequest { caller: payer, request_id, offer, response } = request.into_inner();
        let guess = Guess {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            offer: identifier("offer", &offer)?,
            step: ExchangeStep::Claim(sealed("response", response)?),
        };
        let payload = self.take(guess).await?.into();
        Ok(Response::new(ClaimReply { payload }))
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Reply<CompleteReply> {
        let CompleteRequest { caller: payer, request_id, offer } = request.into_inner();
        let guess = Guess {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            offer: identifier("offer", &offer)?,
            step: ExchangeStep::Complete { max_offers: self.bounds.max_offers },
        };
        let response = self.take(guess).await?.into();
        Ok(Response::new(CompleteReply { response }))
    }
}

impl Exchange {
    async fn take(&self, guess: Guess) -> Result<ExchangeText, StorageError> {
        let Records { store, limits, time } = &self.records;
        limits.charge_caller(guess.caller)?;
        guess::take(store, guess, &self.guesses, limits, time).await
    }
}
