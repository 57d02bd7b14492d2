//! Escrow: two slots behind a gate.

use crate::auth::{idempotency, replays};
use crate::clock::trusted::TrustedClock;
use crate::db::Store;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::writer::Load;
use crate::limits::Limits;
use crate::records::escrow;
use relay_proto::Refusal;
use relay_proto::escrow::{CountEscrow, Deposit, GetEscrow, PutEscrow, Withdrawal};
use relay_proto::server::EscrowHandler;
use std::sync::Arc;

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Escrow {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) time: Arc<TrustedClock>,
}

impl EscrowHandler for Escrow {
    async fn put(&self, put: PutEscrow) -> Result<Deposit, Refusal> {
        self.limits.charge_caller(put.caller)?;
        if put.ttl_secs == 0 {
            return Err(Refusal::invalid("ttl_secs"));
        }
        let now = self.time.times_to_store()?;
        let load = Load { commands: 1, bytes: put.blob.as_bytes().len() };
        let limits = Arc::clone(&self.limits);
        let work = move |write: &mut Write<'_>| {
            if let Some(answer) = idempotency::find(write.sql, &put.request_id)? {
                return remembered(answer);
            }
            // A message that is brought again must not open a gate anew that is over.
            if !replays::is_first(write, put.caller, &put.request_id, now)? {
                return Ok(Deposit::AlreadyExists);
            }
            let deposit = escrow::put(write, &put, now, limits.payment(put.caller))?;
            idempotency::remember(write.sql, &put.request_id, number(deposit), now.stamp)?;
            Ok(deposit)
        };
        Ok(self.store.writer.run(load, |batch| batch.attempt(work)).await?)
    }

    async fn get(&self, get: GetEscrow) -> Result<Withdrawal, Refusal> {
        let GetEscrow { caller, gate, slot } = get;
        self.limits.charge_caller(caller)?;
        let now = self.time.times().now;
        Ok(self.store.readers.run(move |sql| escrow::get(sql, &gate, &slot, now)).await?)
    }

    async fn count(&self, count: CountEscrow) -> Result<u32, Refusal> {
        let CountEscrow { caller, gate } = count;
        self.limits.charge_caller(caller)?;
        let now = self.time.times().now;
        Ok(self.store.readers.run(move |sql| escrow::count_filled(sql, &gate, now)).await?)
    }
}

/// An answer as it is remembered.
const fn number(deposit: Deposit) -> u64 {
    match deposit {
        Deposit::Stored => 0,
        Deposit::AlreadyExists => 1,
        Deposit::GateFull => 2,
    }
}

fn remembered(number: u64) -> Result<Deposit, StoreError> {
    match number {
        0 => Ok(Deposit::Stored),
        1 => Ok(Deposit::AlreadyExists),
        2 => Ok(Deposit::GateFull),
        _ => Err(StoreError::Corrupt(0)),
    }
}
