//! Recovery proofs.

use super::{Records, Reply};
use crate::records::recovery;
use relay_proto::field::{caller, identifier, identifiers, sealed};
use relay_proto::limits::MAX_RECOVERY_KEYS;
use relay_proto::messages::{
    RecoveryQueryReply, RecoveryQueryRequest, RecoveryStoreReply, RecoveryStoreRequest, recovery_server,
};
use std::sync::Arc;
use tonic::{Request, Response};

#[tonic::async_trait]
impl recovery_server::Recovery for Records {
    async fn store(&self, request: Request<RecoveryStoreRequest>) -> Reply<RecoveryStoreReply> {
        let RecoveryStoreRequest { caller: payer, key, proof, request_id } = request.into_inner();
        let (caller, request_id) = (caller(payer)?, identifier("request_id", &request_id)?);
        let (key, proof) = (identifier("key", &key)?, sealed("proof", proof)?);
        self.limits.charge_caller(caller)?;
        let (now, limits) = (self.time.times_to_store()?, Arc::clone(&self.limits));
        recovery::store(&self.store, caller, request_id, key, proof, now, limits).await?;
        Ok(Response::new(RecoveryStoreReply {}))
    }

    async fn query(&self, request: Request<RecoveryQueryRequest>) -> Reply<RecoveryQueryReply> {
        let RecoveryQueryRequest { caller: payer, keys } = request.into_inner();
        let (caller, keys) = (caller(payer)?, identifiers("keys", &keys, MAX_RECOVERY_KEYS)?);
        self.limits.charge_caller(caller)?;
        self.limits.charge_recovery(caller)?;
        let proofs = recovery::query(&self.store, keys, self.time.times().now).await?;
        Ok(Response::new(RecoveryQueryReply { proofs }))
    }
}
