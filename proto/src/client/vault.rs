//! Calls for what people entrust to the relay besides mail: recovery proofs, exchanges, guardian sets, escrow.

use super::shown::Calls;
use super::{StorageClient, told};
use crate::exchange::{Claim, Complete, Offer};
use crate::guardian::{DeleteGuardians, QueryGuardians, StoreGuardians};
use crate::messages::escrow_client::EscrowClient;
use crate::messages::recovery_client::RecoveryClient;
use crate::{ExchangeCode, ExchangeText, GuardianEntry, Refusal, wire};

impl StorageClient {
    /// Calls for recovery proofs.
    #[must_use]
    pub fn recovery(&self) -> RecoveryClient<Calls> {
        RecoveryClient::new(self.channel.clone())
    }

    fn exchange(&self) -> wire::exchange_client::ExchangeClient<Calls> {
        wire::exchange_client::ExchangeClient::new(self.channel.clone())
    }

    fn guardian(&self) -> wire::guardian_client::GuardianClient<Calls> {
        wire::guardian_client::GuardianClient::new(self.channel.clone())
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

    /// Replaces a guardian set.
    ///
    /// # Errors
    /// A proof that does not hold, limits, and the way to storage.
    pub async fn store_guardians(&self, store: StoreGuardians) -> Result<(), Refusal> {
        self.guardian().store(wire::GuardianStoreRequest::from(store)).await.map_err(told)?;
        Ok(())
    }

    /// Reads a guardian set.
    ///
    /// # Errors
    /// Limits, and the way to storage.
    pub async fn query_guardians(&self, query: QueryGuardians) -> Result<Vec<GuardianEntry>, Refusal> {
        let reply = self.guardian().query(wire::GuardianQueryRequest::from(query)).await.map_err(told)?;
        reply.into_inner().try_into()
    }

    /// Deletes a guardian set.
    ///
    /// # Errors
    /// A proof that does not hold, limits, and the way to storage.
    pub async fn delete_guardians(&self, delete: DeleteGuardians) -> Result<(), Refusal> {
        self.guardian().delete(wire::GuardianDeleteRequest::from(delete)).await.map_err(told)?;
        Ok(())
    }
}
