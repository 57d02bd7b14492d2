//! Six-digit exchanges: an offer, one claim, one completion.

use crate::clock::trusted::TrustedClock;
use crate::config;
use crate::db::Store;
use crate::limits::Limits;
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
use tonic::{Request, Response, Status};

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) guesses: Arc<GuessLimiter>,
    pub(crate) bounds: config::ExchangeSettings,
    pub(crate) time: Arc<TrustedClock>,
}

#[tonic::async_trait]
impl exchange_server::Exchange for Exchange {
    async fn offer(&self, request: Request<OfferRequest>) -> Result<Response<OfferReply>, Status> {
        let OfferRequest { caller: payer, request_id, payload, ttl_secs } = request.into_inner();
        let config::ExchangeSettings { max_offers, default_ttl_secs, .. } = self.bounds;
        let new = NewOffer {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            payload: sealed("payload", payload)?,
            ttl_secs: ttl_secs.unwrap_or(default_ttl_secs),
        };
        self.limits.charge_caller(new.caller)?;
        if !EXCHANGE_TTL_SECS.contains(&new.ttl_secs) {
            return Err(StorageError::invalid("ttl_secs").into());
        }
        let (now, limits) = (self.time.times_to_store()?, Arc::clone(&self.limits));
        let code = exchange::offer(&self.store, new, max_offers, now, limits).await?;
        Ok(Response::new(OfferReply { code: code.get() }))
    }

    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimReply>, Status> {
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

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<CompleteReply>, Status> {
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
        self.limits.charge_caller(guess.caller)?;
        guess::take(&self.store, guess, &self.guesses, &self.limits, &self.time).await
    }
}
