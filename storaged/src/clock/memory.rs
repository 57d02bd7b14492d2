//! What is remembered of the clock, among the single numbers of `meta`, and what the other tables tell of the time where
//! nothing is.

use crate::clock::Memory;
use crate::db::{StoreError, count, meta};
use rusqlite::{Connection, OptionalExtension as _};

/// Names among the single numbers.
const NEWEST: &str = "clock_newest";
const RUNNING: &str = "clock_running";
const RIVAL: &str = "clock_rival";
const HELD: &str = "clock_held";

/// The hour of arrival is rounded down, in seconds.
const HOUR: u64 = 3600;

/// What is remembered. A database of a version that remembered nothing, and one that was filled from elsewhere, tell by
/// their rows what time it was at least: a clock that is far ahead of that is not believed at once.
pub(crate) fn recall(sql: &Connection) -> Result<Memory, StoreError> {
    let number = |name| Ok::<_, StoreError>(meta::get(sql, name)?.unwrap_or(0).max(0).unsigned_abs());
    let memory = Memory {
        newest: number(NEWEST)?,
        running: number(RUNNING)?,
        rival: number(RIVAL)?,
        held: number(HELD)?,
    };
    if memory.running > 0 {
        return Ok(memory);
    }
    Ok(Memory { running: newest_mail(sql)?.max(last_window(sql)?), ..memory })
}

/// Remembers it.
pub(crate) fn remember(sql: &Connection, memory: Memory) -> Result<(), StoreError> {
    let Memory { newest, running, rival, held } = memory;
    for (name, number) in [(NEWEST, newest), (RUNNING, running), (RIVAL, rival), (HELD, held)] {
        meta::set(sql, name, count(number))?;
    }
    Ok(())
}

/// When the mail that ends last arrived, or an hour later; 0 without mail.
fn newest_mail(sql: &Connection) -> Result<u64, StoreError> {
    let created = sql
        .query_row("SELECT created FROM blobs ORDER BY seq DESC LIMIT 1", [], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(created.map_or(0, |created| created.max(0).unsigned_abs().saturating_add(HOUR)))
}

/// The end of the window in which keys were made last; 0 without keys.
fn last_window(sql: &Connection) -> Result<u64, StoreError> {
    let next: Option<i64> = sql.query_row("SELECT max(number) FROM key_windows", [], |row| row.get(0))?;
    let window_secs = meta::get(sql, meta::KEY_WINDOW_SECS)?.unwrap_or(0);
    // The newest one is the next one: it begins when the last one ends.
    Ok(next.unwrap_or(0).max(0).unsigned_abs().saturating_mul(window_secs.max(0).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let sql = Connection::open_in_memory().unwrap();
        sql.execute_batch(
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER);
             CREATE TABLE blobs (seq INTEGER PRIMARY KEY, created INTEGER);
             CREATE TABLE key_windows (number INTEGER PRIMARY KEY)",
        )
        .unwrap();
        sql
    }

    #[test]
    fn what_is_remembered_is_recalled() {
        let sql = database();
        assert_eq!(recall(&sql).unwrap(), Memory::default());
        let memory = Memory { newest: 5, running: 7, rival: 11, held: 13 };
        remember(&sql, memory).unwrap();
        assert_eq!(recall(&sql).unwrap(), memory);
        sql.execute_batch("INSERT INTO blobs VALUES (9, 72000)").unwrap();
        assert_eq!(recall(&sql).unwrap(), memory, "rows tell nothing where the time is known");
    }

    #[test]
    fn where_nothing_is_remembered_the_newest_rows_tell_the_least_that_the_time_was() {
        let sql = database();
        sql.execute_batch("INSERT INTO blobs VALUES (1, 72000), (2, 36000)").unwrap();
        assert_eq!(recall(&sql).unwrap(), Memory { running: 39_600, ..Memory::default() });
        sql.execute_batch("INSERT INTO key_windows VALUES (2), (3)").unwrap();
        sql.execute_batch("INSERT INTO meta VALUES ('key_window_secs', 86400)").unwrap();
        assert_eq!(recall(&sql).unwrap(), Memory { running: 3 * 86_400, ..Memory::default() });
    }
}
