//! Statements, rows, and numbers between Rust, which counts from zero, and SQLite, which has signed integers only.

use crate::db::StoreError;
use relay_proto::mail::BlobName;
use relay_proto::{BlobId, MailboxHash, UnixSeconds};
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

/// A moment as SQLite keeps it. The far end of time is the end SQLite knows.
pub(crate) fn moment(time: UnixSeconds) -> i64 {
    count(time.get())
}

/// A moment from SQLite.
pub(crate) fn time(seconds: i64) -> UnixSeconds {
    UnixSeconds::new(seconds.max(0).unsigned_abs())
}

/// A count as SQLite keeps it.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Statements that are prepared once, and run as often as they are asked for.
pub(crate) trait Sql {
    /// Runs a statement. Returns how many rows it changed.
    fn run(&self, statement: &str, params: impl Params) -> Result<u64, StoreError>;

    /// Whether a query finds a row.
    fn has(&self, query: &str, params: impl Params) -> Result<bool, StoreError>;

    /// Reads the first row of a query, if there is one.
    fn find<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError>;

    /// Reads the row of a query that always has one.
    fn only<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError>;

    /// Reads all rows of a query.
    fn all<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError>;
}

impl Sql for Connection {
    fn run(&self, statement: &str, params: impl Params) -> Result<u64, StoreError> {
        Ok(self.prepare_cached(statement)?.execute(params)? as u64)
    }

    fn has(&self, query: &str, params: impl Params) -> Result<bool, StoreError> {
        Ok(self.prepare_cached(query)?.exists(params)?)
    }

    fn find<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.prepare_cached(query)?.query_row(params, read).optional()?)
    }

    fn only<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        Ok(self.prepare_cached(query)?.query_row(params, read)?)
    }

    fn all<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.prepare_cached(query)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    }
}

/// The blob that two columns of a row name, from this one on.
pub(crate) fn blob_name(row: &Row<'_>, first: usize) -> rusqlite::Result<BlobName> {
    Ok(BlobName {
        mailbox: MailboxHash::from_bytes(row.get(first)?),
        blob_id: BlobId::from_bytes(row.get(first + 1)?),
    })
}
