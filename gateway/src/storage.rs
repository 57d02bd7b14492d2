//! Calls to storage, kept and retried while it is away for a moment.
//!
//! Every call may be made twice: blob ids come from content, a second ack finds nothing, and what is not
//! idempotent by nature carries a [`RequestId`](relay_proto::RequestId) under which storage remembers its reply. So a restart of
//! storage is a pause to clients, not an error.

mod batcher;
pub(crate) mod policy;
mod retry;

use crate::ops::metrics::Metrics;
use batcher::Batcher;
use relay_proto::client::StorageClient;
use relay_proto::messages::WriteCommand;
use relay_proto::messages::write_outcome::Outcome;
use relay_proto::{StorageError, refusal_of};
use retry::persist;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Response, Status};

/// How long a request is kept while storage does not take it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The way to storage.
#[derive(Debug)]
pub(crate) struct Storage {
    client: StorageClient,
    batcher: Batcher,
    metrics: Arc<Metrics>,
}

impl Storage {
    /// Speaks through `client`; the batcher's workers join `tasks`.
    pub(crate) fn new(client: StorageClient, metrics: Arc<Metrics>, tasks: &mut JoinSet<()>) -> Self {
        Self { batcher: Batcher::start(&client, tasks), client, metrics }
    }

    /// Makes a call until it has its reply, or refused for good, or the deadline is over.
    ///
    /// # Errors
    /// Why storage refuses; [`StorageError::Unavailable`] while it is away.
    pub(crate) async fn call<R: Clone, T, F>(
        &self,
        deadline: Instant,
        request: R,
        call: impl Fn(StorageClient, R) -> F,
    ) -> Result<T, StorageError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        persist(deadline, &self.metrics, || {
            let answered = call(self.client.clone(), request.clone());
            async { answered.await.map(Response::into_inner).map_err(|status| refusal_of(&status)) }
        })
        .await
    }

    /// Does one write together with whatever else waits to be written. `command` makes it anew for every attempt.
    ///
    /// # Errors
    /// Why storage refuses; [`StorageError::Busy`] when too many writes wait; [`StorageError::Unavailable`] while it is away.
    pub(crate) async fn write(
        &self,
        deadline: Instant,
        command: impl Fn() -> WriteCommand,
    ) -> Result<Outcome, StorageError> {
        if self.batcher.is_full() {
            return Err(StorageError::Busy);
        }
        persist(deadline, &self.metrics, || self.batcher.write(command())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::messages::{Ack, write_command};
    use relay_proto::{BlobId, MailboxHash};
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn a_full_queue_is_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("storage.sock");
        // Connections are made and nothing is ever said on them: storage is frozen.
        let _frozen = UnixListener::bind(&path).unwrap();
        let mut tasks = JoinSet::new();
        let metrics = Arc::new(Metrics::new().unwrap());
        let storage = Arc::new(Storage::new(StorageClient::new(path), metrics, &mut tasks));
        let command = || {
            let mailbox = MailboxHash::from_bytes([1; 32]).into();
            let ack = Ack { mailbox, blob_id: BlobId::from_bytes([1; 16]).into() };
            WriteCommand { caller: None, command: Some(write_command::Command::Ack(ack)) }
        };
        let deadline = Instant::now() + PATIENCE;
        while !storage.batcher.is_full() {
            let storage = Arc::clone(&storage);
            tasks.spawn(async move { drop(storage.write(deadline, command).await) });
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        assert_eq!(storage.write(deadline, command).await, Err(StorageError::Busy));
        assert!(began.elapsed() < PATIENCE / 2);
    }
}
