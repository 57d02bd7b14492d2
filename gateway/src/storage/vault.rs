//! Calls for what people entrust to the relay besides mail.

use super::Storage;
use super::retry::persist;
use relay_proto::exchange::{Claim, Complete, Offer};
use relay_proto::{ExchangeCode, ExchangeText, Refusal};
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
}
