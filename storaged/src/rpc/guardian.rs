//! Guardian sets: whoever holds a designator's key decides who stands in its set.

use super::{Records, Reply};
use crate::records::guardian::{self, Proof};
use relay_proto::field::{caller, identifier, required, sealed_list};
use relay_proto::guardian::Designating;
use relay_proto::limits::MAX_GUARDIANS;
use relay_proto::messages::{
    Designation, GuardianDeleteReply, GuardianDeleteRequest, GuardianQueryReply, GuardianQueryRequest,
    GuardianStoreReply, GuardianStoreRequest, guardian_server,
};
use relay_proto::{PublicKey, Signature, StorageError, UnixSeconds};
use std::sync::Arc;
use tonic::{Request, Response};

#[tonic::async_trait]
impl guardian_server::Guardian for Records {
    async fn store(&self, request: Request<GuardianStoreRequest>) -> Reply<GuardianStoreReply> {
        let GuardianStoreRequest { caller: payer, request_id, designation, entries } = request.into_inner();
        let (caller, request_id) = (caller(payer)?, identifier("request_id", &request_id)?);
        let (key, timestamp, signature) = designator(designation)?;
        let entries = sealed_list("entries", entries, MAX_GUARDIANS)?;
        self.limits.charge_caller(caller)?;
        let (now, limits) = (self.time.times_to_store()?, Arc::clone(&self.limits));
        let proof = Proof::check(Designating::Store, &key, timestamp, &signature, now.wall);
        guardian::store(&self.store, caller, request_id, proof, entries, now.stamp, limits).await?;
        Ok(Response::new(GuardianStoreReply {}))
    }

    async fn query(&self, request: Request<GuardianQueryRequest>) -> Reply<GuardianQueryReply> {
        let GuardianQueryRequest { caller: payer, set } = request.into_inner();
        let (caller, set) = (caller(payer)?, identifier("set", &set)?);
        self.limits.charge_caller(caller)?;
        let entries = guardian::query(&self.store, set, self.time.times().now).await?;
        Ok(Response::new(GuardianQueryReply { entries }))
    }

    async fn delete(&self, request: Request<GuardianDeleteRequest>) -> Reply<GuardianDeleteReply> {
        let GuardianDeleteRequest { caller: payer, request_id, designation } = request.into_inner();
        let (caller, request_id) = (caller(payer)?, identifier("request_id", &request_id)?);
        let (key, timestamp, signature) = designator(designation)?;
        self.limits.charge_caller(caller)?;
        let now = self.time.times();
        let proof = Proof::check(Designating::Delete, &key, timestamp, &signature, now.wall);
        guardian::delete(&self.store, request_id, proof, now.stamp).await?;
        Ok(Response::new(GuardianDeleteReply {}))
    }
}

/// Reads who asks, when it was signed, and the signature.
fn designator(message: Option<Designation>) -> Result<(PublicKey, UnixSeconds, Signature), StorageError> {
    let Designation { public_key, timestamp, signature } = required("designation", message)?;
    let (public_key, signature) =
        (identifier("public_key", &public_key)?, identifier("signature", &signature)?);
    Ok((public_key, UnixSeconds::new(timestamp), signature))
}
