//! The `meta` table: single numbers that outlive the process.

use crate::db::{Sql as _, Store, StoreError};
use relay_proto::UnixSeconds;
use rusqlite::{Connection, params};

/// Names of the minimum of client versions, and of the time since when it is what it is.
const MINIMUM: &str = "min_version";
const RAISED_AT: &str = "min_version_raised_at";

/// Name of the length of the windows of keys for Oblivious HTTP.
pub(crate) const KEY_WINDOW_SECS: &str = "key_window_secs";

/// A number by its name.
pub(crate) fn get(sql: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    sql.find("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
}

/// Sets a number.
pub(crate) fn set(sql: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    sql.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

/// Sets the minimum of client versions and returns when it was raised to what it is. Lowering it is no reason to start a
/// grace time.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn raise_minimum_version(
    store: &Store,
    minimum: u16,
    now: UnixSeconds,
) -> Result<UnixSeconds, StoreError> {
    store.writer.run_one(move |write| raised_at(write.sql, minimum, now)).await
}

fn raised_at(sql: &Connection, minimum: u16, now: UnixSeconds) -> Result<UnixSeconds, StoreError> {
    let known = get(sql, MINIMUM)?.unwrap_or(0);
    let since = match get(sql, RAISED_AT)? {
        Some(since) if i64::from(minimum) <= known => since,
        _ => i64::try_from(now.get()).unwrap_or(i64::MAX),
    };
    set(sql, MINIMUM, i64::from(minimum))?;
    set(sql, RAISED_AT, since)?;
    Ok(UnixSeconds::new(since.max(0).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_time_starts_when_the_minimum_rises_and_survives_restarts() {
        let sql = Connection::open_in_memory().unwrap();
        sql.execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER)").unwrap();
        let steps =
            [(0, 100, 100), (2, 200, 200), (2, 300, 200), (1, 400, 200), (2, 500, 500), (3, 600, 600)];
        for (minimum, now, expected) in steps {
            let found = raised_at(&sql, minimum, UnixSeconds::new(now)).unwrap();
            assert_eq!(found.get(), expected, "minimum {minimum} at {now}");
        }
    }
}
