//! The policy that all gateways share, as storage tells it.

use crate::metrics::Metrics;
use crate::versions::Versions;
use relay_daemon::bucket::Rate;
use relay_proto::client::StorageClient;
use relay_proto::policy::Policy;
use relay_proto::{AddressKey, NoiseKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A policy, ready for use by every request.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) address_key: AddressKey,
    pub(crate) address_rate: Rate,
    /// For one oblivious relay that the operator named.
    pub(crate) oblivious_rate: Rate,
    pub(crate) versions: Versions,
    /// By which other relays know this one, where it peers.
    pub(crate) federation_key: Option<NoiseKey>,
}

impl From<Policy> for Standing {
    fn from(policy: Policy) -> Self {
        let Policy { address_key, address_rate, oblivious_rate, versions, federation_key } = policy;
        Self {
            address_key,
            address_rate: Rate::per_minute(address_rate),
            oblivious_rate: Rate::per_minute(oblivious_rate),
            versions: versions.into(),
            federation_key,
        }
    }
}

/// The policy that holds now, once storage has told one. While storage is away the last one stands.
#[derive(Debug, Clone)]
pub(crate) struct StandingPolicy(watch::Receiver<Option<Arc<Standing>>>);

impl StandingPolicy {
    /// The policy, if there is one yet.
    pub(crate) fn current(&self) -> Option<Arc<Standing>> {
        self.0.borrow().clone()
    }

    /// The policy, if it comes in time. Only a gateway that was up before storage has to wait at all.
    pub(crate) async fn within(&self, patience: Duration) -> Option<Arc<Standing>> {
        if let Some(standing) = self.current() {
            return Some(standing);
        }
        let mut receiver = self.0.clone();
        let found = timeout(patience, receiver.wait_for(Option::is_some)).await.ok()?.ok()?;
        found.clone()
    }
}

/// Where [`follow`] posts what it hears.
pub(crate) type Board = watch::Sender<Option<Arc<Standing>>>;

/// A board without a policy, and its readers' side.
pub(crate) fn board() -> (Board, StandingPolicy) {
    let (board, receiver) = watch::channel(None);
    (board, StandingPolicy(receiver))
}

/// Follows storage's policy for as long as the process lives, through any number of restarts of storage.
pub(crate) async fn follow(storage: StorageClient, board: Board, metrics: Arc<Metrics>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match storage.watch().await {
            Ok(mut policies) => {
                while let Some(Ok(policy)) = policies.next().await {
                    if metrics.storage_reachable.get() == 0 {
                        tracing::info!("storage is reachable");
                    }
                    metrics.storage_reachable.set(1);
                    pause = FIRST_PAUSE;
                    board.send_replace(Some(Arc::new(policy.into())));
                }
            }
            Err(refusal) => tracing::debug!(%refusal, "storage tells no policy"),
        }
        if metrics.storage_reachable.get() == 1 {
            tracing::warn!("storage went away");
        }
        metrics.storage_reachable.set(0);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
