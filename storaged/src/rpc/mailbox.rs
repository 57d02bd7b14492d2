//! Mail: the work behind send, fetch, ack, register and purge.

use crate::config::Bounds;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::peering::Peering;
use crate::proof;
use crate::store::batch::{Batch, Write};
use crate::store::blobs::Sent;
use crate::store::error::StoreError;
use crate::store::used::Once;
use crate::store::writer::Load;
use crate::store::{Store, answers, blobs, guardians, held, hints, keys, page, registrations, used};
use crate::trusted_clock::TrustedClock;
use crate::trusted_time::Times;
use ed25519_dalek::Signer as _;
use relay_proto::mail::{
    BlobName, Fetch, MailPage, NewBlob, Purge, Register, SignedHints, WriteAction, WriteCommand,
    WriteOutcomes, Written,
};
use relay_proto::server::MailboxHandler;
use relay_proto::{GuardianHash, MailboxHash, Refusal, Signature};
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
                admitted.push(command.action);
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
        self.limits.charge_caller(fetch.caller)?;
        let (limits, now, ttl) = (Arc::clone(&self.limits), self.time.times(), self.bounds.ttl);
        let has_registrations = self.store.gauges.registrations() > 0;
        let peering = Arc::clone(&self.peering);
        let (fetched, due) = self
            .store
            .readers
            .run(move |sql| {
                let admit = |mailbox: &MailboxHash| limits.try_mailbox(mailbox);
                let fetched = page::fetch(sql, &fetch, now.now, admit, || peering.reachable())?;
                let due = if has_registrations {
                    registrations::due_for_renewal(sql, &fetch.mailboxes, ttl, now)?
                } else {
                    Vec::new()
                };
                Ok((fetched, due))
            })
            .await?;
        self.renew(due);
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

    async fn register(&self, register: Register) -> Result<u32, Refusal> {
        let Register { caller, request_id, mailboxes, ownership } = register;
        self.limits.charge_caller(caller)?;
        let (now, ttl) = (self.time.times_to_store()?, self.bounds.ttl);
        let proven = match &ownership {
            Some(proof) => {
                proof::check(&proof.public_key, &proof.message(), &proof.signature, proof.timestamp, now.wall)
            }
            None => Ok(()),
        };
        let count = u32::try_from(mailboxes.len()).unwrap_or(u32::MAX);
        let register = move |write: &mut Write<'_>| {
            if answers::find(write.sql, &request_id)?.is_some() {
                return Ok(());
            }
            proven?;
            let owner = ownership.as_ref().map(|proof| proof.public_key.owner());
            if let Some(proof) = &ownership {
                let once = Once::of("register", proof.signature.as_bytes());
                used::take(write.sql, once, proof.timestamp)?;
                answers::remember(write.sql, &request_id, u64::from(count), now.stamp)?;
            }
            for mailbox in &mailboxes {
                registrations::register(write, mailbox, owner.as_ref(), ttl, now)?;
            }
            Ok(())
        };
        let load = Load { commands: count as usize, bytes: 0 };
        self.store.writer.run(load, |batch| batch.attempt(register)).await?;
        Ok(count)
    }

    async fn purge(&self, purge: Purge) -> Result<u64, Refusal> {
        let now = self.time.times();
        let proven =
            proof::check(&purge.public_key, &purge.message(), &purge.signature, purge.timestamp, now.wall);
        let limits = Arc::clone(&self.limits);
        let (deleted, is_new) = self
            .store
            .writer
            .run_one(move |write| {
                write.answer_after_erasure();
                if let Some(answer) = answers::find(write.sql, &purge.request_id)? {
                    return Ok((answer, false));
                }
                proven?;
                Ok((purge_owner(write, &purge, &limits, now)?, true))
            })
            .await?;
        if is_new {
            self.metrics.blobs_purged.inc_by(deleted);
        }
        Ok(deleted)
    }

    async fn hints(&self, names: Vec<BlobName>) -> Result<SignedHints, Refusal> {
        let now = self.time.times().now;
        let (hints, known) = self
            .store
            .readers
            .run(move |sql| Ok((hints::of(sql, &names, now)?, keys::known_signing_key(sql, HINT_KEY)?)))
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
            // Charged only if it removes nothing.
            WriteAction::Ack { .. } => Ok(()),
        }
    }

    async fn write_admitted(&self, actions: Vec<WriteAction>, bytes: usize) -> WriteOutcomes {
        let commands = actions.len();
        if commands == 0 {
            return Vec::new();
        }
        let (limits, bounds, now) = (Arc::clone(&self.limits), self.bounds, self.time.times());
        let job = move |batch: &mut Batch<'_>| {
            let mut counts = Counts::default();
            let outcomes = actions
                .iter()
                .map(|action| write_one(batch, action, &bounds, &limits, now, &mut counts))
                .collect::<WriteOutcomes>();
            Ok((outcomes, counts))
        };
        match self.store.writer.run(Load { commands, bytes }, job).await {
            Ok((outcomes, counts)) => {
                self.metrics.blobs_created.inc_by(counts.created);
                self.metrics.blobs_acked.inc_by(counts.acked);
                outcomes
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                vec![Err(refusal); commands]
            }
        }
    }

    /// Writes renewed registrations down without keeping the fetch waiting. One that is lost comes again
    /// with the next fetch.
    fn renew(&self, due: Vec<MailboxHash>) {
        if due.is_empty() {
            return;
        }
        let Ok(now) = self.time.times_to_store() else { return };
        let (writer, ttl) = (self.store.writer.clone(), self.bounds.ttl);
        tokio::spawn(async move {
            let load = Load { commands: due.len(), bytes: 0 };
            let renewed = writer
                .run(load, move |batch| batch.attempt(|write| registrations::renew(write, &due, ttl, now)))
                .await;
            if let Err(error) = renewed {
                tracing::debug!(%error, "registrations wait for the next fetch to be renewed");
            }
        });
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
    action: &WriteAction,
    bounds: &Bounds,
    limits: &Limits,
    now: Times,
    counts: &mut Counts,
) -> Result<Written, Refusal> {
    match action {
        WriteAction::Send(blob) => {
            let work = |write: &mut Write<'_>| send(write, blob, bounds, now);
            // It deletes an expired blob at most, and then inserts one; where mail is held for peers it may be more.
            let sent = if batch.has_held() { batch.attempt(work) } else { batch.attempt_loose(work) };
            let Sent { id, is_new } = sent?;
            counts.created += u64::from(is_new);
            Ok(Written::Stored(id))
        }
        WriteAction::Ack { mailbox, blob_id } => {
            let removed = batch.attempt(|write| blobs::ack(write, mailbox, blob_id, now))?;
            counts.acked += u64::from(removed);
            if !removed {
                limits.charge_mailbox(mailbox)?;
            }
            Ok(Written::Acknowledged(removed))
        }
    }
}

fn send(write: &mut Write<'_>, blob: &NewBlob, bounds: &Bounds, now: Times) -> Result<Sent, StoreError> {
    if bounds.require_registration && !registrations::contains(write.sql, &blob.mailbox, now.now)? {
        return Err(Refusal::NotRegistered.into());
    }
    blobs::send(write, blob, bounds, now)
}

/// Deletes everything of an owner's: whole or not at all. The signature holds; whether it was used before,
/// and whether it speaks for this mailbox, is decided here, before any limit is charged.
fn purge_owner(write: &mut Write<'_>, purge: &Purge, limits: &Limits, now: Times) -> Result<u64, StoreError> {
    let once = Once::of("purge", purge.purge_token.as_bytes());
    used::take(write.sql, once, purge.timestamp)?;
    let own = MailboxHash::of_public_key(&purge.public_key);
    let owner = purge.public_key.owner();
    let mut mailboxes = registrations::of_owner(write.sql, &owner, now.now)?;
    if purge.mailbox != own && !mailboxes.contains(&purge.mailbox) {
        return Err(Refusal::BadSignature.into());
    }
    limits.charge_mailbox(&purge.mailbox)?;
    mailboxes.push(own);
    let mut deleted = 0;
    for mailbox in &mailboxes {
        deleted += blobs::clear(write, mailbox, now)?;
    }
    deleted += held::clear(write, &owner, now)?;
    guardians::delete(write, &GuardianHash::of_public_key(&purge.public_key).name())?;
    answers::remember(write.sql, &purge.request_id, deleted, now.stamp)?;
    Ok(deleted)
}
