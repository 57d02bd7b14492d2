//! The write-ahead log: kept short under load, empty at rest, and erased when somebody asked for deletion.

use crate::db::StoreError;
use crate::db::open::LOCK_WAIT;
use crate::db::volume::disk_space::DiskSpace;
use crate::db::writer::erasure::{Answer, Erasures, READERS_WAIT};
use relay_daemon::Failure;
use rusqlite::Connection;
use rusqlite::hooks::Wal;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Pages (4 MiB) after which the log is copied into the database. Fewer cost throughput; more cost latency
/// when it happens: at 4096, one send in a hundred waited twice as long.
const PASSIVE: u32 = 1024;
/// The same on a volume that is nearly full, where the log's own room counts (1 MiB).
const PASSIVE_ON_LOW_VOLUME: u32 = 256;
/// Pages between two attempts while a reader holds the log back.
const AGAIN: u32 = 1024;
/// Pages (64 MiB) at which the writer waits for readers, so that the log stays bounded.
const AT_MOST: u32 = 16_384;

/// Watches the log of the writer's connection.
#[derive(Debug)]
pub(crate) struct Log {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    next: u32,
    unerased: bool,
    erasures: Erasures,
    /// Whether the log kept its room, and what was in it, when it was emptied last.
    kept: bool,
    /// Whether the next commit is the first of a generation: all that came before it is in the file.
    begins: bool,
    room: Arc<DiskSpace>,
}

impl Log {
    /// Starts watching. What a previous process left in the log counts as something to empty. `was_empty` says that it
    /// left nothing.
    pub(crate) fn watch(
        connection: &mut Connection,
        room: Arc<DiskSpace>,
        was_empty: bool,
    ) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU32::new(1));
        let counted = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
            counted.store(u32::try_from(pages).unwrap_or(u32::MAX), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            pages,
            next: PASSIVE,
            unerased: false,
            erasures: Erasures::default(),
            kept: false,
            begins: was_empty,
            room,
        })
    }

    /// Whether the next commit begins a generation of the log.
    pub(crate) fn begins(&self) -> bool {
        self.begins
    }

    /// A commit began one.
    pub(crate) fn began(&mut self) {
        self.begins = false;
    }

    /// Copies the log into the database when it has grown long.
    pub(crate) fn keep_short(&mut self, connection: &Connection) -> Result<(), Failure> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages >= AT_MOST || (self.room.is_low() && pages >= PASSIVE_ON_LOW_VOLUME) {
            self.empty(connection)?;
        } else if pages >= self.next {
            let caught_up = self.checkpoint(connection, "PASSIVE")?;
            self.next = if caught_up { PASSIVE } else { pages.saturating_add(AGAIN) };
        } else if pages < PASSIVE {
            self.next = PASSIVE;
        }
        Ok(())
    }

    /// Copies the log into the database, as far as readers allow.
    pub(crate) fn copy(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.checkpoint(connection, "PASSIVE").map(drop)
    }

    /// Empties the log while nobody waits.
    pub(crate) fn empty_when_idle(&mut self, connection: &Connection) -> Result<(), Failure> {
        let kept_for_nothing = self.kept && !self.room.is_low();
        if self.pages.load(Ordering::Relaxed) > 0 || self.unerased || kept_for_nothing {
            self.empty(connection).map(drop)
        } else {
            Ok(())
        }
    }

    /// Keeps these answers until what was deleted is nowhere in the log any more.
    pub(crate) fn answer_after_erasure(&mut self, answers: Vec<Answer>) {
        if !answers.is_empty() {
            self.unerased = true;
            self.erasures.wait(answers, Instant::now());
        }
    }

    /// How long nothing need be done for those who wait for an erasure; `None` while nobody does.
    pub(crate) fn erasure_due_in(&self) -> Option<Duration> {
        self.erasures.due_in(Instant::now())
    }

    /// Empties the log for those who wait for that, if it is time for it. Waits for readers for a moment only: who
    /// writes would wait as well.
    pub(crate) fn erase_when_due(&mut self, connection: &Connection) -> Result<(), Failure> {
        if self.erasure_due_in() != Some(Duration::ZERO) {
            return Ok(());
        }
        let begun = Instant::now();
        let wait =
            |time| connection.busy_timeout(time).map_err(|error| Failure::from(StoreError::from(error)));
        wait(READERS_WAIT)?;
        let emptied = self.empty(connection);
        wait(LOCK_WAIT)?;
        self.erasures.attempted(begun, Instant::now(), emptied?);
        Ok(())
    }

    /// Empties the log when nothing comes after it, and answers everybody who waited for that.
    pub(crate) fn end(&mut self, connection: &Connection) -> Result<(), Failure> {
        let emptied = self.empty(connection)?;
        self.erasures.end(emptied);
        Ok(())
    }

    /// Copies the log into the database and cuts it to nothing. On a volume that is nearly full it keeps its room, and is
    /// written over from its beginning: somebody else would take what it let go, and deletions go through the log too.
    pub(crate) fn empty(&mut self, connection: &Connection) -> Result<bool, Failure> {
        let low = self.room.is_low();
        let keeps = low && !self.unerased;
        let emptied = self.checkpoint(connection, if keeps { "RESTART" } else { "TRUNCATE" })?;
        if low {
            self.room.hold_log();
        }
        if emptied {
            self.pages.store(0, Ordering::Relaxed);
            self.unerased = false;
            self.kept = keeps;
            self.next = PASSIVE;
        }
        Ok(emptied)
    }

    /// Runs a checkpoint. Answers whether all of the log was copied, and nobody reads it. A failing disk is fatal.
    fn checkpoint(&mut self, connection: &Connection, mode: &str) -> Result<bool, Failure> {
        let outcome = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        match outcome.map_err(|error| self.room.judge(error.into())) {
            Ok((busy, log, copied)) => {
                // From here on the next commit may be written over the beginning of the log.
                self.begins |= log == copied;
                Ok(busy == 0 && log == copied)
            }
            // The commits in the log are safe; there is just no room or no lock to copy them now.
            Err(StoreError::Full | StoreError::Locked) => Ok(false),
            Err(error) => {
                tracing::error!(%error, "a checkpoint failed");
                Err(error.into())
            }
        }
    }
}
