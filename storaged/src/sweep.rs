//! Sweeping out what has expired, in small batches between other people's writes.
//!
//! A clock that jumped makes everything look expired. So a sweep that would take more than half of a store
//! worth speaking of waits a day first, and says so: fetches hide what has expired in the meantime, and
//! when the clock is mended nothing was lost.

use crate::metrics::Metrics;
use crate::store::batch::Write;
use crate::store::error::StoreError;
use crate::store::{
    Store, acked, answers, blobs, escrow, exchanges, forgotten, guardians, hints, outbox, recovery,
    registrations, used,
};
use relay_daemon::{Clock, Shutdown};
use relay_proto::{Refusal, UnixSeconds};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Rows in one transaction: more, and every touched page lands in the log at once.
const BATCH: u32 = 500;
/// The same for rows that may weigh 128 KiB.
const HEAVY_BATCH: u32 = 32;
/// Stores smaller than this are swept without question.
const SMALL: u64 = 1000;
/// How long an enormous sweep waits.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// Time between two sweeps of exchanges, which live for minutes.
const EXCHANGES: Duration = Duration::from_secs(60);
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
    clock: Clock,
    metrics: Metrics,
    suspended: AtomicBool,
    /// When, on the monotonic clock, too much looked expired for the first time.
    alarmed_at: Mutex<Option<Duration>>,
}

impl Sweep {
    pub(crate) fn new(store: Arc<Store>, clock: Clock, metrics: Metrics) -> Self {
        Self { store, clock, metrics, suspended: AtomicBool::new(false), alarmed_at: Mutex::default() }
    }

    /// Whether an enormous sweep waits.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    /// Sweeps at once and then every `interval`, and keeps an eye on the volume, until the process stops.
    pub(crate) async fn run(&self, interval: Duration, shutdown: Shutdown) {
        let mut sweeps = tokio::time::interval(interval);
        let mut exchanges = tokio::time::interval(EXCHANGES);
        let mut looks = tokio::time::interval(LOOK);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        exchanges.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let report = |swept: Result<(), StoreError>| {
            if let Err(error) = swept {
                tracing::warn!(%error, "the sweep ended early and goes on next time");
            }
        };
        loop {
            tokio::select! {
                _ = sweeps.tick() => report(self.sweep().await),
                _ = exchanges.tick() => report(self.sweep_exchanges().await),
                _ = looks.tick() => {
                    let room = Arc::clone(&self.store.room);
                    // A panic in there is reported by the hook; the next look comes anyway.
                    drop(tokio::task::spawn_blocking(move || room.tend()).await);
                    self.store.writer.chore(give_back);
                }
                () = shutdown.begun() => return,
            }
        }
    }

    /// One sweep through everything that expires.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.is_sane(now).await? {
            let mut total = 0;
            loop {
                let expired = self.batch(move |write| blobs::expire(write, now, BATCH)).await?;
                self.metrics.blobs_expired.inc_by(expired);
                total += expired;
                if expired < u64::from(BATCH) {
                    break;
                }
            }
            loop {
                let expired = self.batch(move |write| hints::expire(write, now, BATCH)).await?;
                self.metrics.hints_expired.inc_by(expired);
                if expired < u64::from(BATCH) {
                    break;
                }
            }
            if total > 0 {
                tracing::info!(blobs = total, "expired mail swept");
            }
            self.all(BATCH, move |write| registrations::expire(write, now, BATCH)).await?;
            self.all(BATCH, move |write| recovery::expire(write, now, BATCH)).await?;
            self.all(BATCH, move |write| guardians::expire(write, now, BATCH)).await?;
            self.all(HEAVY_BATCH, move |write| escrow::expire(write, now, HEAVY_BATCH)).await?;
            self.all(BATCH, move |write| outbox::expire(write, now, BATCH)).await?;
        }
        self.sweep_exchanges().await?;
        self.all(BATCH, move |write| acked::forget(write.sql, now, BATCH)).await?;
        self.all(BATCH, move |write| used::forget(write.sql, now, BATCH)).await?;
        self.all(BATCH, move |write| forgotten::expire(write.sql, now, BATCH)).await?;
        self.all(BATCH, move |write| answers::forget(write.sql, now, BATCH)).await
    }

    /// Sweeps out exchanges, from the log as well: they are over after minutes, for the disk too.
    pub(crate) async fn sweep_exchanges(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let erased = |write: &mut Write<'_>, swept: u64| {
            if swept > 0 {
                write.answer_after_erasure();
            }
            swept
        };
        let expire = move |write: &mut Write<'_>| {
            let swept = exchanges::expire(write, now, HEAVY_BATCH)?;
            Ok(erased(write, swept))
        };
        let forget = move |write: &mut Write<'_>| {
            let swept = exchanges::forget(write.sql, now, HEAVY_BATCH)?;
            Ok(erased(write, swept))
        };
        for swept in [self.all(HEAVY_BATCH, expire).await, self.all(HEAVY_BATCH, forget).await] {
            match swept {
                // A reader held the log back. It is emptied as soon as nobody writes.
                Err(StoreError::Refused(Refusal::OutcomeUnknown)) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn batch(
        &self,
        write: impl FnOnce(&mut Write<'_>) -> Result<u64, StoreError> + Send + 'static,
    ) -> Result<u64, StoreError> {
        self.store.writer.run_one(write).await
    }

    async fn all(
        &self,
        batch: u32,
        write: impl Fn(&mut Write<'_>) -> Result<u64, StoreError> + Copy + Send + 'static,
    ) -> Result<(), StoreError> {
        while self.batch(write).await? >= u64::from(batch) {}
        Ok(())
    }

    /// Whether what has expired is a plausible part of the store.
    async fn is_sane(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        let gauges = &self.store.gauges;
        let half = (gauges.blobs() + gauges.hints() + gauges.recovery_proofs() + gauges.guardian_sets()) / 2;
        // What lives for days or minutes is no witness: it may well all be over.
        let count = move |sql: &rusqlite::Connection| {
            let blobs = blobs::count_expired(sql, now, half + 1)?;
            let proofs = recovery::count_expired(sql, now, half + 1)?;
            let hints = hints::count_expired(sql, now, half + 1)?;
            Ok(blobs + hints + proofs + guardians::count_expired(sql, now, half + 1)?)
        };
        let expired = self.store.readers.run(count).await?;
        let enormous = expired > half && expired >= SMALL / 2;
        let mut alarmed_at = self.alarmed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let sane = if enormous {
            let uptime = self.clock.monotonic();
            let since = *alarmed_at.get_or_insert(uptime);
            uptime.saturating_sub(since) >= PATIENCE
        } else {
            *alarmed_at = None;
            true
        };
        if !sane && !self.suspended.load(Ordering::Relaxed) {
            tracing::error!(
                "more than half of what is stored looks expired: expiry waits for a day. Is the clock right?"
            );
        }
        self.suspended.store(!sane, Ordering::Relaxed);
        self.metrics.sweep_suspended.set(i64::from(!sane));
        Ok(sane)
    }
}

/// Gives some free pages back to the volume, when there are many.
fn give_back(sql: &rusqlite::Connection) {
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
    if let Err(error) = vacuum().map_err(StoreError::from) {
        tracing::warn!(%error, "free pages could not be given back");
    }
}
