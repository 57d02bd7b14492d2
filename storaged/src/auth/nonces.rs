//! The `used` table: single-use values that were used, as digests.
//!
//! A value is forgotten once its signed time is long past. The newest time so forgotten is kept as a floor:
//! nothing signed at or before it is accepted any more, so that a clock set back brings no value back.

use crate::db::{KeyColumn, RowLifetime, SWEEP_ROWS, Sql as _, Store, StoreError, Table, meta, moment};
use relay_proto::limits::SIGNATURE_WINDOW_SECS;
use relay_proto::{StorageError, UnixSeconds};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

/// Name of the floor among the single numbers.
const FLOOR: &str = "used_floor";

/// Name of the moment until which, in seconds, nothing signed is accepted since a backup was put in.
pub(crate) const RESTORED: &str = "restored_floor";

/// What a restore at that moment refuses: whatever could have been used before it, which is what was signed up to a
/// window ahead of the relay's clock.
pub(crate) fn restored_floor(now: UnixSeconds) -> i64 {
    moment(now.plus(SIGNATURE_WINDOW_SECS))
}

/// How long a value is remembered past its window, in seconds.
const MARGIN_SECS: u64 = 3600;

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "used",
    key: KeyColumn::Bytes("digest"),
    content: "0",
    beside: 90,
    moment: "hour",
    lifetime: RowLifetime::Since,
    total: None,
    may_go: None,
};

/// Digest of a single-use value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nonce([u8; 32]);

impl Nonce {
    /// Digests a value, apart from all values of other kinds.
    pub(crate) fn of(kind: &str, value: &[u8]) -> Self {
        let mut hasher = Sha256::new_with_prefix("vauchi-relay/once/v1\0");
        hasher.update(kind);
        hasher.update([0]);
        hasher.update(value);
        Self(hasher.finalize().into())
    }
}

/// Refuses a value that was used before, or could have been.
pub(crate) fn check(sql: &Connection, value: Nonce, timestamp: UnixSeconds) -> Result<(), StoreError> {
    expect_late(sql, timestamp)?;
    if sql.has("SELECT 1 FROM used WHERE digest = ?1", [value.0])? {
        return Err(StorageError::Replayed.into());
    }
    Ok(())
}

/// Refuses what was signed so early that it may have been forgotten.
fn expect_late(sql: &Connection, timestamp: UnixSeconds) -> Result<(), StoreError> {
    let restored = meta::get(sql, RESTORED)?.unwrap_or(0);
    let floor = meta::get(sql, FLOOR)?.unwrap_or(0);
    if moment(timestamp.hour_ceil()) <= floor || moment(timestamp) <= restored {
        return Err(StorageError::OutsideWindow.into());
    }
    Ok(())
}

/// Uses a value that was signed at `timestamp`, or refuses because it was used before.
pub(crate) fn take(sql: &Connection, value: Nonce, timestamp: UnixSeconds) -> Result<(), StoreError> {
    expect_late(sql, timestamp)?;
    let hour = timestamp.hour_ceil();
    let fresh =
        sql.run("INSERT OR IGNORE INTO used (digest, hour) VALUES (?1, ?2)", params![value.0, moment(hour)])?;
    if fresh == 0 { Err(StorageError::Replayed.into()) } else { Ok(()) }
}

/// Forgets the values whose window is long past.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds) -> Result<u64, StoreError> {
    store.in_batches(SWEEP_ROWS, move |write, limit| forget(write.sql, now, limit)).await
}

/// Forgets up to `limit` values whose window is long past, and raises the floor. Returns how many.
fn forget(sql: &Connection, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let past = moment(now.minus(SIGNATURE_WINDOW_SECS + MARGIN_SECS));
    let mut statement = sql.prepare_cached(
        "DELETE FROM used WHERE digest IN
             (SELECT digest FROM used WHERE hour < ?1 ORDER BY hour LIMIT ?2)
         RETURNING hour",
    )?;
    let mut rows = statement.query(params![past, limit])?;
    let (mut forgotten, mut newest) = (0, None);
    while let Some(row) = rows.next()? {
        newest = newest.max(Some(row.get::<_, i64>(0)?));
        forgotten += 1;
    }
    drop(rows);
    if let Some(hour) = newest {
        let floor = meta::get(sql, FLOOR)?.unwrap_or(0).max(hour);
        meta::set(sql, FLOOR, floor)?;
    }
    Ok(forgotten)
}
