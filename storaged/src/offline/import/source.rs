//! An older relay's SQLite file, opened to be read.

use crate::db::StoreError;
use relay_daemon::Failure;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::fs;
use std::path::Path;

/// One table of such a file, and its rows in the order in which they came.
pub(crate) struct Source {
    pub(crate) sql: Connection,
    /// Numbers of the rows, oldest first, to be read one by one: the file is open to nobody for longer than a row.
    pub(crate) rows: Vec<i64>,
}

impl Source {
    /// Opens a file. Answers nothing where it has no such table, or one that lacks a column.
    ///
    /// # Errors
    /// When it is no database, is damaged, or may not be read.
    pub(crate) fn open(file: &Path, table: &str, columns: &[&str]) -> Result<Option<Self>, Failure> {
        let failed = |error: rusqlite::Error| super::unreadable(error.into());
        let sql = connect(file).map_err(failed)?;
        let known = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        if sql.query_row(known, [table], |_| Ok(())).optional().map_err(failed)?.is_none() {
            return Ok(None);
        }
        let has = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
        for column in columns {
            if sql.query_row(has, [table, column], |_| Ok(())).optional().map_err(failed)?.is_none() {
                return Ok(None);
            }
        }
        let order = format!("SELECT rowid FROM \"{table}\" ORDER BY created_at_secs, rowid");
        let rows = sql
            .prepare(&order)
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(failed)?;
        Ok(Some(Self { sql, rows }))
    }
}

/// Nothing of the file is changed. Its log, where it has one, is read with it, for which SQLite lays an index beside it;
/// without a log there is nothing to lay, and the directory may be one that nobody can write to.
fn connect(file: &Path) -> Result<Connection, rusqlite::Error> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    let path = file.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let how = if has_log { "mode=ro" } else { "immutable=1" };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(format!("file:{path}?{how}"), flags)?;
    sql.execute_batch("PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;")?;
    Ok(sql)
}

/// The bytes in a column, which is a blob or a text.
pub(crate) fn bytes<'row>(row: &'row rusqlite::Row<'_>, column: usize) -> Result<&'row [u8], StoreError> {
    Ok(row.get_ref(column)?.as_bytes_or_null().ok().flatten().unwrap_or_default())
}

/// The seconds in a column; nothing where there is no sensible number.
pub(crate) fn seconds(row: &rusqlite::Row<'_>, column: usize) -> Option<u64> {
    row.get_ref(column).ok()?.as_i64().ok()?.try_into().ok()
}
