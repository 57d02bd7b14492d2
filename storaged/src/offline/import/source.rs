//! An older relay's SQLite file, opened to be read.

use crate::db::open::open_file;
use crate::db::{Sql as _, StoreError, Write};
use crate::offline::import::report::Fate;
use crate::offline::import::{ImportPart, Target};
use relay_daemon::Failure;
use rusqlite::{Connection, Row};
use std::fs;
use std::path::Path;

/// One table of such a file.
pub(crate) struct OldTable {
    pub(crate) name: &'static str,
    /// Those of name, content, when a row was stored and, where there is one, its end.
    pub(crate) columns: &'static [&'static str],
    /// What a row is called.
    pub(crate) of: &'static str,
    /// What is reported of a file that has no such table.
    pub(crate) without: &'static str,
}

/// A row as it was found.
#[derive(Debug)]
pub(crate) struct OldRow {
    pub(crate) name: Vec<u8>,
    pub(crate) content: Vec<u8>,
    /// When it was stored, and its end, in seconds; nothing where there is no sensible number.
    pub(crate) created: Option<u64>,
    pub(crate) expires: Option<u64>,
}

/// Stores the rows of a table of a file, in the order in which they came. They are read one by one: the file is open to
/// nobody for longer than a row.
///
/// # Errors
/// When the file is no database, is damaged, or may not be read, or when nothing can be stored.
pub(crate) fn take(
    target: &mut Target,
    file: &Path,
    table: &OldTable,
    heard: &mut dyn FnMut(u64, u64),
    store: impl FnMut(&mut Write<'_>, OldRow) -> Result<Fate, StoreError>,
) -> Result<ImportPart, Failure> {
    let sql = connect(file).map_err(|error| super::unreadable(error.into()))?;
    let Some(rows) = table.rows(&sql).map_err(super::unreadable)? else {
        return Ok(ImportPart::left(table.without));
    };
    let all = rows.len() as u64;
    let mut rows = rows.into_iter();
    let next = || {
        let Some(row) = rows.next() else { return Ok(None) };
        let row = table.read(&sql, row)?;
        let size = row.content.len();
        Ok(Some((row, size)))
    };
    let tally = target.write_all(next, store, |done| heard(done, all))?;
    Ok(ImportPart::Read { of: table.of, tally })
}

impl OldTable {
    /// Numbers of the rows, oldest first; nothing where there is no such table, or it lacks a column.
    fn rows(&self, sql: &Connection) -> Result<Option<Vec<i64>>, StoreError> {
        let Self { name, columns, .. } = self;
        if !sql.has("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [name])? {
            return Ok(None);
        }
        for column in *columns {
            if !sql.has("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2", [name, column])? {
                return Ok(None);
            }
        }
        let order = format!("SELECT rowid FROM \"{name}\" ORDER BY created_at_secs, rowid");
        sql.all(&order, [], |row| row.get(0)).map(Some)
    }

    fn read(&self, sql: &Connection, row: i64) -> Result<OldRow, StoreError> {
        let query = format!("SELECT {} FROM \"{}\" WHERE rowid = ?1", self.columns.join(", "), self.name);
        sql.only(&query, [row], |row| {
            Ok(OldRow {
                name: bytes(row, 0),
                content: bytes(row, 1),
                created: seconds(row, 2),
                expires: seconds(row, 3),
            })
        })
    }
}

/// The bytes in a column, which is a blob or a text; none where it is neither.
fn bytes(row: &Row<'_>, column: usize) -> Vec<u8> {
    let bytes = row.get_ref(column).ok().and_then(|value| value.as_bytes_or_null().ok()).flatten();
    bytes.unwrap_or_default().to_vec()
}

/// The seconds in a column; nothing where there is no sensible number, or no such column.
fn seconds(row: &Row<'_>, column: usize) -> Option<u64> {
    row.get_ref(column).ok()?.as_i64().ok()?.try_into().ok()
}

/// Nothing of the file is changed. Its log, where it has one, is read with it, for which SQLite lays an index beside it;
/// without a log there is nothing to lay, and the directory may be one that nobody can write to.
fn connect(file: &Path) -> Result<Connection, rusqlite::Error> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    let how = if has_log { "mode=ro" } else { "immutable=1" };
    let sql = open_file(file, how)?;
    sql.execute_batch("PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;")?;
    Ok(sql)
}
