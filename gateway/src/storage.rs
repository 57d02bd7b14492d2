//! Calls to storage, kept and retried while it is away for a moment.
//!
//! Every call may be made twice: blob ids come from content, a second ack finds nothing, and what is not
//! idempotent by nature carries a [`RequestId`](relay_proto::RequestId) under which storage remembers its answer. So a restart of
//! storage is a pause to clients, not an error.

mod batcher;
mod retry;

use crate::metrics::Metrics;
use batcher::Batcher;
use relay_proto::client::StorageClient;
use relay_proto::mail::{
    BlobName, Fetch, MailPage, Purge, Register, Registered, SignedHints, StoredBlob, WriteCommand, Written,
};
use relay_proto::{MailboxHash, Refusal, refusal_of};
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

    /// Makes a call until it is answered, or refused for good, or the deadline is over.
    ///
    /// # Errors
    /// Why storage refuses; [`Refusal::Unavailable`] while it is away.
    pub(crate) async fn call<R: Clone, T, F>(
        &self,
        deadline: Instant,
        request: R,
        call: impl Fn(StorageClient, R) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        persist(deadline, &self.metrics, || {
            let answered = call(self.client.clone(), request.clone());
            async { answered.await.map(Response::into_inner).map_err(|status| refusal_of(&status)) }
        })
        .await
    }

    /// Does one write together with whatever else waits to be written.
    pub(crate) async fn write(&self, command: WriteCommand, deadline: Instant) -> Result<Written, Refusal> {
        if self.batcher.is_full() {
            return Err(Refusal::Busy);
        }
        persist(deadline, &self.metrics, || self.batcher.write(command.clone())).await
    }

    /// Reads a page.
    pub(crate) async fn fetch(&self, fetch: &Fetch, deadline: Instant) -> Result<MailPage, Refusal> {
        persist(deadline, &self.metrics, || self.client.fetch(fetch.clone())).await
    }

    /// Reads a blob that a page told of.
    pub(crate) async fn larger(
        &self,
        mailbox: &MailboxHash,
        place: u64,
        deadline: Instant,
    ) -> Result<Option<StoredBlob>, Refusal> {
        persist(deadline, &self.metrics, || self.client.larger(mailbox, place)).await
    }

    /// Asks where blobs are that moved to peers.
    pub(crate) async fn hints(
        &self,
        names: Vec<BlobName>,
        deadline: Instant,
    ) -> Result<SignedHints, Refusal> {
        persist(deadline, &self.metrics, || self.client.hints(names.clone())).await
    }

    /// Registers mailboxes.
    pub(crate) async fn register(
        &self,
        register: Register,
        deadline: Instant,
    ) -> Result<Registered, Refusal> {
        persist(deadline, &self.metrics, || self.client.register(register.clone())).await
    }

    /// Deletes what an owner has.
    pub(crate) async fn purge(&self, purge: Purge, deadline: Instant) -> Result<u64, Refusal> {
        persist(deadline, &self.metrics, || self.client.purge(purge.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::mail::WriteAction;
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
        let action = WriteAction::Ack {
            mailbox: MailboxHash::from_bytes([1; 32]),
            blob_id: BlobId::from_bytes([1; 16]),
        };
        let command = WriteCommand { caller: None, action };
        let deadline = Instant::now() + PATIENCE;
        while !storage.batcher.is_full() {
            let (storage, command) = (Arc::clone(&storage), command.clone());
            tasks.spawn(async move { drop(storage.write(command, deadline).await) });
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        assert_eq!(storage.write(command, deadline).await, Err(Refusal::Busy));
        assert!(began.elapsed() < PATIENCE / 2);
    }
}
