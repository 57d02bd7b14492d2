//! Whether the database and the log beside it belong together.
//!
//! SQLite replays any log that is whole, also over a file that was laid in the database's place by hand. So the first
//! commit into an emptied log draws a number for this generation of the log and stores it, with the number before it,
//! in the database, through the log. The file itself then has one of the two: the one before, or, once the log was
//! copied that far, the new one. A file that has neither is older, newer, or another store's.
//!
//! Everything that is compared is content, so a data directory may be moved or copied as a whole.

use crate::db::open::open_file;
use crate::db::{StoreError, meta};
use relay_daemon::{Exit, Failure};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Names among the single numbers: of this generation, and of the one before.
const CURRENT: &str = "log_generation";
const BEFORE: &str = "log_generation_before";

/// How every SQLite database begins. The first sector of a file is never half of another one.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Begins a generation, in the transaction that is its first. Everything before it must be in the file.
pub(crate) fn begin(sql: &Connection) -> Result<(), StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| StoreError::Internal(0))?;
    if let Some(current) = meta::get(sql, CURRENT)? {
        meta::set(sql, BEFORE, current)?;
    }
    meta::set(sql, CURRENT, checked(u64::from_le_bytes(random) >> 17))
}

/// Refuses a database beside a log that was not written for it, before SQLite sees the two together. Changes nothing.
///
/// # Errors
/// [`Exit::Corrupt`], with what was found and what mends it.
pub(crate) fn check(directory: &Path, database: &Path) -> Result<(), Failure> {
    let log = directory.join("relay.db-wal");
    if !database.exists() || is_empty(&log) {
        return Ok(());
    }
    let alone = alone(database);
    // SQLite would remove the log of an empty file.
    let belongs = !matches!(alone, Alone::Foreign)
        && match together(database) {
            Together::Generation(current, before) => match alone {
                Alone::Generation(found) => found == current || Some(found) == before || !is_checked(found),
                // A file that the log was not copied into yet, or that an older version of the relay wrote last.
                Alone::Nothing => before.is_none(),
                // Cut off by a power failure while the log was copied into it, which the log mends.
                Alone::Unreadable | Alone::Foreign => true,
            },
            Together::Nothing => true,
            Together::Unreadable => false,
        };
    if belongs { Ok(()) } else { Err(refusal(directory)) }
}

/// Whether a log has nothing that could be replayed.
pub(crate) fn is_empty(log: &Path) -> bool {
    fs::metadata(log).map_or(true, |log| log.len() == 0)
}

fn refusal(directory: &Path) -> Failure {
    Failure::new(
        Exit::Corrupt,
        format_args!(
            "relay.db and relay.db-wal in {} do not belong together: the log was not written for this file, or one of \
             them is damaged. Nothing was changed. If relay.db was copied here by hand, bring back the one that was here, \
             or restore a backup with `relay restore BACKUP --replace`, which lays both aside",
            directory.display()
        ),
    )
}

/// What database and log say together.
enum Together {
    Generation(i64, Option<i64>),
    /// No generation, or a reason to ask no further: whoever opens the database meets it again.
    Nothing,
    Unreadable,
}

fn together(database: &Path) -> Together {
    let read = || -> Result<_, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sql = Connection::open_with_flags(database, flags)?;
        // Or closing would copy the log into the file.
        sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Keeps the index of the log in memory: nothing is written, even where there is no room.
        sql.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF;")?;
        Ok((meta::get(&sql, CURRENT)?, meta::get(&sql, BEFORE)?))
    };
    match read() {
        Ok((Some(current), before)) => Together::Generation(current, before),
        Err(StoreError::Corrupt(_)) => Together::Unreadable,
        Ok((None, _)) | Err(_) => Together::Nothing,
    }
}

/// What the file says by itself.
enum Alone {
    Generation(i64),
    Nothing,
    /// It is no database, or an empty file.
    Foreign,
    Unreadable,
}

fn alone(database: &Path) -> Alone {
    let mut begin = [0; MAGIC.len()];
    match File::open(database).and_then(|mut file| file.read(&mut begin)) {
        Ok(_) if begin != MAGIC => return Alone::Foreign,
        Ok(_) => {}
        Err(_) => return Alone::Unreadable,
    }
    let found = open_file(database, "immutable=1").and_then(|sql| {
        let found: i64 =
            sql.query_row("SELECT value FROM meta WHERE name = ?1", [CURRENT], |row| row.get(0))?;
        Ok(found)
    });
    match found {
        Ok(found) => Alone::Generation(found),
        Err(rusqlite::Error::QueryReturnedNoRows) => Alone::Nothing,
        // There is no such table.
        Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::Unknown => {
            Alone::Nothing
        }
        Err(_) => Alone::Unreadable,
    }
}

/// A number of 47 bits with a check of 16, so that one torn by a power failure is known as such.
fn checked(random: u64) -> i64 {
    let random = random & ((1 << 47) - 1);
    ((random << 16) | check_of(random)).cast_signed()
}

fn is_checked(number: i64) -> bool {
    let number = number.cast_unsigned();
    number & 0xffff == check_of(number >> 16)
}

/// The upper bits of a product depend on every bit of both factors.
fn check_of(random: u64) -> u64 {
    random.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A store of one table, whose log is never copied into the file unless a test says so.
    struct Store {
        directory: TempDir,
        sql: Option<Connection>,
    }

    impl Store {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut store = Self { directory, sql: None };
            store.open();
            let sql = store.sql();
            sql.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;").unwrap();
            sql.execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)").unwrap();
            store
        }

        fn open(&mut self) {
            let sql = Connection::open(self.database()).unwrap();
            sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
            sql.execute_batch("PRAGMA wal_autocheckpoint=0;").unwrap();
            self.sql = Some(sql);
        }

        fn sql(&self) -> &Connection {
            self.sql.as_ref().unwrap()
        }

        fn begin(&self) {
            begin(self.sql()).unwrap();
        }

        fn copy_log(&self) {
            self.sql().query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }

        fn database(&self) -> PathBuf {
            self.directory.path().join("relay.db")
        }

        fn log(&self) -> PathBuf {
            self.directory.path().join("relay.db-wal")
        }

        /// As a killed process leaves it.
        fn check(&mut self) -> Result<(), Failure> {
            self.sql = None;
            let before = (fs::read(self.database()).unwrap(), fs::read(self.log()).unwrap());
            let outcome = check(self.directory.path(), &self.database());
            assert!(before == (fs::read(self.database()).unwrap(), fs::read(self.log()).unwrap()), "changed");
            outcome
        }

        fn passes(&mut self) {
            self.check().unwrap();
            self.open();
        }
    }

    fn refused(outcome: Result<(), Failure>) {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.exit, Exit::Corrupt);
        assert!(failure.text.contains("do not belong together"), "{failure}");
    }

    #[test]
    fn wherever_a_store_is_killed_its_log_belongs_to_it() {
        let mut store = Store::new();
        store.passes();
        for _ in 0..4 {
            store.begin();
            store.passes();
            store.sql().execute_batch("INSERT OR REPLACE INTO meta VALUES ('other', random())").unwrap();
            store.passes();
            store.copy_log();
            store.passes();
        }
    }

    #[test]
    fn an_older_copy_beside_a_newer_log_is_refused() {
        let mut store = Store::new();
        store.begin();
        store.copy_log();
        let older = fs::read(store.database()).unwrap();
        store.begin();
        store.passes();
        store.copy_log();
        store.begin();
        store.passes();
        fs::write(store.database(), &older).unwrap();
        refused(store.check());
        // One that is gone altogether is older than all.
        fs::write(store.database(), "").unwrap();
        refused(store.check());
        fs::write(store.database(), vec![b'x'; 8192]).unwrap();
        refused(store.check());
    }

    #[test]
    fn a_copy_that_the_whole_log_was_written_for_is_as_good_as_the_file() {
        let mut store = Store::new();
        store.begin();
        store.copy_log();
        let base = fs::read(store.database()).unwrap();
        store.begin();
        store.copy_log();
        fs::write(store.database(), &base).unwrap();
        store.passes();
    }

    #[test]
    fn another_stores_database_or_log_is_refused() {
        let [mut one, mut other] = [Store::new(), Store::new()];
        for store in [&one, &other] {
            store.begin();
            store.copy_log();
            store.begin();
        }
        let (database, log) = (fs::read(one.database()).unwrap(), fs::read(one.log()).unwrap());
        one.sql = None;
        other.sql = None;
        fs::copy(other.database(), one.database()).unwrap();
        refused(one.check());
        fs::write(one.database(), database).unwrap();
        one.passes();
        one.sql = None;
        fs::copy(other.log(), one.log()).unwrap();
        refused(one.check());
        fs::write(one.log(), log).unwrap();
        one.passes();
    }

    #[test]
    fn a_torn_number_is_known() {
        for random in [0, 1, 0x1234_5678_9abc, (1 << 47) - 1] {
            let number = checked(random);
            assert!(number >= 0 && is_checked(number));
            assert!(!is_checked(number ^ 1) && !is_checked(number ^ (1 << 40)));
        }
    }
}
