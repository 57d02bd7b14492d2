//! The work behind `Mailbox::purge`: begun at once, finished step by step, answered when it is on no disk any more.

use crate::auth::nonces::{self, Once};
use crate::auth::{idempotency, signatures};
use crate::clock::trusted_time::Times;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::steps::StepRoom;
use crate::limits::Limits;
use crate::mail::purges::{self, Step};
use crate::mail::registrations;
use crate::records::guardian;
use crate::rpc::mailbox::Mailbox;
use relay_proto::mail::Purge;
use relay_proto::{GuardianHash, MailboxHash, Refusal};
use std::sync::Arc;

/// What became of a call.
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

impl Mailbox {
    /// Deletes everything of an owner's. Returns how many blobs a client could still have fetched.
    pub(super) async fn purge_owner(&self, purge: Purge) -> Result<u64, Refusal> {
        let now = self.time.times();
        let proven = signatures::check(
            &purge.public_key,
            &purge.message(),
            &purge.signature,
            purge.timestamp,
            now.wall,
        );
        // A retry of what was answered may be late; what was never signed is nobody's retry.
        if proven == Err(Refusal::BadSignature) {
            return Err(Refusal::BadSignature);
        }
        let (owner, caller, request) = (purge.public_key.owner(), purge.caller, purge.request_id);
        if let Err(late) = &proven
            && !self.store.readers.run(move |sql| purges::is_known(sql, &request)).await?
        {
            return Err(late.clone());
        }
        let purge = Arc::new(purge);
        loop {
            let (asked, limits) = (Arc::clone(&purge), Arc::clone(&self.limits));
            let proven = proven.clone();
            let begun =
                self.store.writer.run_one(move |write| begin(write, &asked, proven, &limits, now)).await?;
            match begun {
                Begun::Answered(deleted) => return Ok(deleted),
                Begun::Done(deleted) => {
                    self.metrics.blobs_purged.inc_by(deleted);
                    return Ok(deleted);
                }
                Begun::Runs => {
                    // Somebody else may take the last step, and then there is an answer.
                    if let Some(deleted) = self.purging.finish(owner, caller).await? {
                        return Ok(deleted);
                    }
                }
                Begun::Behind => drop(self.purging.finish(owner, caller).await?),
            }
        }
    }
}

/// Begins a purge, unless it was answered or has begun before. Whether it was asked for before, and whether it speaks for this
/// mailbox, is decided before any limit is charged.
fn begin(
    write: &mut Write<'_>,
    purge: &Purge,
    proven: Result<(), Refusal>,
    limits: &Limits,
    now: Times,
) -> Result<Begun, StoreError> {
    if let Some(answer) = idempotency::find(write.sql, &purge.request_id)? {
        write.answer_after_erasure();
        return Ok(Begun::Answered(answer));
    }
    if purges::is_of(write, &purge.request_id)? {
        return Ok(Begun::Runs);
    }
    proven?;
    let (own, owner) = (MailboxHash::of_public_key(&purge.public_key), purge.public_key.owner());
    if purges::runs(write, &owner)? {
        return Ok(Begun::Behind);
    }
    nonces::take(write.sql, Once::of("purge", purge.purge_token.as_bytes()), purge.timestamp)?;
    if purge.mailbox != own && !registrations::is_of(write.sql, &owner, &purge.mailbox, now.now)? {
        return Err(Refusal::BadSignature.into());
    }
    limits.charge_mailbox(&purge.mailbox)?;
    guardian::remove(write, &GuardianHash::of_public_key(&purge.public_key).name())?;
    purges::begin(write, &owner, &own, &purge.request_id)?;
    match purges::step(write, &owner, StepRoom::SMALL, now)? {
        Step::Last(deleted) => Ok(Begun::Done(deleted)),
        Step::More | Step::Over => Ok(Begun::Runs),
    }
}
