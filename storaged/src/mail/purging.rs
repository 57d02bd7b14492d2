//! Purges: begun at once, finished step by step whoever asked for them and is still there, answered when what they
//! deleted is on no disk any more.

use crate::auth::idempotency;
use crate::auth::nonces::{self, Nonce};
use crate::clock::{Times, TrustedClock};
use crate::db::{StepRoom, Store, StoreError, Total, Write};
use crate::limits::Limits;
use crate::mail::purges::{self, Step};
use crate::mail::registrations;
use crate::metrics::Metrics;
use crate::records::guardian;
use relay_proto::caller::Caller;
use relay_proto::{GuardianHash, MailboxHash, OwnerHash, PublicKey, RequestId, StorageError, UnixSeconds};
use std::sync::Arc;
use std::time::Duration;

/// Purges that are looked for at once.
const AT_ONCE: u32 = 16;
/// Time until the next attempt after the writer had no room for a step.
const BUSY: Duration = Duration::from_millis(100);

/// What an owner asks for, after the signature was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) request: RequestId,
    /// The mailbox named as recipient: the key's own, or one registered to the key.
    pub(crate) mailbox: MailboxHash,
    pub(crate) public_key: PublicKey,
    /// Digest of the purge token.
    pub(crate) once: Nonce,
    pub(crate) timestamp: UnixSeconds,
    /// Whether the signature is of now. One that is not may ask again for what was answered, and for nothing else.
    pub(crate) is_timely: bool,
}

/// What became of a request.
enum Begun {
    /// It was answered before.
    Answered(u64),
    /// It is carried out, all of it.
    Done(u64),
    /// It has begun, now or when it was asked for before.
    Runs,
    /// It has to wait for the one before it.
    Behind,
}

/// Carries out purges. Cheap to clone.
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

    /// Deletes everything of an owner's. Returns how many blobs a client could still have fetched.
    ///
    /// # Errors
    /// When the order does not hold or comes a second time, limits are used up, or the disk fails.
    pub(crate) async fn purge(
        &self,
        order: Order,
        caller: Caller,
        limits: &Arc<Limits>,
        now: Times,
    ) -> Result<u64, StoreError> {
        let Order { request, public_key, .. } = order;
        let owner = public_key.owner();
        if !order.is_timely && !self.store.readers.run(move |sql| purges::is_known(sql, &request)).await? {
            return Err(StorageError::OutsideWindow.into());
        }
        loop {
            let limits = Arc::clone(limits);
            let begun =
                self.store.writer.run_one(move |write| begin(write, &order, &owner, &limits, now)).await?;
            match begun {
                Begun::Answered(deleted) => return Ok(deleted),
                Begun::Done(deleted) => {
                    self.metrics.blobs_purged.inc_by(deleted);
                    return Ok(deleted);
                }
                Begun::Runs => {
                    // Somebody else may take the last step, and then there is an answer.
                    if let Some(deleted) = self.finish(owner, caller).await? {
                        return Ok(deleted);
                    }
                }
                Begun::Behind => drop(self.finish(owner, caller).await?),
            }
        }
    }

    /// Finishes an owner's purge, also if nobody waits for that any more. Returns how many blobs it deleted that a client could
    /// still have fetched, if its last step was taken here.
    pub(crate) async fn finish(&self, owner: OwnerHash, caller: Caller) -> Result<Option<u64>, StoreError> {
        let purging = self.clone();
        let task = tokio::spawn(async move { purging.steps(owner, caller).await });
        // A task ends early when the process does.
        task.await.unwrap_or(Err(StorageError::OutcomeUnknown.into()))
    }

    /// Finishes what a process before left, and what was given up here.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        while self.store.gauges.of(Total::PURGES) > 0 {
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
                Err(StoreError::Refused(StorageError::Busy)) => tokio::time::sleep(BUSY).await,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Begins a purge, unless it was answered or has begun before. Whether it was asked for before, and whether it speaks for this
/// mailbox, is decided before any limit is charged.
fn begin(
    write: &mut Write<'_>,
    order: &Order,
    owner: &OwnerHash,
    limits: &Limits,
    now: Times,
) -> Result<Begun, StoreError> {
    let Order { request, mailbox, public_key, once, timestamp, is_timely } = order;
    if let Some(answer) = idempotency::find(write.sql, request)? {
        write.answer_after_erasure();
        return Ok(Begun::Answered(answer));
    }
    if purges::is_of(write, request)? {
        return Ok(Begun::Runs);
    }
    if !is_timely {
        return Err(StorageError::OutsideWindow.into());
    }
    let own = MailboxHash::of_public_key(public_key);
    if purges::runs(write, owner)? {
        return Ok(Begun::Behind);
    }
    nonces::take(write.sql, *once, *timestamp)?;
    if *mailbox != own && !registrations::is_of(write.sql, owner, mailbox, now.now)? {
        return Err(StorageError::BadSignature.into());
    }
    limits.charge_mailbox(mailbox)?;
    guardian::remove(write, &GuardianHash::of_public_key(public_key).name())?;
    purges::begin(write, owner, &own, request)?;
    match purges::step(write, owner, StepRoom::SMALL, now)? {
        Step::Last(deleted) => Ok(Begun::Done(deleted)),
        Step::More | Step::Over => Ok(Begun::Runs),
    }
}
