//! Telling peers what was acked or purged here, of the mail they hold. Storage keeps what is to be told
//! until the peer says that it is done.

use crate::metrics::Metrics;
use crate::roster::Roster;
use relay_daemon::Shutdown;
use relay_proto::PeerId;
use relay_proto::client::StorageClient;
use relay_proto::limits::MAX_CARRIED_BLOBS;
use relay_proto::peer::Body;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at what is to be told. A peer may know a second later.
const LOOK: Duration = Duration::from_secs(1);

/// Tells peers of deletions.
pub(crate) struct Deletions {
    pub(crate) storage: StorageClient,
    pub(crate) roster: Arc<Roster>,
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
            for peer in deletions.roster.connected() {
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

    /// Tells the oldest. Answers whether there may be more.
    async fn tell_some(&self, peer: PeerId) -> bool {
        let entries = match self.storage.outbox(peer, MAX_CARRIED_BLOBS as u32).await {
            Ok(entries) => entries,
            Err(refusal) => {
                tracing::debug!(%refusal, "storage does not say what peers are to hear");
                return false;
            }
        };
        if entries.is_empty() || self.roster.turn(&peer).await.is_err() {
            return false;
        }
        let names = entries.iter().map(|entry| entry.name).collect();
        let Ok(Body::ForgetAck(true)) = self.roster.ask(&peer, Body::Forget(names), self.patience).await
        else {
            return false;
        };
        let told = entries.len();
        let numbers = entries.into_iter().map(|entry| entry.number).collect();
        if let Err(refusal) = self.storage.delivered(numbers).await {
            tracing::debug!(%refusal, "storage does not take that a peer was told; it is told again");
            return false;
        }
        self.metrics.deletions_sent.inc_by(told as u64);
        told >= MAX_CARRIED_BLOBS
    }
}

#[cfg(test)]
mod tests;
