//! Writes: many sends and acks in one transaction, and an outcome for each of them.

use crate::clock::{Times, TrustedClock};
use crate::config::Bounds;
use crate::db::{Batch, Load, Store, StoreError, Total, Write};
use crate::limits::{Limits, Payment};
use crate::mail::blobs::{self, NewBlob, Sent};
use crate::mail::registrations;
use crate::metrics::Metrics;
use relay_proto::caller::Caller;
use relay_proto::messages::write_outcome::Outcome;
use relay_proto::{BlobId, MailboxHash, StorageError};
use std::sync::Arc;

/// A write, and who is charged for it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) caller: Caller,
    pub(crate) action: Action,
}

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Action {
    /// Stores a blob.
    Send(NewBlob),
    /// Removes a blob that was received.
    Ack { mailbox: MailboxHash, blob_id: BlobId },
}

impl Action {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(blob) => blob.ciphertext.as_bytes().len(),
            Self::Ack { .. } => 0,
        }
    }
}

/// Carries out all commands. Returns an outcome for each after the commit that holds it; one refusal leaves the others
/// alone.
pub(crate) async fn write(
    store: &Store,
    commands: Vec<Command>,
    limits: &Arc<Limits>,
    bounds: Bounds,
    time: &TrustedClock,
    metrics: &Metrics,
) -> Vec<Result<Outcome, StorageError>> {
    let count = commands.len();
    if count == 0 {
        return Vec::new();
    }
    let bytes = commands.iter().map(|command| command.action.bytes()).sum();
    let commands = Arc::new(commands);
    let mut outcomes = Vec::with_capacity(count);
    while outcomes.len() < count {
        let (commands, done) = (Arc::clone(&commands), outcomes.len());
        let (limits, now) = (Arc::clone(limits), time.times());
        let job = move |batch: &mut Batch<'_>| {
            let mut counts = Counts::default();
            let mut some = Vec::new();
            for command in commands.iter().skip(done) {
                some.push(write_one(batch, command, &bounds, &limits, now, &mut counts));
                // Acks say nothing of the sizes of what they delete.
                if batch.is_large() {
                    break;
                }
            }
            Ok((some, counts))
        };
        let load = Load { commands: count - done, bytes: if done == 0 { bytes } else { 0 } };
        match store.writer.run(load, job).await {
            Ok((mut some, counts)) => {
                metrics.blobs_created.inc_by(counts.created);
                metrics.blobs_acked.inc_by(counts.acked);
                outcomes.append(&mut some);
            }
            Err(error) => outcomes.resize(count, Err(StorageError::from(error))),
        }
    }
    outcomes
}

/// What a batch of writes did, counted once it is durable.
#[derive(Debug, Default)]
struct Counts {
    created: u64,
    acked: u64,
}

fn write_one(
    batch: &mut Batch<'_>,
    command: &Command,
    bounds: &Bounds,
    limits: &Limits,
    now: Times,
    counts: &mut Counts,
) -> Result<Outcome, StorageError> {
    let payment = limits.payment(command.caller);
    match &command.action {
        Action::Send(blob) => {
            let work = |write: &mut Write<'_>| send(write, blob, bounds, now, payment);
            // It deletes an expired blob at most, and then inserts one; where mail is held for peers it may be more.
            let sent = if batch.has(Total::HELD) {
                batch.with_savepoint(work)
            } else {
                batch.without_savepoint(work)
            };
            let Sent { id, is_new } = sent?;
            counts.created += u64::from(is_new);
            Ok(Outcome::Stored(id.into()))
        }
        Action::Ack { mailbox, blob_id } => {
            let work = |write: &mut Write<'_>| {
                let before = write.change[Total::BYTES];
                let removed = blobs::ack(write, mailbox, blob_id, now)?;
                if write.change[Total::BYTES] < before {
                    payment.give_bytes_back(write.gauges, before.abs_diff(write.change[Total::BYTES]));
                }
                Ok(removed)
            };
            // It notes a name, and then deletes one blob; where peers have a part in it, it is more.
            let removed = if batch.involves_peers() {
                batch.with_savepoint(work)
            } else {
                batch.without_savepoint(work)
            };
            let removed = removed?;
            counts.acked += u64::from(removed);
            if !removed {
                // It costs its caller twice: nobody needs many of these.
                limits.charge_caller(command.caller)?;
            }
            Ok(Outcome::Acknowledged(removed))
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
        return Err(StorageError::NotRegistered.into());
    }
    blobs::send(write, blob, bounds, now, payment)
}
