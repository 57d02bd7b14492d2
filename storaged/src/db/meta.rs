//! The `meta` table: single numbers that outlive the process.

use crate::db::error::StoreError;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A number by its name.
pub(crate) fn get(sql: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    Ok(sql
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

/// Sets a number.
pub(crate) fn set(sql: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}
