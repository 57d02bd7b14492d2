//! Sweeping out what has expired, in small batches between other people's writes.
//!
//! A clock that jumped makes everything look expired. So a sweep goes by the trusted time, which is never later than
//! the clock's.

use crate::auth::{ack_tombstones, idempotency, nonces};
use crate::clock::trusted::TrustedClock;
use crate::clock::trusted_time::BEHIND;
use crate::db::Store;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::mail::purging::Purging;
use crate::mail::{blobs, registrations};
use crate::maintenance::future_tombstones::Tombstones;
use crate::metrics::Metrics;
use crate::records::{escrow, exchange, guardian, recovery};
use crate::transfer::{claims, outbox, remote_blobs, tombstones};
use relay_daemon::Shutdown;
use relay_proto::{Refusal, UnixSeconds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rows in one transaction: more, and every touched page lands in the log at once.
const BATCH: u32 = 500;
/// The same for rows that may weigh 128 KiB.
const HEAVY_BATCH: u32 = 32;
/// Tombstones that are looked at at once.
const LOOK_AT: u32 = 5000;
/// Time between two sweeps of exchanges, which live for minutes.
const EXCHANGES: Duration = Duration::from_secs(60);
/// Time after which the trusted time is written down again.
const KEEP: Duration = Duration::from_secs(60);
/// Time between two looks at the volume.
const LOOK: Duration = Duration::from_secs(2);
/// Free pages that stay for reuse.
const SPARE_PAGES: i64 = 2048;
/// Pages given back to the volume at a time.
const VACUUM_PAGES: i64 = 256;

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
        let mut sweeps = tokio::time::interval(interval);
        let mut exchanges = tokio::time::interval(EXCHANGES);
        let mut looks = tokio::time::interval(LOOK);
        let mut keeps = tokio::time::interval(KEEP);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        exchanges.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        keeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
                    self.store.writer.chore(give_back);
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
        self.all(BATCH, move |write| claims::expire(write, now, BATCH)).await?;
        self.all(BATCH, move |write| registrations::expire(write, now, BATCH)).await?;
        self.all(BATCH, move |write| registrations::grant(write.sql, now, BATCH)).await?;
        self.all(BATCH, move |write| recovery::expire(write, now, BATCH)).await?;
        self.all(BATCH, move |write| guardian::expire(write, now, BATCH)).await?;
        self.all(HEAVY_BATCH, move |write| escrow::expire(write, now, HEAVY_BATCH)).await?;
        self.all(BATCH, move |write| outbox::expire(write, now, BATCH)).await?;
        self.sweep_exchanges().await?;
        self.check_tombstones().await?;
        self.all(BATCH, move |write| ack_tombstones::forget(write.sql, now, BATCH)).await?;
        self.all(BATCH, move |write| nonces::forget(write.sql, now, BATCH)).await?;
        self.all(BATCH, move |write| tombstones::expire(write.sql, now, BATCH)).await.map(drop)
    }

    /// Sweeps out mail, and hints at mail.
    async fn sweep_mail(&self, now: UnixSeconds) -> Result<(), StoreError> {
        // A peer whose mail is held here may have a clock that is a little behind: nothing of its goes early.
        let ended = now.minus(BEHIND);
        let mut total = 0;
        loop {
            let (expired, is_over) = self.store.step(None, move |write| blobs::expire(write, ended)).await?;
            self.metrics.blobs_expired.inc_by(expired);
            total += expired;
            if is_over {
                break;
            }
        }
        if total > 0 {
            tracing::info!(blobs = total, "expired mail swept");
        }
        loop {
            let expired = self.batch(move |write| remote_blobs::expire(write, now, BATCH)).await?;
            self.metrics.hints_expired.inc_by(expired);
            if expired < u64::from(BATCH) {
                return Ok(());
            }
        }
    }

    /// Sweeps out exchanges, from the log as well: they are over after minutes, for the disk too. Answers to calls go
    /// with them.
    pub(crate) async fn sweep_exchanges(&self) -> Result<(), StoreError> {
        let now = self.time.times().deletable_minutes;
        if self.time.is_trusted() {
            self.all(HEAVY_BATCH, move |write| exchange::shorten(write.sql, now, HEAVY_BATCH)).await?;
        }
        let expired = self.all(HEAVY_BATCH, move |write| exchange::expire(write, now, HEAVY_BATCH)).await?;
        let forgotten =
            self.all(HEAVY_BATCH, move |write| exchange::forget(write.sql, now, HEAVY_BATCH)).await?;
        if expired + forgotten > 0 {
            let erase = |write: &mut Write<'_>| {
                write.answer_after_erasure();
                Ok(0)
            };
            match self.batch(erase).await {
                // A reader held the log back. It is emptied as soon as nobody writes.
                Err(StoreError::Refused(Refusal::OutcomeUnknown)) | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        self.all(BATCH, move |write| idempotency::forget(write.sql, now, BATCH)).await.map(drop)
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
        let now = self.time.times().now;
        for table in [Tombstones::Acked, Tombstones::Forgotten] {
            let mut after = 0;
            let look = |after| move |sql: &rusqlite::Connection| table.look(sql, after, now, LOOK_AT);
            while let Some(slice) = self.store.readers.run(look(after)).await? {
                if slice.is_ahead {
                    let range = (after, slice.last);
                    self.all(BATCH, move |write| table.bring_back(write.sql, range, now, BATCH)).await?;
                }
                after = slice.last;
            }
        }
        self.doubts_tombstones.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn batch(
        &self,
        write: impl FnOnce(&mut Write<'_>) -> Result<u64, StoreError> + Send + 'static,
    ) -> Result<u64, StoreError> {
        self.store.step(None, write).await
    }

    async fn all(
        &self,
        batch: u32,
        write: impl Fn(&mut Write<'_>) -> Result<u64, StoreError> + Copy + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let done = self.batch(write).await?;
            all += done;
            if done < u64::from(batch) {
                return Ok(all);
            }
        }
    }
}

/// Gives some free pages back to the volume, when there are many.
fn give_back(sql: &rusqlite::Connection) -> Result<(), StoreError> {
    let vacuum = || -> Result<(), rusqlite::Error> {
        let number = |pragma| sql.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (pages, free) = (number("page_count")?, number("freelist_count")?);
        if free > SPARE_PAGES && free > pages / 4 {
            let mut statement = sql.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    };
    vacuum()
        .map_err(StoreError::from)
        .inspect_err(|error| tracing::warn!(%error, "free pages could not be given back"))
}
