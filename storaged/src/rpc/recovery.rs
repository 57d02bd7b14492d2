//! Recovery proofs.

use crate::auth::replays;
use crate::clock::trusted::TrustedClock;
use crate::db::Store;
use crate::db::batch::Write;
use crate::limits::Limits;
use crate::records::recovery;
use relay_proto::Refusal;
use relay_proto::recovery::{QueryProofs, StoreProof, StoredProof};
use relay_proto::server::RecoveryHandler;
use std::sync::Arc;

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) time: Arc<TrustedClock>,
}

impl RecoveryHandler for Recovery {
    async fn store(&self, store: StoreProof) -> Result<(), Refusal> {
        let StoreProof { caller, request_id, key, proof } = store;
        self.limits.charge_caller(caller)?;
        let now = self.time.times_to_store()?;
        let limits = Arc::clone(&self.limits);
        let work = move |write: &mut Write<'_>| {
            // A message that is brought again must not put an older proof in place of a newer one.
            if replays::is_first(write, caller, &request_id, now)? {
                recovery::store(write, &key, &proof, now.stamp, limits.payment(caller))?;
            }
            Ok(())
        };
        Ok(self.store.writer.run_one(work).await?)
    }

    async fn query(&self, query: QueryProofs) -> Result<Vec<StoredProof>, Refusal> {
        let QueryProofs { caller, keys } = query;
        self.limits.charge_caller(caller)?;
        self.limits.charge_recovery(caller)?;
        let now = self.time.times().now;
        Ok(self.store.readers.run(move |sql| recovery::query(sql, &keys, now)).await?)
    }
}
