//! Guardian sets: whoever holds a designator's key decides who stands in its set.

use crate::auth::nonces::{self, Once};
use crate::auth::{idempotency, signatures};
use crate::clock::trusted::TrustedClock;
use crate::db::Store;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::limits::Limits;
use crate::records::guardian;
use relay_proto::guardian::{DeleteGuardians, Designating, Designation, QueryGuardians, StoreGuardians};
use relay_proto::server::GuardianHandler;
use relay_proto::{GuardianEntry, Refusal, RequestId};
use std::sync::Arc;

/// What is remembered of a call that was carried out: that it was.
const DONE: u64 = 1;

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Guardian {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) time: Arc<TrustedClock>,
}

impl GuardianHandler for Guardian {
    async fn store(&self, store: StoreGuardians) -> Result<(), Refusal> {
        let StoreGuardians { caller, request_id, designation, entries } = store;
        self.limits.charge_caller(caller)?;
        let (now, set) = (self.time.times_to_store()?.stamp, designation.set());
        let limits = Arc::clone(&self.limits);
        self.designate(request_id, designation, Designating::Store, move |write| {
            guardian::store(write, &set, &entries, now, limits.payment(caller))
        })
        .await
    }

    async fn query(&self, query: QueryGuardians) -> Result<Vec<GuardianEntry>, Refusal> {
        let QueryGuardians { caller, set } = query;
        self.limits.charge_caller(caller)?;
        let now = self.time.times().now;
        Ok(self.store.readers.run(move |sql| guardian::query(sql, &set, now)).await?)
    }

    async fn delete(&self, delete: DeleteGuardians) -> Result<(), Refusal> {
        let DeleteGuardians { caller, request_id, designation } = delete;
        self.limits.charge_caller(caller)?;
        let set = designation.set();
        self.designate(request_id, designation, Designating::Delete, move |write| {
            guardian::delete(write, &set)
        })
        .await
    }
}

impl Guardian {
    /// Carries out what a designator asks for, once: the signature is used up with the effect, and a retry
    /// finds it done.
    async fn designate(
        &self,
        request_id: RequestId,
        designation: Designation,
        what: Designating,
        effect: impl FnOnce(&mut Write<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), Refusal> {
        let now = self.time.times();
        let Designation { public_key, timestamp, signature } = &designation;
        let proven =
            signatures::check(public_key, &designation.message(what), signature, *timestamp, now.wall);
        let once = Once::of("guardian", signature.as_bytes());
        let timestamp = *timestamp;
        let work = move |write: &mut Write<'_>| {
            if idempotency::find(write.sql, &request_id)?.is_some() {
                // The first answer may have been lost while the log still held what was deleted.
                write.answer_after_erasure();
                return Ok(());
            }
            proven?;
            nonces::take(write.sql, once, timestamp)?;
            effect(write)?;
            idempotency::remember(write.sql, &request_id, DONE, now.stamp)
        };
        Ok(self.store.writer.run_one(work).await?)
    }
}
