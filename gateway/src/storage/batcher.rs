//! Many small writes in few messages.
//!
//! Whatever queues up while the last message is out becomes the next one. There is no timer: alone, a write
//! leaves at once; under load, the batches grow by themselves.

use relay_proto::client::StorageClient;
use relay_proto::field::required;
use relay_proto::limits::{MAX_WRITE_BYTES, MAX_WRITE_COMMANDS};
use relay_proto::messages::write_command::Command;
use relay_proto::messages::write_outcome::Outcome;
use relay_proto::messages::{Send, WriteCommand, WriteOutcome, WriteReply, WriteRequest};
use relay_proto::{StorageError, refusal_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Messages that are out at once: one being committed, one waiting for that, one on its way. Fewer leave the
/// store idle between commits; more make the groups smaller.
const MESSAGES_OUT: usize = 3;

/// Writes that may wait.
const QUEUE: usize = 1024;

/// How long a message may be out. Longer, and storage is frozen; those who asked have given up by then.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(5);

type WriteResult = Result<Outcome, StorageError>;

/// One write and who waits for it.
#[derive(Debug)]
struct Job {
    command: WriteCommand,
    reply: oneshot::Sender<WriteResult>,
}

/// Where writes queue up.
#[derive(Debug)]
pub(super) struct Batcher {
    queue: mpsc::Sender<Job>,
}

impl Batcher {
    /// Starts the workers that carry messages.
    pub(super) fn start(client: &StorageClient, tasks: &mut JoinSet<()>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..MESSAGES_OUT {
            tasks.spawn(carry(client.clone(), Arc::clone(&jobs)));
        }
        Self { queue }
    }

    /// Whether no further write can wait.
    pub(super) fn is_full(&self) -> bool {
        self.queue.capacity() == 0
    }

    /// Queues a write and waits for its outcome.
    pub(super) async fn write(&self, command: WriteCommand) -> WriteResult {
        let (reply, outcome) = oneshot::channel();
        self.queue.send(Job { command, reply }).await.map_err(|_| StorageError::Unavailable)?;
        outcome.await.unwrap_or(Err(StorageError::Unavailable))
    }
}

/// One worker: collects a message, sends it, hands out the outcomes.
async fn carry(client: StorageClient, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) {
    loop {
        let batch = {
            let mut jobs = jobs.lock().await;
            let Some(first) = jobs.recv().await else { return };
            collect(first, &mut jobs)
        };
        if batch.is_empty() {
            continue;
        }
        let (commands, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.command, job.reply)).unzip();
        let mut mailbox = client.mailbox();
        let message = mailbox.write(WriteRequest { commands });
        let written = match timeout(MESSAGE_DEADLINE, message).await {
            Ok(Ok(reply)) => read(reply.into_inner(), replies.len()),
            Ok(Err(status)) => Err(refusal_of(&status)),
            Err(_) => Err(StorageError::Unavailable),
        };
        let written = written.unwrap_or_else(|refusal| vec![Err(refusal); replies.len()]);
        for (reply, outcome) in replies.into_iter().zip(written) {
            // Whoever went away meanwhile asks again and finds the write done.
            drop(reply.send(outcome));
        }
    }
}

/// Reads the reply to a message of so many commands.
fn read(reply: WriteReply, commands: usize) -> Result<Vec<WriteResult>, StorageError> {
    let WriteReply { outcomes } = reply;
    if outcomes.len() != commands {
        return Err(StorageError::invalid("outcomes"));
    }
    let written = |WriteOutcome { outcome }| match required("outcome", outcome)? {
        Outcome::Refused(refusal) => Err(refusal.into()),
        done @ (Outcome::Stored(_) | Outcome::Acknowledged(_)) => Ok(done),
    };
    Ok(outcomes.into_iter().map(written).collect())
}

/// Takes what waits, up to a message's bounds. Writes that nobody waits for any more are left out.
fn collect(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(job) = next {
        if !job.reply.is_closed() {
            bytes += size(&job.command);
            batch.push(job);
        }
        if batch.len() >= MAX_WRITE_COMMANDS || bytes >= MAX_WRITE_BYTES {
            break;
        }
        next = jobs.try_recv().ok();
    }
    batch
}

fn size(command: &WriteCommand) -> usize {
    match &command.command {
        Some(Command::Send(Send { ciphertext, .. })) => ciphertext.len(),
        Some(Command::Ack(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn job(bytes: usize) -> (Job, oneshot::Receiver<WriteResult>) {
        let (reply, outcome) = oneshot::channel();
        let mailbox = Bytes::from_static(&[1; 32]);
        let send = Send { mailbox, ciphertext: Bytes::from(vec![1; bytes]), origin_hint: None };
        (Job { command: WriteCommand { caller: None, command: Some(Command::Send(send)) }, reply }, outcome)
    }

    /// Sizes of the batches that these writes would travel in.
    fn batches(sizes: &[usize], gone: &[usize]) -> Vec<usize> {
        let (queue, mut jobs) = mpsc::channel(sizes.len());
        let mut waiting = Vec::new();
        for (index, bytes) in sizes.iter().enumerate() {
            let (job, outcome) = job(*bytes);
            queue.try_send(job).unwrap();
            if !gone.contains(&index) {
                waiting.push(outcome);
            }
        }
        let mut batches = Vec::new();
        while let Ok(first) = jobs.try_recv() {
            batches.push(collect(first, &mut jobs).len());
        }
        batches
    }

    #[test]
    fn a_message_is_bounded_in_commands_and_in_bytes() {
        assert_eq!(batches(&[1; MAX_WRITE_COMMANDS + 3], &[]), [MAX_WRITE_COMMANDS, 3]);
        assert_eq!(batches(&[1 << 20; 6], &[]), [4, 2]);
        assert_eq!(batches(&[MAX_WRITE_BYTES - 1, MAX_WRITE_BYTES + 1, 1], &[]), [2, 1]);
    }

    #[test]
    fn a_reply_has_an_outcome_for_each_command() {
        let reply = |outcomes: &[Option<Outcome>]| WriteReply {
            outcomes: outcomes.iter().map(|outcome| WriteOutcome { outcome: outcome.clone() }).collect(),
        };
        let stored = Outcome::Stored(Bytes::from_static(&[4; 16]));
        let all = reply(&[
            Some(stored.clone()),
            Some(Outcome::Acknowledged(false)),
            Some(Outcome::Refused(StorageError::QuotaExceeded.into())),
            None,
        ]);
        let written = vec![
            Ok(stored),
            Ok(Outcome::Acknowledged(false)),
            Err(StorageError::QuotaExceeded),
            Err(StorageError::invalid("outcome")),
        ];
        assert_eq!(read(all.clone(), 4), Ok(written));
        for commands in [3, 5] {
            assert_eq!(read(all.clone(), commands), Err(StorageError::invalid("outcomes")));
        }
    }

    #[test]
    fn a_write_that_nobody_waits_for_is_not_sent() {
        assert_eq!(batches(&[1, 1, 1], &[0, 2]), [1]);
        assert_eq!(batches(&[1], &[0]), [0]);
    }
}
