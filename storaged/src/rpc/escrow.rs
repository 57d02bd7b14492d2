//! Escrow: two slots behind a gate.

use super::{Records, Reply};
use crate::records::escrow::{self, NewSlot};
use relay_proto::StorageError;
use relay_proto::field::{caller, identifier, sealed};
use relay_proto::limits::MAX_ESCROW_TTL_SECS;
use relay_proto::messages::{
    EscrowCountReply, EscrowCountRequest, EscrowGetReply, EscrowGetRequest, EscrowPutReply, EscrowPutRequest,
    escrow_server,
};
use std::sync::Arc;
use tonic::{Request, Response};

#[tonic::async_trait]
impl escrow_server::Escrow for Records {
    async fn put(&self, request: Request<EscrowPutRequest>) -> Reply<EscrowPutReply> {
        let EscrowPutRequest { caller: payer, request_id, gate, slot, blob, ttl_secs } = request.into_inner();
        let (caller, request_id) = (caller(payer)?, identifier("request_id", &request_id)?);
        let new = NewSlot {
            gate: identifier("gate", &gate)?,
            slot: identifier("slot", &slot)?,
            blob: sealed("blob", blob)?,
            ttl_secs,
        };
        self.limits.charge_caller(caller)?;
        if !(1..=MAX_ESCROW_TTL_SECS).contains(&ttl_secs) {
            return Err(StorageError::invalid("ttl_secs").into());
        }
        let (now, limits) = (self.time.times_to_store()?, Arc::clone(&self.limits));
        let deposit = escrow::put(&self.store, caller, request_id, new, now, limits).await?;
        Ok(Response::new(EscrowPutReply { deposit: deposit.into() }))
    }

    async fn get(&self, request: Request<EscrowGetRequest>) -> Reply<EscrowGetReply> {
        let EscrowGetRequest { caller: payer, gate, slot } = request.into_inner();
        let (caller, gate, slot) = (caller(payer)?, identifier("gate", &gate)?, identifier("slot", &slot)?);
        self.limits.charge_caller(caller)?;
        let outcome = escrow::get(&self.store, gate, slot, self.time.times().now).await?;
        Ok(Response::new(EscrowGetReply { outcome: Some(outcome) }))
    }

    async fn count(&self, request: Request<EscrowCountRequest>) -> Reply<EscrowCountReply> {
        let EscrowCountRequest { caller: payer, gate } = request.into_inner();
        let (caller, gate) = (caller(payer)?, identifier("gate", &gate)?);
        self.limits.charge_caller(caller)?;
        let count = escrow::count_filled(&self.store, gate, self.time.times().now).await?;
        Ok(Response::new(EscrowCountReply { count }))
    }
}
