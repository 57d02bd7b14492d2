//! One transaction and the writes in it. Each write has a savepoint: it happens whole or not at all, and its
//! failure leaves its neighbours alone.

use crate::db::steps::STEP_BYTES;
use crate::db::totals::{Size, foreign_bytes};
use crate::db::volume::generation;
use crate::db::{Change, STEP_ROWS, Space, Sql as _, StoreError, Total, Totals, count};
use relay_proto::StorageError;
use rusqlite::{Connection, Params};

/// One write in progress.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    /// The connection, inside a transaction and a savepoint.
    pub(crate) sql: &'a Connection,
    /// What this write changes in the sums.
    pub(crate) change: &'a mut Change,
    /// What the store held before this batch.
    pub(crate) gauges: &'a Totals,
    erasure: &'a mut bool,
    freed: &'a mut u64,
}

impl Write<'_> {
    /// Returns a total, with what this transaction changes.
    pub(crate) fn total(&self, total: Total) -> u64 {
        self.gauges.with_change(total, self.change)
    }

    /// Whether a total is more than nothing.
    pub(crate) fn has(&self, total: Total) -> bool {
        self.total(total) > 0
    }

    /// The number of a blob that arrives now. No two have the same.
    pub(crate) fn arrive(&mut self) -> u64 {
        self.change[Total::ARRIVALS] += 1;
        self.last_arrival()
    }

    /// The number of the last blob that arrived.
    pub(crate) fn last_arrival(&self) -> u64 {
        self.total(Total::ARRIVALS)
    }

    /// Fails while the store is full.
    pub(crate) fn expect_room(&self) -> Result<(), StoreError> {
        if self.gauges.is_full() { Err(StorageError::StorageFull.into()) } else { Ok(()) }
    }

    /// Fails when a table has as many rows as fit beside the mail, at one for each so many bytes of the database's
    /// ceiling, and while the store is full.
    pub(crate) fn expect_place(&self, total: Total, bytes_each: u64) -> Result<(), StoreError> {
        if self.space(total, bytes_each).free == 0 {
            return Err(StorageError::StorageFull.into());
        }
        self.expect_room()
    }

    /// Returns how many rows there may be, at one for each so many bytes of the database's ceiling, and how many more.
    pub(crate) fn space(&self, total: Total, bytes_each: u64) -> Space {
        self.gauges.space(total, self.change, bytes_each)
    }

    /// Whether a blob of so many bytes may be held for a peer more: mail of others never takes more than half of the
    /// store, so that the relay's own has room however full its peers are.
    pub(crate) fn has_foreign_room(&self, size: u64) -> bool {
        let change =
            foreign_bytes(self.change[Total::HELD_BYTES], self.change[Total::HELD].saturating_add(1));
        let taken = self.gauges.foreign_bytes().saturating_add_signed(change).saturating_add(size);
        taken <= self.gauges.ceiling_bytes() / 2
    }

    /// Inserts rows that a total counts. Returns how many.
    pub(crate) fn insert(
        &mut self,
        total: Total,
        statement: &str,
        params: impl Params,
    ) -> Result<u64, StoreError> {
        let rows = self.sql.run(statement, params)?;
        self.change[total] += count(rows);
        Ok(rows)
    }

    /// Deletes rows that a total counts. Returns how many.
    pub(crate) fn delete(
        &mut self,
        total: Total,
        statement: &str,
        params: impl Params,
    ) -> Result<u64, StoreError> {
        let rows = self.sql.run(statement, params)?;
        self.change[total] -= count(rows);
        Ok(rows)
    }

    /// Notes how many bytes of content a row had that was deleted. They are written over, so they are work as well.
    pub(crate) fn free(&mut self, bytes: i64) {
        *self.freed = self.freed.saturating_add(bytes.max(0).unsigned_abs());
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
    gauges: &'a Totals,
    change: Change,
    erasure: bool,
    /// Bytes of content that were deleted.
    freed: u64,
    broken: bool,
    /// What the disk said to one of the writes, the worst of it.
    failure: Option<StoreError>,
    /// Rows that the connection had changed before.
    changed_before: u64,
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(sql: &'a Connection, gauges: &'a Totals) -> Result<Self, StoreError> {
        sql.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { broken: false, ..Self::broken(sql, gauges) })
    }

    /// A batch that refuses every write.
    pub(crate) fn broken(sql: &'a Connection, gauges: &'a Totals) -> Self {
        Self {
            sql,
            gauges,
            change: Change::default(),
            erasure: false,
            freed: 0,
            broken: true,
            failure: None,
            changed_before: sql.total_changes(),
        }
    }

    /// Does one write, whole or not at all.
    pub(crate) fn with_savepoint<T>(
        &mut self,
        write: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.broken {
            return Err(StorageError::OutcomeUnknown.into());
        }
        let before = (self.change, self.erasure, self.freed);
        self.run("SAVEPOINT one")?;
        let outcome = self.without_savepoint(write);
        let closed = match outcome {
            Ok(_) => self.close(&["RELEASE one"]),
            Err(_) => {
                // What a failed write asked for is not done.
                (self.change, self.erasure, self.freed) = before;
                self.close(&["ROLLBACK TO one", "RELEASE one"])
            }
        };
        closed.and(outcome)
    }

    /// Does one write without a savepoint, for half the cost: its statements stand alone. Each leaves store and
    /// sums sound, whether the next one succeeds or not.
    pub(crate) fn without_savepoint<T>(
        &mut self,
        write: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.broken {
            return Err(StorageError::OutcomeUnknown.into());
        }
        let outcome = write(&mut Write {
            sql: self.sql,
            change: &mut self.change,
            gauges: self.gauges,
            erasure: &mut self.erasure,
            freed: &mut self.freed,
        });
        self.note(outcome)
    }

    /// Remembers what the disk said. After a failure nothing of this transaction is to be believed.
    fn note<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let Err(error) = &outcome else { return outcome };
        // Some failures make SQLite roll back everything; what came before is gone with it.
        self.broken |= error.is_fatal() || self.sql.is_autocommit();
        let has_fatal = self.failure.as_ref().is_some_and(StoreError::is_fatal);
        if let Some(error) = error.of_disk().filter(|_| !has_fatal) {
            self.failure = Some(error);
        }
        outcome
    }

    fn run(&mut self, statement: &str) -> Result<(), StoreError> {
        let run = || -> Result<(), StoreError> {
            self.sql.prepare_cached(statement)?.execute([])?;
            Ok(())
        };
        let outcome = run();
        self.note(outcome)
    }

    /// Whether a write found no room.
    pub(crate) fn lacked_room(&self) -> bool {
        self.failure.as_ref().is_some_and(StoreError::may_be_full)
    }

    /// Whether a total is more than nothing.
    pub(crate) fn has(&self, total: Total) -> bool {
        self.gauges.with_change(total, &self.change) > 0
    }

    /// Whether peers have or claim mail, or some is held for them.
    pub(crate) fn involves_peers(&self) -> bool {
        [Total::HELD, Total::LEASES, Total::HINTS, Total::CLAIMS].into_iter().any(|total| self.has(total))
    }

    fn close(&mut self, statements: &[&str]) -> Result<(), StoreError> {
        let closed = statements.iter().try_for_each(|statement| self.run(statement));
        if closed.is_err() || self.sql.is_autocommit() {
            self.broken = true;
        }
        closed
    }

    /// Whether so much was changed that what waits belongs into the next transaction.
    pub(crate) fn is_large(&self) -> bool {
        self.freed >= STEP_BYTES || self.sql.total_changes() - self.changed_before >= u64::from(STEP_ROWS)
    }

    /// Whether the write just done asked for erasure.
    pub(crate) fn take_erasure(&mut self) -> bool {
        std::mem::take(&mut self.erasure)
    }

    /// Ends the transaction. On success everything in it is on disk. Where it is to begin a generation of the log,
    /// answers whether it did: one that changed nothing does not.
    pub(crate) fn commit(mut self, begins: bool) -> Result<bool, StoreError> {
        let committed = self.try_commit(begins);
        if committed.is_err() && !self.sql.is_autocommit() {
            // Whether it succeeds changes nothing: the caller treats the outcome as unknown.
            drop(self.sql.execute_batch("ROLLBACK"));
        }
        committed
    }

    fn try_commit(&mut self, begins: bool) -> Result<bool, StoreError> {
        if self.broken {
            return Err(self.failure.take().unwrap_or(StoreError::Refused(StorageError::OutcomeUnknown)));
        }
        self.change.write(self.sql)?;
        let begins = begins && self.sql.total_changes() != self.changed_before;
        if begins {
            generation::begin(self.sql)?;
        }
        let size = Size::read(self.sql)?;
        self.sql.prepare_cached("COMMIT")?.execute([])?;
        self.gauges.committed(&self.change, size);
        Ok(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let columns: Vec<_> = crate::db::schema::TOTALS.iter().map(|(column, _)| *column).collect();
        let zeros = vec!["0"; columns.len()].join(", ");
        connection
            .execute_batch(&format!(
                "CREATE TABLE totals ({}); INSERT INTO totals VALUES ({zeros}); CREATE TABLE things (name TEXT UNIQUE)",
                columns.join(", ")
            ))
            .unwrap();
        connection
    }

    fn add(write: &mut Write<'_>, name: &str) -> Result<(), StoreError> {
        write.change[Total::BLOBS] += 1;
        write.sql.execute("INSERT INTO things VALUES (?1)", [name])?;
        Ok(())
    }

    #[test]
    fn a_write_that_fails_leaves_its_neighbours_and_the_sums_alone() {
        let connection = database();
        let gauges = Totals::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        batch.with_savepoint(|write| add(write, "first")).unwrap();
        let failed = batch.with_savepoint(|write| {
            add(write, "second")?;
            add(write, "first")
        });
        assert!(failed.is_err());
        batch.with_savepoint(|write| add(write, "third")).unwrap();
        batch.commit(false).unwrap();
        let names: String =
            connection.query_row("SELECT group_concat(name) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!(names, "first,third");
        assert_eq!(gauges.of(Total::BLOBS), 2);
    }

    #[test]
    fn a_write_that_fails_asks_for_no_erasure() {
        let connection = database();
        let gauges = Totals::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        let refused = batch.with_savepoint(|write| {
            write.answer_after_erasure();
            write.free(1 << 30);
            Err::<(), _>(StorageError::BadSignature.into())
        });
        assert!(refused.is_err() && !batch.is_large());
        assert!(!batch.take_erasure());
        batch
            .with_savepoint(|write| {
                write.answer_after_erasure();
                Ok(())
            })
            .unwrap();
        assert!(batch.take_erasure());
    }

    #[test]
    fn a_batch_is_large_by_rows_or_by_what_it_deleted() {
        let connection = database();
        let gauges = Totals::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        for number in 0..STEP_ROWS {
            assert!(!batch.is_large(), "{number}");
            batch.with_savepoint(|write| add(write, &number.to_string())).unwrap();
        }
        assert!(batch.is_large());
        batch.commit(false).unwrap();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        assert!(!batch.is_large());
        batch
            .with_savepoint(|write| {
                write.free(4 << 20);
                Ok(())
            })
            .unwrap();
        assert!(batch.is_large());
    }

    #[test]
    fn a_loose_write_that_fails_leaves_its_neighbours_and_the_sums_alone() {
        let connection = database();
        let gauges = Totals::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        let insert = |write: &mut Write<'_>, name: &str| -> Result<(), StoreError> {
            write.sql.execute("INSERT INTO things VALUES (?1)", [name])?;
            write.change[Total::BLOBS] += 1;
            Ok(())
        };
        batch.without_savepoint(|write| insert(write, "first")).unwrap();
        assert!(batch.without_savepoint(|write| insert(write, "first")).is_err());
        batch.without_savepoint(|write| insert(write, "second")).unwrap();
        batch.commit(false).unwrap();
        let count: u64 = connection.query_row("SELECT count(*) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!((count, gauges.of(Total::BLOBS)), (2, 2));
    }

    #[test]
    fn what_the_disk_says_inside_a_write_ends_the_transaction() {
        for (said, fatal) in
            [(StoreError::Io(10), true), (StoreError::Corrupt(11), true), (StoreError::Full, false)]
        {
            let connection = database();
            let gauges = Totals::default();
            let mut batch = Batch::begin(&connection, &gauges).unwrap();
            batch.with_savepoint(|write| add(write, "first")).unwrap();
            let said = said.of_disk();
            assert!(batch.with_savepoint(|_| Err::<(), _>(said.unwrap())).is_err());
            assert_eq!(batch.with_savepoint(|write| add(write, "second")).is_err(), fatal);
            assert_eq!(batch.lacked_room(), !fatal);
            assert_eq!(batch.commit(false).is_err_and(|error| error.is_fatal()), fatal);
        }
    }

    #[test]
    fn only_a_commit_that_changes_something_begins_a_generation() {
        let connection = database();
        connection.execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER)").unwrap();
        let gauges = Totals::default();
        let commit = |name: Option<&str>, begins| {
            let mut batch = Batch::begin(&connection, &gauges).unwrap();
            batch.with_savepoint(|write| name.map_or(Ok(()), |name| add(write, name))).unwrap();
            batch.commit(begins).unwrap()
        };
        assert!(!commit(None, true) && !commit(Some("first"), false));
        assert!(commit(Some("second"), true));
    }

    #[test]
    fn after_sqlite_gave_up_the_transaction_nothing_is_answered_well() {
        let connection = database();
        let gauges = Totals::default();
        let mut batch = Batch::begin(&connection, &gauges).unwrap();
        batch.with_savepoint(|write| add(write, "first")).unwrap();
        let gone = batch.with_savepoint(|write| {
            write.sql.execute_batch("ROLLBACK")?;
            Err::<(), _>(StoreError::Full)
        });
        assert!(gone.is_err());
        assert!(batch.with_savepoint(|write| add(write, "second")).is_err());
        assert!(batch.commit(false).is_err());
        let count: i64 = connection.query_row("SELECT count(*) FROM things", [], |row| row.get(0)).unwrap();
        assert_eq!((count, gauges.of(Total::BLOBS)), (0, 0));
    }
}
