//! The policy that all gateways share, as storage tells it.

use crate::layers::versions::Versions;
use crate::ops::metrics::Metrics;
use relay_daemon::bucket::Rate;
use relay_proto::client::StorageClient;
use relay_proto::field::identifier;
use relay_proto::limits::OLD_RELAY_SHARE;
use relay_proto::messages::{Policy, WatchRequest};
use relay_proto::{AddressKey, NoiseKey, StorageError, UnixSeconds, refusal_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A policy, ready for use by every request.
#[derive(Debug)]
pub(crate) struct PolicySnapshot {
    pub(crate) address_key: AddressKey,
    pub(crate) address_rate: Rate,
    /// For one oblivious relay that the operator named.
    pub(crate) oblivious_rate: Rate,
    pub(crate) versions: Versions,
    /// By which other relays know this one, where it peers.
    pub(crate) federation_key: Option<NoiseKey>,
}

impl TryFrom<Policy> for PolicySnapshot {
    type Error = StorageError;

    fn try_from(policy: Policy) -> Result<Self, StorageError> {
        let Policy {
            address_key,
            address_rate,
            min_version,
            warn_version,
            upgrade_deadline,
            oblivious_rate,
            federation_key,
            named_relay_rate,
        } = policy;
        let version = |field, number: u32| u16::try_from(number).map_err(|_| StorageError::invalid(field));
        let (minimum, warn) = (version("min_version", min_version)?, version("warn_version", warn_version)?);
        let named_relay_rate = match named_relay_rate {
            0 => oblivious_rate.saturating_mul(OLD_RELAY_SHARE),
            rate => rate,
        };
        let peers = !federation_key.is_empty();
        let federation_key = peers.then(|| identifier("federation_key", &federation_key)).transpose()?;
        Ok(Self {
            address_key: identifier("address_key", &address_key)?,
            address_rate: Rate::per_minute(address_rate),
            oblivious_rate: Rate::per_minute(named_relay_rate),
            versions: Versions::new(minimum, warn, UnixSeconds::new(upgrade_deadline)),
            federation_key,
        })
    }
}

/// The policy that holds now, once storage has told one. While storage is away the last one stands.
#[derive(Debug, Clone)]
pub(crate) struct PolicyWatch(watch::Receiver<Option<Arc<PolicySnapshot>>>);

impl PolicyWatch {
    /// The policy, if there is one yet.
    pub(crate) fn current(&self) -> Option<Arc<PolicySnapshot>> {
        self.0.borrow().clone()
    }

    /// The policy, if it comes in time. Only a gateway that was up before storage has to wait at all.
    pub(crate) async fn within(&self, patience: Duration) -> Option<Arc<PolicySnapshot>> {
        if let Some(policy) = self.current() {
            return Some(policy);
        }
        let mut receiver = self.0.clone();
        let found = timeout(patience, receiver.wait_for(Option::is_some)).await.ok()?.ok()?;
        found.clone()
    }
}

/// Where [`follow`] posts what it hears.
pub(crate) type PolicySender = watch::Sender<Option<Arc<PolicySnapshot>>>;

/// A sender that has no policy yet, and its readers' side.
pub(crate) fn channel() -> (PolicySender, PolicyWatch) {
    let (sender, receiver) = watch::channel(None);
    (sender, PolicyWatch(receiver))
}

/// Follows storage's policy for as long as the process lives, through any number of restarts of storage.
pub(crate) async fn follow(storage: StorageClient, sender: PolicySender, metrics: Arc<Metrics>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match storage.admission().watch(WatchRequest {}).await {
            Ok(policies) => {
                let mut policies = policies.into_inner();
                while let Some(Ok(policy)) = policies.next().await {
                    let policy = match PolicySnapshot::try_from(policy) {
                        Ok(policy) => policy,
                        Err(refusal) => {
                            tracing::debug!(%refusal, "storage's policy cannot be used");
                            break;
                        }
                    };
                    if metrics.storage_reachable.get() == 0 {
                        tracing::info!("storage is reachable");
                    }
                    metrics.storage_reachable.set(1);
                    pause = FIRST_PAUSE;
                    sender.send_replace(Some(Arc::new(policy)));
                }
            }
            Err(status) => tracing::debug!(refusal = %refusal_of(&status), "storage tells no policy"),
        }
        if metrics.storage_reachable.get() == 1 {
            tracing::warn!("storage went away");
        }
        metrics.storage_reachable.set(0);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::policy;
    use bytes::Bytes;

    #[test]
    fn a_policy_is_read_also_from_older_storage_and_a_version_must_fit_its_header() {
        let message = Policy {
            address_rate: 600,
            named_relay_rate: 60_005,
            oblivious_rate: 6000,
            federation_key: Bytes::from_static(&[2; 32]),
            ..policy()
        };
        let read = PolicySnapshot::try_from(message.clone()).unwrap();
        assert_eq!(read.address_rate, Rate::per_minute(600));
        assert_eq!(read.oblivious_rate, Rate::per_minute(60_005));
        assert_eq!(read.federation_key, Some(NoiseKey::from_bytes([2; 32])));
        let older = Policy { named_relay_rate: 0, ..message.clone() };
        assert_eq!(PolicySnapshot::try_from(older).unwrap().oblivious_rate, Rate::per_minute(60_000));
        assert_eq!(PolicySnapshot::try_from(policy()).unwrap().federation_key, None);
        for (wrong, field) in [
            (Policy { min_version: 70_000, ..message.clone() }, "min_version"),
            (Policy { warn_version: 70_000, ..message.clone() }, "warn_version"),
            (Policy { address_key: Bytes::new(), ..message.clone() }, "address_key"),
            (Policy { federation_key: Bytes::from_static(&[2; 31]), ..message }, "federation_key"),
        ] {
            assert_eq!(PolicySnapshot::try_from(wrong).err(), Some(StorageError::invalid(field)));
        }
    }
}
