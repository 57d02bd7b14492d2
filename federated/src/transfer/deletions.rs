//! Telling peers what was acked or purged here, of the mail they hold. Storage keeps what is to be told
//! until the peer says that it is done.

use crate::metrics::Metrics;
use crate::registry::PeerRegistry;
use crate::session::{Answer, body};
use crate::storage::replied;
use relay_daemon::Shutdown;
use relay_proto::client::StorageClient;
use relay_proto::field::required;
use relay_proto::limits::MAX_CARRIED_BLOBS;
use relay_proto::mail::BlobName;
use relay_proto::messages::{DeliveredRequest, OutboxEntry, OutboxReply, OutboxRequest};
use relay_proto::{PeerId, StorageError};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at what is to be told. A peer may know a second later.
const LOOK: Duration = Duration::from_secs(1);

/// Tells peers of deletions.
pub(crate) struct Deletions {
    pub(crate) storage: StorageClient,
    pub(crate) registry: Arc<PeerRegistry>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long a peer may take to answer.
    pub(crate) patience: Duration,
}

impl Deletions {
    /// Tells until the process stops. One slow peer does not keep the others from hearing.
    pub(crate) async fn run(self, shutdown: &Shutdown) {
        let deletions = Arc::new(self);
        let mut telling: std::collections::HashMap<PeerId, tokio::task::JoinHandle<()>> =
            std::collections::HashMap::new();
        loop {
            telling.retain(|_, task| !task.is_finished());
            for peer in deletions.registry.connected() {
                telling.entry(peer).or_insert_with(|| {
                    let deletions = Arc::clone(&deletions);
                    tokio::spawn(async move { deletions.tell_all(peer).await })
                });
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.begun() => break,
            }
        }
        // What is not confirmed is told again.
        telling.into_values().for_each(|task| task.abort());
    }

    async fn tell_all(&self, peer: PeerId) {
        while self.tell_some(peer).await {}
    }

    /// Returns the oldest deletions that wait for a peer: their numbers, and which blobs.
    async fn due(&self, peer: PeerId) -> Result<(Vec<u64>, Vec<BlobName>), StorageError> {
        let request = OutboxRequest { peer: peer.into(), limit: MAX_CARRIED_BLOBS as u32 };
        let OutboxReply { entries } = replied(self.storage.offload().outbox(request).await)?;
        let read = |entry: OutboxEntry| {
            let OutboxEntry { number, name } = entry;
            Ok((number, BlobName::try_from(required("name", name)?)?))
        };
        entries.into_iter().map(read).collect()
    }

    /// Tells the oldest. Returns whether there may be more.
    async fn tell_some(&self, peer: PeerId) -> bool {
        let (numbers, names) = match self.due(peer).await {
            Ok(due) => due,
            Err(refusal) => {
                tracing::debug!(%refusal, "storage does not say what peers are to hear");
                return false;
            }
        };
        if names.is_empty() || self.registry.turn(&peer).await.is_err() {
            return false;
        }
        let told = names.len();
        let Ok(Answer::Forget { done: true }) =
            self.registry.ask(&peer, body::forget(names), self.patience).await
        else {
            return false;
        };
        let delivered = self.storage.offload().delivered(DeliveredRequest { numbers }).await;
        if let Err(refusal) = replied(delivered) {
            tracing::debug!(%refusal, "storage does not take that a peer was told; it is told again");
            return false;
        }
        self.metrics.deletions_sent.inc_by(told as u64);
        told >= MAX_CARRIED_BLOBS
    }
}

#[cfg(test)]
mod tests;
