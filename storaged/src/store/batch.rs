//! One transaction and the writes in it. Each write has a savepoint: it happens whole or not at all, and its
//! failure leaves its neighbours alone.

use super::error::StoreError;
use relay_proto::Refusal;
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// What the store holds, as of the last commit. Read by everybody, written by the writer thread.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    blobs: AtomicI64,
    registrations: AtomicI64,
    arrivals: AtomicI64,
    live_pages: AtomicU64,
    file_pages: AtomicU64,
    page_bytes: AtomicU64,
    ceiling_pages: AtomicU64,
    volume_low: AtomicBool,
}

impl Gauges {
    /// Blobs stored.
    pub(crate) fn blobs(&self) -> u64 {
        self.blobs.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Mailboxes registered.
    pub(crate) fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Blobs that ever arrived.
    fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Bytes of the pages in use.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_pages.load(Ordering::Relaxed) * self.page_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use.
    pub(crate) fn ceiling_bytes(&self) -> u64 {
        self.ceiling_pages.load(Ordering::Relaxed) * self.page_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the database file has once the log is copied into it.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_pages.load(Ordering::Relaxed) * self.page_bytes.load(Ordering::Relaxed)
    }

    /// Whether new mail is refused: 95 % of the ceiling is in use, or the volume is nearly full. The rest
    /// stays for acks, purges and expiry.
    pub(crate) fn is_full(&self) -> bool {
        let (live, ceiling) =
            (self.live_pages.load(Ordering::Relaxed), self.ceiling_pages.load(Ordering::Relaxed));
        self.volume_low.load(Ordering::Relaxed) || live >= ceiling - ceiling / 20
    }

    /// Sets the ceiling.
    pub(super) fn set_ceiling(&self, pages: u64, page_bytes: u64) {
        self.ceiling_pages.store(pages, Ordering::Relaxed);
        self.page_bytes.store(page_bytes, Ordering::Relaxed);
    }

    /// Whether the volume under the database was found nearly full.
    pub(super) fn is_volume_low(&self) -> bool {
        self.volume_low.load(Ordering::Relaxed)
    }

    /// Says whether the volume under the database is nearly full. Answers what was said before.
    pub(super) fn set_volume_low(&self, low: bool) -> bool {
        self.volume_low.swap(low, Ordering::Relaxed)
    }

    /// Reads the sums and the size from the database.
    pub(super) fn load(&self, connection: &Connection) -> Result<(), StoreError> {
        let (blobs, registrations, arrivals) =
            connection.query_row("SELECT blobs, registrations, arrivals FROM totals", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        self.arrivals.store(arrivals, Ordering::Relaxed);
        self.blobs.store(blobs, Ordering::Relaxed);
        self.registrations.store(registrations, Ordering::Relaxed);
        self.set_size(Size::read(connection)?);
        Ok(())
    }

    fn set_size(&self, size: Size) {
        self.live_pages.store(size.pages.saturating_sub(size.free), Ordering::Relaxed);
        self.file_pages.store(size.pages, Ordering::Relaxed);
    }
}

/// Pages of the database: all, and those that wait to be used again. All alone does not fall when rows go.
#[derive(Debug, Clone, Copy)]
struct Size {
    pages: u64,
    free: u64,
}

impl Size {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let number = |pragma: &str| -> Result<u64, StoreError> {
            Ok(connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?)
        };
        Ok(Self { pages: number("PRAGMA page_count")?, free: number("PRAGMA freelist_count")? })
    }
}

/// What writes add to or take from the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) blobs: i64,
    pub(crate) bytes: i64,
    pub(crate) registrations: i64,
    arrivals: i64,
}

/// One write in progress.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    /// The connection, inside a transaction and a savepoint.
    pub(crate) sql: &'a Connection,
    /// What this write changes in the sums.
    pub(crate) change: &'a mut Change,
    /// What the store held before this batch.
    pub(crate) gauges: &'a Gauges,
    erasure: &'a mut bool,
}

impl Write<'_> {
    /// The number of a blob that arrives now. No two have the same.
    pub(crate) fn arrive(&mut self) -> u64 {
        self.change.arrivals += 1;
        self.gauges.arrivals().saturating_add_signed(self.change.arrivals)
    }

    /// Asks that the answer waits until deleted content is gone from the log as well.
    pub(crate) fn answer_after_erasure(&mut self) {
        *self.erasure = true;
    }
}

/// A transaction in progress.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    sql: &'a Connection,
    gauges: &'a Gauges,
    change: Change,
    erasure: bool,
    broken: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn begin(sql: &'a Connection, gauges: &'a Gauges) -> Result<Self, StoreError> {
        sql.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { broken: false, ..Self::broken(sql, gauges) })
    }

    /// A batch that refuses every write.
    pub(super) fn broken(sql: &'a Connection, gauges: &'a Gauges) -> Self {
        Self { sql, gauges, change: Change::default(), erasure: false, broken: true }
    }

    /// Does one write, whole or not at all.
    pub(crate) fn attempt<T>(
        &mut self,
        write: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.broken {
            return Err(Refusal::OutcomeUnknown.into());
        }
        let before = self.change;
        self.sql.prepare_cached("SAVEPOINT one")?.execute([])?;
        let outcome = self.attempt_loose(write);
        let closed = match outcome {
            Ok(_) => self.close(&["RELEASE one"]),
            Err(_) => {
                self.change = before;
                self.close(&["ROLLBACK TO one", "RELEASE one"])
            }
        };
        closed.and(outcome)
    }

    /// Does one write without a savepoint, for half the cost: its statements stand alone. Each leaves store and
    /// sums sound, whether the next one succeeds or not.
    pub(crate) fn attempt_loose<T>(
        &mut self,
        write: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.broken {
            return Err(Refusal::OutcomeUnknown.into());
        }
        let outcome = write(&mut Write {
            sql: self.sql,
            change: &mut self.change,
            gauges: self.gauges,
            erasure: &mut self.erasure,
        });
        if outcome.is_err() {
            self.broken = self.sql.is_autocommit();
        }
        outcome
    }

    fn close(&mut self, statements: &[&str]) -> Result<(), StoreError> {
        let closed = statements.iter().try_for_each(|statement| -> Result<(), StoreError> {
            self.sql.prepare_cached(statement)?.execute([])?;
            Ok(())
        });
        // Some failures make SQLite roll back everything; what came before is gone with it.
        if closed.is_err() || self.sql.is_autocommit() {
            self.broken = true;
        }
        closed
    }

    /// Whether the write just done asked for erasure.
    pub(super) fn take_erasure(&mut self) -> bool {
        std::mem::take(&mut self.erasure)
    }

    /// Ends the transaction. On success everything in it is on disk.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        let committed = self.try_commit();
        if committed.is_err() && !self.sql.is_autocommit() {
            // Whether it succeeds changes nothing: the caller treats the outcome as unknown.
            drop(self.sql.execute_batch("ROLLBACK"));
        }
        committed
    }

    fn try_commit(&self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Refused(Refusal::OutcomeUnknown));
        }
        let Change { blobs, bytes, registrations, arrivals } = self.change;
        if self.change != Change::default() {
            self.sql
                .prepare_cached(
                    "UPDATE totals SET blobs = blobs + ?1, bytes = bytes + ?2, registrations = registrations + ?3,
                                       arrivals = arrivals + ?4",
                )?
                .execute([blobs, bytes, registrations, arrivals])?;
        }
        let size = Size::read(self.sql)?;
        self.sql.prepare_cached("COMMIT")?.execute([])?;
        self.gauges.blobs.fetch_add(blobs, Ordering::Relaxed);
        self.gauges.registrations.fetch_add(registrations, Ordering::Relaxed);
        self.gauges.arrivals.fetch_add(arrivals, Ordering::Relaxed);
        self.gauges.set_size(size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE totals (blobs, bytes, registrations, arrivals);
                 INSERT INTO totals VALUES (0, 0, 0, 0);
                 CREATE TABLE things (name TEXT UNIQUE)",
            )
            .unwrap();
        connection
    }

    fn add(write: &mut Write<'_>, name: &str) -> Result<(), StoreError> {
        write.change.blobs += 1;
        write.sql.execute("INSERT INTO things VALUES (?1)", [name])?;
        Ok(())
    }

    #[test]
    fn a_write_that_fails_leaves_its_neighbours_and_the_sums_alone() {
        let connection = database();
        let gauges = Gauges::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        batch.attempt(|write| add(write, "first")).unwrap();
        let failed = batch.attempt(|write| {
            add(write, "second")?;
            add(write, "first")
        });
        assert!(failed.is_err());
        batch.attempt(|write| add(write, "third")).unwrap();
        batch.commit().unwrap();
        let names: String =
            connection.query_row("SELECT group_concat(name) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!(names, "first,third");
        assert_eq!(gauges.blobs(), 2);
    }

    #[test]
    fn a_loose_write_that_fails_leaves_its_neighbours_and_the_sums_alone() {
        let connection = database();
        let gauges = Gauges::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        let insert = |write: &mut Write<'_>, name: &str| -> Result<(), StoreError> {
            write.sql.execute("INSERT INTO things VALUES (?1)", [name])?;
            write.change.blobs += 1;
            Ok(())
        };
        batch.attempt_loose(|write| insert(write, "first")).unwrap();
        assert!(batch.attempt_loose(|write| insert(write, "first")).is_err());
        batch.attempt_loose(|write| insert(write, "second")).unwrap();
        batch.commit().unwrap();
        let count: u64 = connection.query_row("SELECT count(*) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!((count, gauges.blobs()), (2, 2));
    }

    #[test]
    fn after_sqlite_gave_up_the_transaction_nothing_is_answered_well() {
        let connection = database();
        let gauges = Gauges::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        batch.attempt(|write| add(write, "first")).unwrap();
        let gone = batch.attempt(|write| {
            write.sql.execute_batch("ROLLBACK")?;
            Err::<(), _>(StoreError::Full)
        });
        assert!(gone.is_err());
        assert!(batch.attempt(|write| add(write, "second")).is_err());
        assert!(batch.commit().is_err());
        let count: i64 = connection.query_row("SELECT count(*) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!((count, gauges.blobs()), (0, 0));
    }

    #[test]
    fn the_last_twentieth_is_kept_for_deletions() {
        let gauges = Gauges::default();
        gauges.set_ceiling(1000, 4096);
        for (live, full) in [(0, false), (949, false), (950, true), (1000, true)] {
            gauges.live_pages.store(live, Ordering::Relaxed);
            assert_eq!(gauges.is_full(), full, "{live}");
        }
        gauges.live_pages.store(0, Ordering::Relaxed);
        gauges.set_volume_low(true);
        assert!(gauges.is_full());
    }
}
