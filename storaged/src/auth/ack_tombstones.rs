//! The `acked` table: ids of blobs that were acked or purged, so that a late retry or a replay of their send stores
//! nothing.

use crate::db::{KeyColumn, RowLifetime, Sql as _, Store, StoreError, Table, moment};
use relay_proto::{BlobId, UnixSeconds};
use rusqlite::{Connection, params};

/// For how long an id is remembered, in seconds.
const MEMORY_SECS: u64 = 3 * 86_400;

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "acked",
    key: KeyColumn::Number("seq"),
    content: "0",
    beside: 60,
    moment: "hour",
    lifetime: RowLifetime::Since,
    total: None,
    may_go: None,
};

/// Whether the blob was acked or purged within the last three days.
pub(crate) fn contains(sql: &Connection, id: &BlobId, now: UnixSeconds) -> Result<bool, StoreError> {
    let found = sql.find(
        "SELECT 1 FROM acked WHERE id = ?1 AND hour >= ?2",
        params![id.as_bytes(), moment(oldest(now))],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Remembers a blob that a client had deleted. Without a page left it is not remembered: the deletion is worth more
/// than the memory of it.
pub(crate) fn remember_deleted(sql: &Connection, id: &BlobId, now: UnixSeconds) -> Result<(), StoreError> {
    match remember(sql, id, now) {
        Ok(()) | Err(StoreError::Full) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Remembers an id. Remembering it again counts from then.
pub(crate) fn remember(sql: &Connection, id: &BlobId, now: UnixSeconds) -> Result<(), StoreError> {
    sql.run(
        "INSERT OR REPLACE INTO acked (id, hour) VALUES (?1, ?2)",
        params![id.as_bytes(), moment(now.hour_floor())],
    )?;
    Ok(())
}

/// Forgets the oldest acks.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds) -> Result<u64, StoreError> {
    TABLE.forget(store, oldest(now)).await
}

/// The hour is rounded down, so one more keeps the promise.
fn oldest(now: UnixSeconds) -> UnixSeconds {
    now.minus(MEMORY_SECS).hour_floor()
}
