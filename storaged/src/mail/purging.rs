//! Finishing purges that have begun, step by step, whoever asked for them and is still there.

use crate::clock::trusted::TrustedClock;
use crate::db::Store;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::steps::StepRoom;
use crate::mail::purges::{self, Step};
use crate::metrics::Metrics;
use relay_proto::caller::Caller;
use relay_proto::{OwnerHash, Refusal};
use std::sync::Arc;
use std::time::Duration;

/// Purges that are looked for at once.
const AT_ONCE: u32 = 16;
/// Time until the next attempt after the writer had no room for a step.
const BUSY: Duration = Duration::from_millis(100);

/// Finishes purges. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Purging {
    store: Arc<Store>,
    time: Arc<TrustedClock>,
    metrics: Metrics,
}

impl Purging {
    pub(crate) const fn new(store: Arc<Store>, time: Arc<TrustedClock>, metrics: Metrics) -> Self {
        Self { store, time, metrics }
    }

    /// Finishes an owner's purge, also if nobody waits for that any more. Returns how many blobs it deleted that a client could
    /// still have fetched, if its last step was taken here.
    pub(crate) async fn finish(&self, owner: OwnerHash, caller: Caller) -> Result<Option<u64>, StoreError> {
        let purging = self.clone();
        let task = tokio::spawn(async move { purging.steps(owner, caller).await });
        // A task ends early when the process does.
        task.await.unwrap_or(Err(Refusal::OutcomeUnknown.into()))
    }

    /// Finishes what a process before left, and what was given up here.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        while self.store.gauges.purges() > 0 {
            let owners = self.store.readers.run(|sql| purges::unfinished(sql, AT_ONCE)).await?;
            for owner in owners {
                self.steps(owner, None).await?;
            }
        }
        Ok(())
    }

    async fn steps(&self, owner: OwnerHash, caller: Caller) -> Result<Option<u64>, StoreError> {
        loop {
            let now = self.time.times();
            let work = move |write: &mut Write<'_>| purges::step(write, &owner, StepRoom::WHOLE, now);
            match self.store.step(caller, work).await {
                Ok(Step::More) => {}
                Ok(Step::Last(deleted)) => {
                    self.metrics.blobs_purged.inc_by(deleted);
                    return Ok(Some(deleted));
                }
                Ok(Step::Over) => return Ok(None),
                Err(StoreError::Refused(Refusal::Busy)) => tokio::time::sleep(BUSY).await,
                Err(error) => return Err(error),
            }
        }
    }
}
