//! Registering mailboxes: a reader compares, and what changes is written down step by step.

use crate::auth::idempotency;
use crate::auth::nonces::{self, Nonce};
use crate::clock::Times;
use crate::db::{Change, STEP_ROWS, Store, StoreError, Total, Write};
use crate::limits::{FairShare, Limits};
use crate::mail::purges;
use crate::mail::purging::Purging;
use crate::mail::registrations::{self, Comparison, RequestedMailboxes, Tally};
use relay_proto::caller::Caller;
use relay_proto::messages::RegisterReply;
use relay_proto::{MailboxHash, OwnerHash, RequestId, StorageError, Ttl, UnixSeconds};
use rusqlite::Connection;
use std::sync::Arc;

/// What one payer may register.
const SHARE: FairShare = FairShare::rows(Total::REGISTRATIONS);

/// What an owner proved by a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed {
    pub(crate) owner: OwnerHash,
    /// Digest of the signature.
    pub(crate) once: Nonce,
    pub(crate) timestamp: UnixSeconds,
    pub(crate) request: RequestId,
    /// Whether it is of now. One that is not may ask again for what was answered, and for nothing else.
    pub(crate) is_timely: bool,
}

impl Signed {
    /// Notes the answer and uses the signature up, in the transaction that finishes what was asked. Until then whoever
    /// asks again does the same again. Returns the answer that was noted before, if one was.
    fn finish(
        &self,
        sql: &Connection,
        answer: RegisterReply,
        now: Times,
    ) -> Result<RegisterReply, StoreError> {
        if let Some(answer) = idempotency::find(sql, &self.request)? {
            return Ok(unpack(answer));
        }
        nonces::take(sql, self.once, self.timestamp)?;
        idempotency::remember(sql, &self.request, pack(answer), now.stamp)?;
        Ok(answer)
    }
}

/// What a look at the names came to.
enum Looked {
    Answered(RegisterReply),
    Compared(Comparison),
}

/// Registers mailboxes, for the owner who signed if one did. Every step stands alone and may be repeated. Returns how
/// they stand.
///
/// # Errors
/// When the signature is late or was used, the key owns too many, there is no room for more, or the disk fails.
pub(crate) async fn register(
    store: &Store,
    purging: &Purging,
    limits: &Arc<Limits>,
    caller: Caller,
    mailboxes: Vec<MailboxHash>,
    signed: Option<Signed>,
    (ttl, now): (Ttl, Times),
) -> Result<RegisterReply, StoreError> {
    let wanted = RequestedMailboxes { owner: signed.map(|signed| signed.owner), ttl, now };
    let registered = u32::try_from(mailboxes.len()).unwrap_or(u32::MAX);
    let look = move |sql: &Connection| {
        if let Some(signed) = signed {
            if let Some(answer) = idempotency::find(sql, &signed.request)? {
                return Ok(Looked::Answered(unpack(answer)));
            }
            if !signed.is_timely {
                return Err(StorageError::OutsideWindow.into());
            }
            nonces::check(sql, signed.once, signed.timestamp)?;
        }
        registrations::compare(sql, &mailboxes, &wanted).map(Looked::Compared)
    };
    let Comparison { unsettled, new, settled } = match store.readers.run(look).await? {
        Looked::Answered(answer) => return Ok(answer),
        Looked::Compared(comparison) => comparison,
    };
    let space = store.gauges.space(Total::REGISTRATIONS, &Change::default(), registrations::BYTES_EACH);
    limits.payment(caller).expect_share(SHARE, space, new.into())?;
    let answer = move |tally: Tally| RegisterReply {
        registered,
        bound_elsewhere: tally.elsewhere,
        waiting: tally.waiting,
    };
    let mut tally = settled;
    let mut chunks = unsettled.chunks(STEP_ROWS as usize).peekable();
    while let Some(chunk) = chunks.next() {
        let last = signed.filter(|_| chunks.peek().is_none());
        let finish = move |write: &Write<'_>, all: Tally| match last {
            Some(signed) => signed.finish(write.sql, answer(all), now).map(drop),
            None => Ok(()),
        };
        tally = step(store, purging, limits, caller, (chunk, wanted), tally, finish).await?;
    }
    match signed.filter(|_| unsettled.is_empty()) {
        Some(signed) => {
            let answer = answer(tally);
            store.writer.run_one(move |write| signed.finish(write.sql, answer, now)).await
        }
        None => Ok(answer(tally)),
    }
}

/// Registers as many as belong into one transaction. Returns how they and those before them stand.
async fn step(
    store: &Store,
    purging: &Purging,
    limits: &Arc<Limits>,
    caller: Caller,
    (mailboxes, wanted): (&[MailboxHash], RequestedMailboxes),
    before: Tally,
    finish: impl FnOnce(&Write<'_>, Tally) -> Result<(), StoreError> + Copy + Send + 'static,
) -> Result<Tally, StoreError> {
    loop {
        let (names, limits) = (mailboxes.to_vec(), Arc::clone(limits));
        let work = move |write: &mut Write<'_>| {
            if let Some(owner) = &wanted.owner
                && purges::runs(write, owner)?
            {
                return Ok(None);
            }
            let registered = write.change[Total::REGISTRATIONS];
            let space = write.space(Total::REGISTRATIONS, registrations::BYTES_EACH);
            let all = before.plus(registrations::register(write, &names, &wanted)?);
            let new = write.change[Total::REGISTRATIONS].abs_diff(registered);
            limits.payment(caller).rows(SHARE, space, new)?;
            finish(write, all)?;
            Ok(Some(all))
        };
        if let Some(all) = store.write_rows(caller, mailboxes.len(), work).await? {
            return Ok(all);
        }
        // What is registered after a purge has begun is not to be part of it.
        if let Some(owner) = wanted.owner {
            purging.finish(owner, caller).await?;
        }
    }
}

/// Renews registrations without keeping whoever fetches waiting. One that is lost comes again with the next fetch.
pub(crate) fn renew(store: &Arc<Store>, due: Vec<MailboxHash>, caller: Caller, (ttl, now): (Ttl, Times)) {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        for some in due.chunks(STEP_ROWS as usize).map(<[_]>::to_vec) {
            let rows = some.len();
            let work = move |write: &mut Write<'_>| registrations::renew(write, &some, ttl, now);
            if let Err(error) = store.write_rows(caller, rows, work).await {
                tracing::debug!(%error, "registrations wait for the next fetch to be renewed");
                return;
            }
        }
    });
}

/// An answer as it is remembered: sixteen bits for each number, which are bounded by the names of one request.
fn pack(answer: RegisterReply) -> u64 {
    let RegisterReply { registered, bound_elsewhere, waiting } = answer;
    [registered, bound_elsewhere, waiting]
        .iter()
        .zip([0, 16, 32])
        .fold(0, |packed, (number, shift)| packed | u64::from((*number).min(0xffff)) << shift)
}

fn unpack(packed: u64) -> RegisterReply {
    let number = |shift: u32| u32::try_from((packed >> shift) & 0xffff).unwrap_or(u32::MAX);
    RegisterReply { registered: number(0), bound_elsewhere: number(16), waiting: number(32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_whole() {
        for (registered, bound_elsewhere, waiting) in
            [(1900, 0, 0), (1900, 1900, 0), (1900, 7, 1893), (1, 0, 1)]
        {
            let answer = RegisterReply { registered, bound_elsewhere, waiting };
            assert_eq!(unpack(pack(answer)), answer);
        }
        assert_eq!(unpack(1900).registered, 1900, "as versions before noted it");
    }
}
