//! Calls for what people entrust to the relay besides mail: recovery proofs, exchanges, guardian sets, escrow.

use super::shown::Calls;
use super::{StorageClient, told};
use crate::escrow::{CountEscrow, Deposit, GetEscrow, PutEscrow, Withdrawal};
use crate::exchange::{Claim, Complete, Offer};
use crate::guardian::{DeleteGuardians, QueryGuardians, StoreGuardians};
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

    fn escrow(&self) -> wire::escrow_client::EscrowClient<Calls> {
        wire::escrow_client::EscrowClient::new(self.channel.clone())
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

    /// Fills an escrow slot.
    ///
    /// # Errors
    /// Limits, room, and the way to storage.
    pub async fn put_escrow(&self, put: PutEscrow) -> Result<Deposit, Refusal> {
        let reply = self.escrow().put(wire::EscrowPutRequest::from(put)).await.map_err(told)?;
        reply.into_inner().try_into()
    }

    /// Reads the other slot of an escrow gate.
    ///
    /// # Errors
    /// Limits, and the way to storage.
    pub async fn get_escrow(&self, get: GetEscrow) -> Result<Withdrawal, Refusal> {
        let reply = self.escrow().get(wire::EscrowGetRequest::from(get)).await.map_err(told)?;
        reply.into_inner().try_into()
    }

    /// Counts the filled slots of an escrow gate.
    ///
    /// # Errors
    /// Limits, and the way to storage.
    pub async fn count_escrow(&self, count: CountEscrow) -> Result<u32, Refusal> {
        let reply = self.escrow().count(wire::EscrowCountRequest::from(count)).await.map_err(told)?;
        Ok(reply.into_inner().count)
    }
}
