//! Mail: the work behind send, fetch, ack, register and purge.

use crate::clock::trusted::TrustedClock;
use crate::clock::trusted_time::Times;
use crate::config::Bounds;
use crate::db::Store;
use crate::db::batch::{Batch, Write};
use crate::db::error::StoreError;
use crate::db::writer::Load;
use crate::limits::Limits;
use crate::limits::shares::Payment;
use crate::mail::blobs::{self, Sent};
use crate::mail::purging::Purging;
use crate::mail::{page, registrations};
use crate::metrics::Metrics;
use crate::ohttp_keys::keys;
use crate::transfer::peering::Peering;
use crate::transfer::remote_blobs;
use ed25519_dalek::Signer as _;
use relay_proto::mail::{
    BlobName, Fetch, MailPage, NewBlob, Purge, Register, Registered, SignedHints, StoredBlob, WriteAction,
    WriteCommand, WriteOutcomes, Written,
};
use relay_proto::server::MailboxHandler;
use relay_proto::{MailboxHash, Refusal, Signature};
use std::sync::Arc;

/// Name of the key that signs hints.
const HINT_KEY: &str = "hints";

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bounds: Bounds,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) metrics: Metrics,
    pub(crate) peering: Arc<Peering>,
    pub(crate) purging: Purging,
}

impl MailboxHandler for Mailbox {
    async fn write(&self, commands: Vec<WriteCommand>) -> WriteOutcomes {
        let (mut admitted, mut bytes) = (Vec::with_capacity(commands.len()), 0);
        let verdicts: Vec<Result<(), Refusal>> = commands
            .into_iter()
            .map(|command| {
                self.admit(&command)?;
                if let WriteAction::Send(blob) = &command.action {
                    bytes += blob.ciphertext.as_bytes().len();
                }
                admitted.push(command);
                Ok(())
            })
            .collect();
        let mut written = self.write_admitted(admitted, bytes).await.into_iter();
        verdicts
            .into_iter()
            .map(|verdict| verdict.and_then(|()| written.next().unwrap_or(Err(Refusal::Internal))))
            .collect()
    }

    async fn fetch(&self, fetch: Fetch) -> Result<MailPage, Refusal> {
        let caller = fetch.caller;
        self.limits.charge_caller(caller)?;
        let (limits, now, ttl) = (Arc::clone(&self.limits), self.time.times(), self.bounds.ttl);
        let has_registrations = self.store.gauges.registrations() > 0;
        let peering = Arc::clone(&self.peering);
        let (fetched, due) = self
            .store
            .readers
            .run(move |sql| {
                let admit = |mailbox: &MailboxHash| limits.try_fetch(mailbox, fetch.caller);
                let fetched = page::fetch(sql, &fetch, now.now, admit, || peering.reachable())?;
                let due = if has_registrations {
                    registrations::due_for_renewal(sql, &fetch.mailboxes, ttl, now)?
                } else {
                    Vec::new()
                };
                Ok((fetched, due))
            })
            .await?;
        self.renew(due, caller);
        if fetched.damaged > 0 {
            self.metrics.blobs_damaged.inc_by(fetched.damaged);
            tracing::error!(
                blobs = fetched.damaged,
                "stored content does not match its name and is not served"
            );
        }
        if let Some(retry_after) = fetched.refused {
            return Err(Refusal::MailboxRateLimited { retry_after });
        }
        self.metrics.blobs_delivered.inc_by(fetched.page.blobs.len() as u64);
        Ok(fetched.page)
    }

    async fn larger(&self, mailbox: MailboxHash, place: u64) -> Result<Option<StoredBlob>, Refusal> {
        let now = self.time.times().now;
        let blob = self.store.readers.run(move |sql| page::larger(sql, &mailbox, place, now)).await?;
        self.metrics.blobs_delivered.inc_by(blob.iter().len() as u64);
        Ok(blob)
    }

    async fn register(&self, register: Register) -> Result<Registered, Refusal> {
        self.limits.charge_caller(register.caller)?;
        self.register_all(register).await
    }

    async fn purge(&self, purge: Purge) -> Result<u64, Refusal> {
        self.purge_owner(purge).await
    }

    async fn hints(&self, names: Vec<BlobName>) -> Result<SignedHints, Refusal> {
        let now = self.time.times().now;
        let (hints, known) = self
            .store
            .readers
            .run(move |sql| {
                Ok((remote_blobs::of(sql, &names, now)?, keys::known_signing_key(sql, HINT_KEY)?))
            })
            .await?;
        let key = match known {
            Some(key) => key,
            None => self.store.writer.run_one(|write| keys::signing_key(write.sql, HINT_KEY)).await?,
        };
        let signature = Signature::from_bytes(key.sign(&SignedHints::message(&hints)).to_bytes());
        Ok(SignedHints { hints, signing_key: relay_proto::anchor::public(&key), signature })
    }
}

impl Mailbox {
    /// What can be refused without asking the database.
    fn admit(&self, command: &WriteCommand) -> Result<(), Refusal> {
        self.limits.charge_caller(command.caller)?;
        match &command.action {
            WriteAction::Send(blob) if blob.ciphertext.as_bytes().len() > self.bounds.blob_bytes => {
                Err(Refusal::TooLarge)
            }
            WriteAction::Send(blob) => {
                self.time.times_to_store()?;
                self.limits.charge_mailbox(&blob.mailbox)
            }
            // A mailbox is not charged for acks: whoever knows its token would shut out its owner.
            WriteAction::Ack { .. } => Ok(()),
        }
    }

    async fn write_admitted(&self, admitted: Vec<WriteCommand>, bytes: usize) -> WriteOutcomes {
        let commands = admitted.len();
        if commands == 0 {
            return Vec::new();
        }
        let admitted = Arc::new(admitted);
        let mut outcomes: WriteOutcomes = Vec::with_capacity(commands);
        while outcomes.len() < commands {
            let (admitted, done) = (Arc::clone(&admitted), outcomes.len());
            let (limits, bounds, now) = (Arc::clone(&self.limits), self.bounds, self.time.times());
            let job = move |batch: &mut Batch<'_>| {
                let mut counts = Counts::default();
                let mut some = WriteOutcomes::new();
                for command in admitted.iter().skip(done) {
                    some.push(write_one(batch, command, &bounds, &limits, now, &mut counts));
                    // Acks say nothing of the sizes of what they delete.
                    if batch.is_large() {
                        break;
                    }
                }
                Ok((some, counts))
            };
            let load = Load { commands: commands - done, bytes: if done == 0 { bytes } else { 0 } };
            match self.store.writer.run(load, job).await {
                Ok((mut some, counts)) => {
                    self.metrics.blobs_created.inc_by(counts.created);
                    self.metrics.blobs_acked.inc_by(counts.acked);
                    outcomes.append(&mut some);
                }
                Err(error) => {
                    let refusal = Refusal::from(error);
                    outcomes.resize(commands, Err(refusal));
                }
            }
        }
        outcomes
    }
}

/// What a batch of writes did, counted once it is durable.
#[derive(Debug, Default)]
struct Counts {
    created: u64,
    acked: u64,
}

fn write_one(
    batch: &mut Batch<'_>,
    command: &WriteCommand,
    bounds: &Bounds,
    limits: &Limits,
    now: Times,
    counts: &mut Counts,
) -> Result<Written, Refusal> {
    let payment = limits.payment(command.caller);
    match &command.action {
        WriteAction::Send(blob) => {
            let work = |write: &mut Write<'_>| send(write, blob, bounds, now, payment);
            // It deletes an expired blob at most, and then inserts one; where mail is held for peers it may be more.
            let sent = if batch.has_held() { batch.attempt(work) } else { batch.attempt_loose(work) };
            let Sent { id, is_new } = sent?;
            counts.created += u64::from(is_new);
            Ok(Written::Stored(id))
        }
        WriteAction::Ack { mailbox, blob_id } => {
            let work = |write: &mut Write<'_>| {
                let before = write.change.bytes;
                let removed = blobs::ack(write, mailbox, blob_id, now)?;
                if write.change.bytes < before {
                    payment.give_bytes_back(write.gauges, before.abs_diff(write.change.bytes));
                }
                Ok(removed)
            };
            // It notes a name, and then deletes one blob; where peers have a part in it, it is more.
            let removed =
                if batch.involves_peers() { batch.attempt(work) } else { batch.attempt_loose(work) };
            let removed = removed?;
            counts.acked += u64::from(removed);
            if !removed {
                // It costs its caller twice: nobody needs many of these.
                limits.charge_caller(command.caller)?;
            }
            Ok(Written::Acknowledged(removed))
        }
    }
}

fn send(
    write: &mut Write<'_>,
    blob: &NewBlob,
    bounds: &Bounds,
    now: Times,
    payment: Payment<'_>,
) -> Result<Sent, StoreError> {
    if bounds.require_registration && !registrations::contains(write.sql, &blob.mailbox, now.now)? {
        return Err(Refusal::NotRegistered.into());
    }
    blobs::send(write, blob, bounds, now, payment)
}
