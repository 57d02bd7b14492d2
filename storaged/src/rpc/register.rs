//! The work behind `Mailbox::register`: looked at by a reader, and what changes written down step by step.

use crate::auth::nonces::{self, Once};
use crate::auth::{idempotency, signatures};
use crate::clock::trusted_time::Times;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::steps::STEP_ROWS;
use crate::db::writer::Load;
use crate::limits::shares::Kind;
use crate::mail::purges;
use crate::mail::registrations::{self, Comparison, Tally, Wanted};
use crate::rpc::mailbox::Mailbox;
use relay_proto::caller::Caller;
use relay_proto::mail::{Ownership, Register, Registered};
use relay_proto::{MailboxHash, OwnerHash, Refusal, RequestId, UnixSeconds};
use rusqlite::Connection;
use std::sync::Arc;

/// Names that are written down at once, among other people's writes.
const FEW: usize = 100;

/// What a caller proved by a signature.
#[derive(Debug, Clone, Copy)]
struct Signed {
    owner: OwnerHash,
    once: Once,
    timestamp: UnixSeconds,
    request: RequestId,
}

impl Signed {
    fn of(proof: &Ownership, request: RequestId) -> Self {
        Self {
            owner: proof.public_key.owner(),
            once: Once::of("register", proof.signature.as_bytes()),
            timestamp: proof.timestamp,
            request,
        }
    }

    /// Notes the answer and uses the signature up, in the transaction that finishes what was asked. Until then whoever
    /// asks again does the same again. Returns the answer that was noted before, if one was.
    fn finish(&self, sql: &Connection, answer: Registered, now: Times) -> Result<Registered, StoreError> {
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
    Answered(Registered),
    Compared(Comparison),
}

impl Mailbox {
    /// Registers mailboxes. Every step stands alone and may be repeated.
    pub(super) async fn register_all(&self, register: Register) -> Result<Registered, Refusal> {
        let Register { caller, request_id, mailboxes, ownership } = register;
        let now = self.time.times_to_store()?;
        let proven = ownership.as_ref().map_or(Ok(()), |proof| {
            signatures::check(
                &proof.public_key,
                &proof.message(),
                &proof.signature,
                proof.timestamp,
                now.wall,
            )
        });
        if proven == Err(Refusal::BadSignature) {
            return Err(Refusal::BadSignature);
        }
        let signed = ownership.as_ref().map(|proof| Signed::of(proof, request_id));
        let wanted = Wanted { owner: signed.map(|signed| signed.owner), ttl: self.bounds.ttl, now };
        let registered = u32::try_from(mailboxes.len()).unwrap_or(u32::MAX);
        let look = move |sql: &Connection| {
            if let Some(signed) = signed {
                if let Some(answer) = idempotency::find(sql, &signed.request)? {
                    return Ok(Looked::Answered(unpack(answer)));
                }
                proven?;
                nonces::check(sql, signed.once, signed.timestamp)?;
            }
            registrations::compare(sql, &mailboxes, &wanted).map(Looked::Compared)
        };
        let Comparison { unsettled, new, settled } = match self.store.readers.run(look).await? {
            Looked::Answered(answer) => return Ok(answer),
            Looked::Compared(comparison) => comparison,
        };
        let space = registrations::space(&self.store.gauges, 0);
        self.limits.payment(caller).expect_share(Kind::Registrations, space, new.into())?;
        let answer = move |tally: Tally| Registered {
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
            tally = self.register_some(caller, chunk, wanted, tally, finish).await?;
        }
        match signed.filter(|_| unsettled.is_empty()) {
            Some(signed) => {
                let answer = answer(tally);
                Ok(self.store.writer.run_one(move |write| signed.finish(write.sql, answer, now)).await?)
            }
            None => Ok(answer(tally)),
        }
    }

    /// Registers as many as belong into one transaction. Returns how they and those before them stand.
    async fn register_some(
        &self,
        caller: Caller,
        mailboxes: &[MailboxHash],
        wanted: Wanted,
        before: Tally,
        finish: impl FnOnce(&Write<'_>, Tally) -> Result<(), StoreError> + Copy + Send + 'static,
    ) -> Result<Tally, Refusal> {
        loop {
            let (names, limits) = (mailboxes.to_vec(), Arc::clone(&self.limits));
            let work = move |write: &mut Write<'_>| {
                if let Some(owner) = &wanted.owner
                    && purges::runs(write, owner)?
                {
                    return Ok(None);
                }
                let registered = write.change.registrations;
                let space = registrations::space(write.gauges, registered);
                let all = before.plus(registrations::register(write, &names, &wanted)?);
                let new = write.change.registrations.abs_diff(registered);
                limits.payment(caller).rows(Kind::Registrations, space, new)?;
                finish(write, all)?;
                Ok(Some(all))
            };
            let outcome = if mailboxes.len() <= FEW {
                let load = Load { commands: mailboxes.len(), bytes: 0 };
                self.store.writer.run(load, |batch| batch.attempt(work)).await?
            } else {
                self.store.step(caller, work).await?
            };
            if let Some(all) = outcome {
                return Ok(all);
            }
            // What is registered after a purge has begun is not to be part of it.
            if let Some(owner) = wanted.owner {
                self.purging.finish(owner, caller).await?;
            }
        }
    }

    /// Writes renewed registrations down without keeping the fetch waiting. One that is lost comes again with the next
    /// fetch.
    pub(super) fn renew(&self, due: Vec<MailboxHash>, caller: Caller) {
        if due.is_empty() {
            return;
        }
        let Ok(now) = self.time.times_to_store() else { return };
        let (store, ttl) = (self.store.clone(), self.bounds.ttl);
        tokio::spawn(async move {
            for some in due.chunks(STEP_ROWS as usize).map(<[_]>::to_vec) {
                let few = some.len() <= FEW;
                let load = Load { commands: some.len(), bytes: 0 };
                let work = move |write: &mut Write<'_>| registrations::renew(write, &some, ttl, now);
                let renewed = if few {
                    store.writer.run(load, |batch| batch.attempt(work)).await
                } else {
                    store.step(caller, work).await
                };
                if let Err(error) = renewed {
                    tracing::debug!(%error, "registrations wait for the next fetch to be renewed");
                    return;
                }
            }
        });
    }
}

/// An answer as it is remembered: sixteen bits for each number, which are bounded by the names of one request.
fn pack(answer: Registered) -> u64 {
    let Registered { registered, bound_elsewhere, waiting } = answer;
    [registered, bound_elsewhere, waiting]
        .iter()
        .zip([0, 16, 32])
        .fold(0, |packed, (number, shift)| packed | u64::from((*number).min(0xffff)) << shift)
}

fn unpack(packed: u64) -> Registered {
    let number = |shift: u32| u32::try_from((packed >> shift) & 0xffff).unwrap_or(u32::MAX);
    Registered { registered: number(0), bound_elsewhere: number(16), waiting: number(32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_whole() {
        for (registered, bound_elsewhere, waiting) in
            [(1900, 0, 0), (1900, 1900, 0), (1900, 7, 1893), (1, 0, 1)]
        {
            let answer = Registered { registered, bound_elsewhere, waiting };
            assert_eq!(unpack(pack(answer)), answer);
        }
        assert_eq!(unpack(1900).registered, 1900, "as versions before noted it");
    }
}
