//! The relay's keys for Oblivious HTTP: turned in time, durable before anybody sees them, signed, and handed to
//! gateways.

use crate::clock::{Times, TrustedClock};
use crate::config::KeySettings;
use crate::db::{Store, StoreError};
use crate::metrics::Metrics;
use crate::ohttp_keys::signer::Signer;
use crate::ohttp_keys::turn::{self, Turned};
use bytes::Bytes;
use relay_daemon::{Exit, Failure, Shutdown};
use relay_proto::StorageError;
use relay_proto::keys::{DAY_SECS, fingerprint};
use relay_proto::messages::{CertificateStatus, KeySet, KeyStatus, WindowStatus};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often gateways ask again, at most and at least, in seconds.
const LONGEST_REFRESH: u64 = 60;
const SHORTEST_REFRESH: u64 = 1;
/// Refreshes in a window.
const REFRESHES: u64 = 6;

/// Turns and signs keys.
#[derive(Debug)]
pub(crate) struct Keyring {
    store: Arc<Store>,
    time: Arc<TrustedClock>,
    metrics: Metrics,
    config: KeySettings,
    /// What the offline anchor said when it could last be read.
    offline: Mutex<Option<Signer>>,
    shown: Mutex<Option<Shown>>,
}

/// What is shown to gateways and to the operator.
#[derive(Debug, Clone)]
struct Shown {
    /// When it was made.
    made: Times,
    set: KeySet,
    status: KeyStatus,
}

impl Shown {
    fn new(turned: Turned, made: Times, window_secs: u64, refresh_secs: u64) -> Self {
        let Turned { windows, records, signer } = turned;
        let fingerprints = windows
            .iter()
            .map(|window| WindowStatus {
                number: window.key.number,
                fingerprint: Bytes::copy_from_slice(&fingerprint(&window.config)),
            })
            .collect();
        let windows = windows.into_iter().map(|window| window.key).collect();
        let set = KeySet { window_secs, refresh_secs, windows, records, rollovers: signer.rollovers };
        let problem = set.record_at(made.wall).is_none().then(|| {
            "no certificate holds at this time; run `relay anchor certify` and copy its files to RELAY_ANCHOR_DIR"
                .to_owned()
        });
        let mut certificates: Vec<_> = signer
            .certificates
            .iter()
            .map(|known| CertificateStatus {
                not_before: known.not_before.get(),
                not_after: known.not_after.get(),
            })
            .collect();
        certificates.sort_by_key(|times| times.not_before);
        let status = KeyStatus {
            window_secs,
            windows: fingerprints,
            self_anchored: signer.self_anchored,
            anchor: signer.anchor.into(),
            commitment: signer.commitment.map_or_else(Bytes::new, Into::into),
            certificates,
            problem: problem.unwrap_or_default(),
        };
        Self { made, set, status }
    }

    /// Whether it was made in the same windows and on the same day.
    fn is_of(&self, times: Times) -> bool {
        let windows = |times: Times| [times.wall, times.now].map(|time| self.set.window_at(time));
        windows(self.made) == windows(times) && self.made.wall.get() / DAY_SECS == times.wall.get() / DAY_SECS
    }
}

impl Keyring {
    /// Makes the keys of this moment.
    ///
    /// # Errors
    /// When the anchor's files cannot be used, or nothing can be stored.
    pub(crate) async fn open(
        store: Arc<Store>,
        config: KeySettings,
        time: Arc<TrustedClock>,
        metrics: Metrics,
    ) -> Result<Self, Failure> {
        if config.window_secs != DAY_SECS {
            tracing::warn!(
                seconds = config.window_secs,
                "keys for Oblivious HTTP turn after seconds, which is for tests: clients refuse them; leave \
                 RELAY_OHTTP_KEY_ROTATION_HOURS unset"
            );
        }
        let offline = match &config.anchor {
            Some(directory) => {
                let signer = Signer::offline(directory).map_err(|problem| {
                    Failure::new(Exit::Config, format_args!("RELAY_ANCHOR_DIR: {problem}"))
                })?;
                Some(signer)
            }
            None => None,
        };
        let keyring =
            Self { store, time, metrics, config, offline: Mutex::new(offline), shown: Mutex::new(None) };
        keyring.refresh().await?;
        Ok(keyring)
    }

    /// Turns keys until the process stops.
    pub(crate) async fn run(&self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(Duration::from_secs(self.refresh_secs()));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.reload();
                    if let Err(error) = self.refresh().await {
                        tracing::warn!(%error, "keys could not be turned; the next attempt follows");
                    }
                }
                () = shutdown.begun() => return,
            }
        }
    }

    /// The keys of this moment.
    pub(crate) async fn current(&self) -> Result<KeySet, StorageError> {
        let times = self.time.times();
        match self.shown() {
            Some(shown) if shown.is_of(times) => Ok(shown.set),
            // A window or a day has begun since the last tick.
            _ => Ok(self.refresh().await?.set),
        }
    }

    /// What the operator may know.
    pub(crate) fn status(&self) -> Result<KeyStatus, StorageError> {
        self.shown().map(|shown| shown.status).ok_or(StorageError::Unavailable)
    }

    fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refresh_secs(&self) -> u64 {
        (self.config.window_secs / REFRESHES).clamp(SHORTEST_REFRESH, LONGEST_REFRESH)
    }

    /// Reads the anchor's files again: certificates are renewed by copying new files.
    fn reload(&self) {
        let Some(directory) = &self.config.anchor else { return };
        match Signer::offline(Path::new(directory)) {
            Ok(signer) => {
                *self.offline.lock().unwrap_or_else(PoisonError::into_inner) = Some(signer);
            }
            Err(problem) => {
                tracing::warn!(%problem, "the anchor's files cannot be used; what was read before stands");
            }
        }
    }

    async fn refresh(&self) -> Result<Shown, StoreError> {
        let times = self.time.times();
        let now = times.wall;
        let offline = self.offline.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (window_secs, refresh_secs) = (self.config.window_secs, self.refresh_secs());
        let turned = turn::turn(&self.store, times, window_secs, offline).await?;
        let shown = Shown::new(turned, times, window_secs, refresh_secs);
        let ends = shown.set.record_at(now).map_or(0, |record| record.certified_until);
        self.metrics.certificate_ends(ends);
        let mut standing = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let had_none = standing.as_ref().is_none_or(|before| before.status.problem.is_empty());
        if had_none && !shown.status.problem.is_empty() {
            tracing::error!(problem = %shown.status.problem, "no signed key record is served");
        }
        *standing = Some(shown.clone());
        Ok(shown)
    }
}
