//! Calls for what people entrust to the relay besides mail: recovery proofs, exchanges, guardian sets, escrow.

use super::shown::Calls;
use super::{StorageClient, told};
use crate::exchange::{Claim, Complete, Offer};
use crate::messages::escrow_client::EscrowClient;
use crate::messages::guardian_client::GuardianClient;
use crate::messages::recovery_client::RecoveryClient;
use crate::{ExchangeCode, ExchangeText, Refusal, wire};

impl StorageClient {
    /// Calls for recovery proofs.
    #[must_use]
    pub fn recovery(&self) -> RecoveryClient<Calls> {
        RecoveryClient::new(self.channel.clone())
    }

    fn exchange(&self) -> wire::exchange_client::ExchangeClient<Calls> {
        wire::exchange_client::ExchangeClient::new(self.channel.clone())
    }

    /// Calls for guardian sets.
    #[must_use]
    pub fn guardian(&self) -> GuardianClient<Calls> {
        GuardianClient::new(self.channel.clone())
    }

    /// Calls for escrow.
    #[must_use]
    pub fn escrow(&self) -> EscrowClient<Calls> {
        EscrowClient::new(self.channel.clone())
    }

    /// Offers something; answers the code.
    ///
    /// # Errors
    /// [`Refusal::TooManyOffers`], limits, and the way to storage.
    pub async fn offer(&self, offer: Offer) -> Result<ExchangeCode, Refusal> {
        let reply = self.exchange().offer(wire::OfferRequest::from(offer)).await.map_err(told)?;
        ExchangeCode::try_from(reply.into_inner().code).map_err(|_| Refusal::invalid("code"))
    }

    /// Claims an offer; answers its payload.
    ///
    /// # Errors
    /// A code that is not right, limits, and the way to storage.
    pub async fn claim(&self, claim: Claim) -> Result<ExchangeText, Refusal> {
        let reply = self.exchange().claim(wire::ClaimRequest::from(claim)).await.map_err(told)?;
        reply.into_inner().try_into()
    }

    /// Completes an exchange; answers the claimer's response.
    ///
    /// # Errors
    /// A code that is not right, limits, and the way to storage.
    pub async fn complete(&self, complete: Complete) -> Result<ExchangeText, Refusal> {
        let reply = self.exchange().complete(wire::CompleteRequest::from(complete)).await.map_err(told)?;
        reply.into_inner().try_into()
    }
}
