//! Calls for what people entrust to the relay besides mail.

use super::Storage;
use super::retry::persist;
use relay_proto::exchange::{Claim, Complete, Offer};
use relay_proto::guardian::{DeleteGuardians, QueryGuardians, StoreGuardians};
use relay_proto::{ExchangeCode, ExchangeText, GuardianEntry, Refusal};
use tokio::time::Instant;

impl Storage {
    /// Offers something.
    pub(crate) async fn offer(&self, offer: Offer, deadline: Instant) -> Result<ExchangeCode, Refusal> {
        persist(deadline, &self.metrics, || self.client.offer(offer.clone())).await
    }

    /// Claims an offer.
    pub(crate) async fn claim(&self, claim: Claim, deadline: Instant) -> Result<ExchangeText, Refusal> {
        persist(deadline, &self.metrics, || self.client.claim(claim.clone())).await
    }

    /// Completes an exchange.
    pub(crate) async fn complete(
        &self,
        complete: Complete,
        deadline: Instant,
    ) -> Result<ExchangeText, Refusal> {
        persist(deadline, &self.metrics, || self.client.complete(complete.clone())).await
    }

    /// Replaces a guardian set.
    pub(crate) async fn store_guardians(
        &self,
        store: StoreGuardians,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        persist(deadline, &self.metrics, || self.client.store_guardians(store.clone())).await
    }

    /// Reads a guardian set.
    pub(crate) async fn query_guardians(
        &self,
        query: QueryGuardians,
        deadline: Instant,
    ) -> Result<Vec<GuardianEntry>, Refusal> {
        persist(deadline, &self.metrics, || self.client.query_guardians(query.clone())).await
    }

    /// Deletes a guardian set.
    pub(crate) async fn delete_guardians(
        &self,
        delete: DeleteGuardians,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        persist(deadline, &self.metrics, || self.client.delete_guardians(delete.clone())).await
    }
}
