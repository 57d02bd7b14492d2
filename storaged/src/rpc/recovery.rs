//! Recovery proofs.

use crate::limits::Limits;
use crate::store::{Store, recovery};
use relay_daemon::Clock;
use relay_proto::Refusal;
use relay_proto::recovery::{QueryProofs, StoreProof, StoredProof};
use relay_proto::server::RecoveryHandler;
use std::sync::Arc;

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Clock,
}

impl RecoveryHandler for Recovery {
    async fn store(&self, store: StoreProof) -> Result<(), Refusal> {
        let StoreProof { caller, key, proof } = store;
        self.limits.charge_caller(caller)?;
        let now = self.clock.now();
        Ok(self.store.writer.run_one(move |write| recovery::store(write, &key, &proof, now)).await?)
    }

    async fn query(&self, query: QueryProofs) -> Result<Vec<StoredProof>, Refusal> {
        let QueryProofs { caller, keys } = query;
        self.limits.charge_caller(caller)?;
        self.limits.charge_recovery(caller)?;
        let now = self.clock.now();
        Ok(self.store.readers.run(move |sql| recovery::query(sql, &keys, now)).await?)
    }
}
