//! Sweeping out what has expired, in small batches between other people's writes.
//!
//! A clock that jumped makes everything look expired. So a sweep goes by the trusted time, which is never later than
//! the clock's.

use crate::auth::{ack_tombstones, idempotency, nonces};
use crate::clock::{BEHIND, TrustedClock};
use crate::db::{SWEEP_ROWS, Store, StoreError, compact};
use crate::mail::purging::Purging;
use crate::mail::{blobs, registrations};
use crate::maintenance::future_tombstones;
use crate::metrics::Metrics;
use crate::records::{self, exchange};
use crate::transfer::{claims, outbox, remote_blobs, tombstones};
use relay_daemon::Shutdown;
use relay_proto::UnixSeconds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time between two sweeps of exchanges, which live for minutes.
const EXCHANGES: Duration = Duration::from_secs(60);
/// Time after which the trusted time is written down again.
const KEEP: Duration = Duration::from_secs(60);
/// Time between two looks at the volume.
const LOOK: Duration = Duration::from_secs(2);
/// Sweeps the store.
#[derive(Debug)]
pub(crate) struct Sweep {
    store: Arc<Store>,
    time: Arc<TrustedClock>,
    metrics: Metrics,
    purging: Purging,
    /// Whether tombstones may have been made under a clock that was ahead.
    doubts_tombstones: AtomicBool,
}

impl Sweep {
    pub(crate) fn new(store: Arc<Store>, time: Arc<TrustedClock>, metrics: Metrics) -> Self {
        let purging = Purging::new(Arc::clone(&store), Arc::clone(&time), metrics.clone());
        Self { store, time, metrics, purging, doubts_tombstones: AtomicBool::new(true) }
    }

    /// Sweeps at once and then every `interval`, keeps the time and an eye on the volume, until the process stops.
    pub(crate) async fn run(&self, interval: Duration, shutdown: Shutdown) {
        let every = |time| {
            let mut ticks = tokio::time::interval(time);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        };
        let [mut sweeps, mut exchanges, mut looks, mut keeps] = [interval, EXCHANGES, LOOK, KEEP].map(every);
        let report = |swept: Result<(), StoreError>| {
            if let Err(error) = swept {
                tracing::warn!(%error, "the sweep ended early and goes on next time");
            }
        };
        loop {
            tokio::select! {
                _ = sweeps.tick() => report(self.sweep().await),
                _ = exchanges.tick() => {
                    report(self.purging.resume().await);
                    report(self.sweep_exchanges().await);
                }
                _ = looks.tick() => {
                    let room = Arc::clone(&self.store.room);
                    // A panic in there is reported by the hook; the next look comes anyway.
                    drop(tokio::task::spawn_blocking(move || room.tend()).await);
                    compact::give_back_many(&self.store);
                }
                _ = keeps.tick() => {
                    if let Err(error) = self.time.keep(&self.store).await {
                        tracing::debug!(%error, "the time could not be written down; it is a minute later");
                    }
                }
                () = shutdown.begun() => return,
            }
        }
    }

    /// One sweep through everything that expires.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.time.times().deletable;
        self.purging.resume().await?;
        self.sweep_mail(now).await?;
        claims::sweep(&self.store, now).await?;
        registrations::sweep(&self.store, now).await?;
        for kind in records::KINDS {
            if let Some(rows) = kind.swept {
                kind.table.sweep(&self.store, now, rows).await?;
            }
        }
        outbox::TABLE.sweep(&self.store, now, SWEEP_ROWS).await?;
        self.sweep_exchanges().await?;
        self.check_tombstones().await?;
        ack_tombstones::sweep(&self.store, now).await?;
        nonces::sweep(&self.store, now).await?;
        tombstones::sweep(&self.store, now).await.map(drop)
    }

    /// Sweeps out mail, and hints at mail.
    async fn sweep_mail(&self, now: UnixSeconds) -> Result<(), StoreError> {
        // A peer whose mail is held here may have a clock that is a little behind: nothing of its goes early.
        let ended = now.minus(BEHIND);
        let blobs = blobs::sweep(&self.store, ended, &self.metrics.blobs_expired).await?;
        if blobs > 0 {
            tracing::info!(blobs, "expired mail swept");
        }
        remote_blobs::sweep(&self.store, now, &self.metrics.hints_expired).await
    }

    /// Sweeps out exchanges, and answers to calls with them.
    pub(crate) async fn sweep_exchanges(&self) -> Result<(), StoreError> {
        let now = self.time.times().deletable_minutes;
        exchange::sweep(&self.store, now, self.time.is_trusted()).await?;
        idempotency::TABLE.sweep(&self.store, now, SWEEP_ROWS).await.map(drop)
    }

    /// Once the clock is right, tombstones that were made while it was ahead count from now.
    async fn check_tombstones(&self) -> Result<(), StoreError> {
        if !self.time.is_trusted() {
            self.doubts_tombstones.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if !self.doubts_tombstones.load(Ordering::Relaxed) {
            return Ok(());
        }
        future_tombstones::bring_back(&self.store, self.time.times().now).await?;
        self.doubts_tombstones.store(false, Ordering::Relaxed);
        Ok(())
    }
}
