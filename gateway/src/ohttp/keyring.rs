//! The keys that this gateway opens messages with and shows to clients, as storage tells them. In memory only.

use crate::ops::metrics::Metrics;
use bytes::Bytes;
use ohttp::Server;
use relay_daemon::Clock;
use relay_proto::client::StorageClient;
use relay_proto::field::identifier;
use relay_proto::keys::fingerprint;
use relay_proto::messages::{KeySet, KeysRequest};
use relay_proto::{StorageError, UnixSeconds, WindowSeed, key_record, refusal_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

/// How soon storage is asked again when it did not reply.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often an unknown key makes a gateway ask storage, at most.
const REFETCH_PAUSE: Duration = Duration::from_secs(1);

/// How long storage may take to tell keys.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refreshes after which keys are too old for a gateway to be ready.
const STALE_AFTER: u32 = 3;

/// Keys as they were told, ready for use.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    /// Three, and three of another time while storage does not trust its clock.
    accepted: Vec<AcceptedKey>,
    /// The encoded configuration of each window.
    configs: Vec<(u64, ShownKey)>,
    /// When they were told, on the monotonic clock.
    told_at: Duration,
}

/// A key that messages may be sealed to.
#[derive(Debug, Clone)]
pub(super) struct AcceptedKey {
    id: u8,
    /// Opens them.
    pub(super) server: Arc<Server>,
    /// What only relay and store know of the key.
    pub(super) seed: WindowSeed,
}

/// A key configuration as clients are shown it.
#[derive(Debug, Clone)]
pub(crate) struct ShownKey {
    pub(crate) config: Bytes,
    /// Lower-case hex of its SHA-256.
    pub(crate) fingerprint: String,
}

impl Keys {
    /// # Errors
    /// [`StorageError::Invalid`] for keys that cannot be used.
    fn new(set: KeySet, told_at: Duration) -> Result<Self, StorageError> {
        if set.window_secs == 0 {
            return Err(StorageError::invalid("window_secs"));
        }
        if set.refresh_secs == 0 {
            return Err(StorageError::invalid("refresh_secs"));
        }
        if set.records.iter().any(|signed| signed.record.len() > key_record::LONGEST) {
            return Err(StorageError::invalid("record"));
        }
        let (mut accepted, mut configs) = (Vec::new(), Vec::new());
        for window in &set.windows {
            let seed = identifier("seed", &window.seed)?;
            let unusable = |_| StorageError::invalid("windows");
            let config = window.config().map_err(unusable)?;
            let encoded = config.encode().map_err(unusable)?;
            let fingerprint = hex::encode(fingerprint(&encoded));
            configs.push((window.number, ShownKey { config: encoded.into(), fingerprint }));
            let server = Arc::new(Server::new(config).map_err(unusable)?);
            accepted.push(AcceptedKey { id: window.key_id(), server, seed });
        }
        Ok(Self { set, accepted, configs, told_at })
    }

    /// The key that clients are to use at a moment, and for how many seconds they may keep it.
    pub(crate) fn shown_at(&self, now: UnixSeconds) -> Option<(&ShownKey, u64)> {
        let window = self.set.window_at(now);
        let ends = window.saturating_add(1).saturating_mul(self.set.window_secs);
        let (_, key) = self.configs.iter().find(|(number, _)| *number == window)?;
        Some((key, ends.saturating_sub(now.get())))
    }

    fn accepted(&self, id: u8) -> Option<AcceptedKey> {
        self.accepted.iter().find(|key| key.id == id).cloned()
    }
}

/// Where [`Keyring::follow`] posts what it hears, and everybody reads.
#[derive(Debug)]
pub(crate) struct Keyring {
    storage: StorageClient,
    clock: Clock,
    metrics: Arc<Metrics>,
    told: watch::Sender<Option<Arc<Keys>>>,
    /// When storage was last asked because of an unknown key.
    refetched: Mutex<Option<Duration>>,
}

impl Keyring {
    pub(crate) fn new(storage: StorageClient, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { storage, clock, metrics, told: watch::Sender::new(None), refetched: Mutex::new(None) }
    }

    /// The keys, if there are any yet.
    pub(crate) fn current(&self) -> Option<Arc<Keys>> {
        self.told.borrow().clone()
    }

    /// The keys, if they come in time.
    pub(crate) async fn within(&self, patience: Duration) -> Option<Arc<Keys>> {
        if let Some(keys) = self.current() {
            return Some(keys);
        }
        let mut told = self.told.subscribe();
        let found = timeout(patience, told.wait_for(Option::is_some)).await.ok()?.ok()?;
        found.clone()
    }

    /// Whether the keys are as fresh as they should be.
    pub(crate) fn is_fresh(&self) -> bool {
        self.current().is_some_and(|keys| {
            let age = self.clock.monotonic().saturating_sub(keys.told_at);
            age <= STALE_AFTER * Duration::from_secs(keys.set.refresh_secs)
        })
    }

    /// The key of an id, if it is accepted. An unknown one makes the gateway ask storage, though not often: strangers
    /// can name any key. `None` while storage has not told any.
    pub(super) async fn accepted(&self, id: u8) -> Option<Option<AcceptedKey>> {
        let keys = self.within(PATIENCE).await?;
        if let Some(key) = keys.accepted(id) {
            return Some(Some(key));
        }
        let mut refetched = self.refetched.lock().await;
        let now = self.clock.monotonic();
        if refetched.is_none_or(|last| now.saturating_sub(last) >= REFETCH_PAUSE) {
            *refetched = Some(now);
            // If storage is away, what is known stands.
            drop(self.fetch().await);
        }
        drop(refetched);
        self.current().map(|keys| keys.accepted(id))
    }

    /// Follows storage's keys for as long as the process lives.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.fetch().await {
                Ok(refresh) => {
                    pause = FIRST_PAUSE;
                    sleep(refresh).await;
                }
                Err(refusal) => {
                    tracing::debug!(%refusal, "storage tells no keys");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Asks storage once; replies when to ask again.
    async fn fetch(&self) -> Result<Duration, StorageError> {
        let mut client = self.storage.keys();
        let reply = timeout(PATIENCE, client.current(KeysRequest {})).await;
        let reply = reply.map_err(|_| StorageError::Unavailable)?.map_err(|status| refusal_of(&status))?;
        let keys = Keys::new(reply.into_inner(), self.clock.monotonic())?;
        let refresh = Duration::from_secs(keys.set.refresh_secs);
        let ends = keys.set.record_at(self.clock.now()).map_or(0, |record| record.certified_until);
        self.metrics.certificate_ends_at(ends);
        self.told.send_replace(Some(Arc::new(keys)));
        Ok(refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::keys::key_set;
    use relay_proto::messages::{KeyWindow, SignedRecord};

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        let refused = |set| Keys::new(set, Duration::ZERO).err();
        assert_eq!(refused(key_set(1)), None);
        let with_window = |seed| KeySet { windows: vec![KeyWindow { number: 1, seed }], ..key_set(1) };
        let with_record = |length| {
            let record = SignedRecord { record: vec![0; length].into(), ..SignedRecord::default() };
            KeySet { records: vec![record], ..key_set(1) }
        };
        assert_eq!(refused(with_record(key_record::LONGEST)), None);
        for (set, field) in [
            (KeySet { window_secs: 0, ..key_set(1) }, "window_secs"),
            (KeySet { refresh_secs: 0, ..key_set(1) }, "refresh_secs"),
            (with_window(Bytes::new()), "seed"),
            (with_window(Bytes::from_static(&[0; 33])), "seed"),
            (with_record(key_record::LONGEST + 1), "record"),
        ] {
            assert_eq!(refused(set), Some(StorageError::invalid(field)));
        }
    }
}
