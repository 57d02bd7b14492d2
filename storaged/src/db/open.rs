//! Opening the database, and how SQLite is set.

use crate::db::volume::directory::{
    self, DATABASE, LOG, expect_data, lock, make_private_file, mark, sync_directory, trouble,
};
use crate::db::volume::{disk_space, generation, replacement};
use crate::db::writer::copy;
use crate::db::{StoreError, schema};
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Older releases can lose acknowledged commits when a checkpoint meets a commit that resets the log.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a connection waits for another one's lock.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Bytes of the log that survive a checkpoint.
const LOG_LIMIT: i64 = 64 << 20;

/// Where the database is.
#[derive(Debug, Clone)]
pub(crate) enum DatabaseLocation {
    File { directory: PathBuf, database: PathBuf },
    Memory { uri: String },
}

/// The data directory, owned for as long as this value lives.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    pub(crate) place: DatabaseLocation,
    /// Whether the process before left nothing in the log.
    pub(crate) log_was_empty: bool,
    _lock: Option<File>,
}

impl DataDirectory {
    /// Takes the data directory: makes it where it is missing, locks it, and checks that what must be in it
    /// is. With the memory backend there is nothing to take.
    pub(crate) fn take(backend: Backend, directory: &Path) -> Result<Self, Failure> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(Failure::new(
                Exit::Internal,
                format_args!(
                    "SQLite {} can lose commits; build the relay with the bundled one",
                    rusqlite::version()
                ),
            ));
        }
        if backend == Backend::Memory {
            static STORES: AtomicU64 = AtomicU64::new(0);
            let number = STORES.fetch_add(1, Ordering::Relaxed);
            return Ok(Self {
                place: DatabaseLocation::Memory { uri: format!("file:/relay-{number}?vfs=memdb") },
                log_was_empty: true,
                _lock: None,
            });
        }
        disk_space::giving_way(Some(directory), || Self::take_directory(directory))
    }

    fn take_directory(directory: &Path) -> Result<Self, Failure> {
        directory::make(directory)?;
        let lock = lock(directory)?;
        let database = directory.join(DATABASE);
        // What processes left that died while they made a backup or put one in.
        drop(fs::remove_file(directory.join(copy::COPY)));
        replacement::clear(directory);
        let finished = replacement::finish(directory);
        finished.map_err(|error| trouble("finish the restore in", directory, &error))?;
        expect_data(directory, &database)?;
        generation::check(directory, &database)?;
        let log_was_empty = generation::is_empty(&directory.join(LOG));
        let place = DatabaseLocation::File { directory: directory.to_owned(), database };
        Ok(Self { place, log_was_empty, _lock: Some(lock) })
    }

    /// Opens the one connection that writes, and brings the schema up to date.
    pub(crate) fn open_writer(&self) -> Result<Connection, Failure> {
        let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
        let mut connection = match &self.place {
            DatabaseLocation::File { directory, database } => {
                if !database.exists() {
                    make_private_file(directory, database)
                        .and_then(|()| sync_directory(directory))
                        .map_err(|error| trouble("make the database", database, &error))?;
                    tracing::warn!(
                        directory = %directory.display(),
                        "a new, empty store is made; if mail was there before, stop the relay and look whether its volume \
                         is mounted"
                    );
                }
                Connection::open_with_flags(database, flags()).map_err(|error| {
                    match StoreError::from(error) {
                        StoreError::Io(_) => {
                            trouble("open the database", database, &io::ErrorKind::PermissionDenied.into())
                        }
                        other => other.into(),
                    }
                })?
            }
            DatabaseLocation::Memory { uri } => Connection::open_with_flags(uri, flags()).map_err(failed)?,
        };
        connection.busy_timeout(LOCK_WAIT).map_err(failed)?;
        schema::check(&connection)?;
        set_up(&connection, &self.place).map_err(Failure::from)?;
        schema::migrate(&mut connection).map_err(Failure::from)?;
        if let DatabaseLocation::File { directory, .. } = &self.place {
            mark(directory).map_err(|error| trouble("mark the data directory", directory, &error))?;
        }
        connection.set_prepared_statement_cache_capacity(128);
        Ok(connection)
    }

    /// Takes a data directory that has a database, for an operator's work on it.
    pub(crate) fn take_existing(directory: &Path) -> Result<Self, Failure> {
        if !directory.join(DATABASE).exists() && !replacement::is_pending(directory) {
            return Err(Failure::new(
                Exit::DataMissing,
                format_args!("there is no relay.db in {}; set RELAY_DATA_DIR", directory.display()),
            ));
        }
        Self::take(Backend::Sqlite, directory)
    }

    /// Opens the database as it is, without bringing its schema up to date.
    pub(crate) fn open_at_rest(&self) -> Result<Connection, Failure> {
        let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
        let connection = self.connect().map_err(failed)?;
        schema::check(&connection)?;
        set_up(&connection, &self.place).map_err(Failure::from)?;
        Ok(connection)
    }

    /// Opens the database to be looked at: nothing of it changes, not even where its log ends.
    pub(crate) fn open_to_look(&self) -> Result<Connection, Failure> {
        let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
        let DatabaseLocation::File { database, .. } = &self.place else {
            return Err(Failure::new(Exit::Usage, "a relay in memory keeps nothing"));
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags).map_err(failed)?;
        let settings = "PRAGMA query_only=ON; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;
                        PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;";
        connection.execute_batch(settings).map_err(failed)?;
        schema::check(&connection)?;
        Ok(connection)
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        match &self.place {
            DatabaseLocation::File { database, .. } => Connection::open_with_flags(database, flags()),
            DatabaseLocation::Memory { uri } => Connection::open_with_flags(uri, flags()),
        }
    }

    /// Opens a connection that only reads.
    pub(crate) fn open_reader(&self) -> Result<Connection, StoreError> {
        let connection = self.connect()?;
        connection.busy_timeout(LOCK_WAIT)?;
        connection.execute_batch(
            "PRAGMA query_only=ON; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;
             PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA cache_size=-4096;",
        )?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }
}

/// Opens a file to be read. `how` says in SQLite's words what it need not look for: a log, or whether the file changes.
pub(crate) fn open_file(file: &Path, how: &str) -> Result<Connection, rusqlite::Error> {
    let path = file.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{path}?{how}"), flags)
}

/// No creation: a file that is missing now was there a moment ago.
fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Sets every pragma that durability and privacy rest on, and reads it back: SQLite ignores what it does not
/// understand.
fn set_up(connection: &Connection, place: &DatabaseLocation) -> Result<(), StoreError> {
    // Before the first table, or it has no effect.
    set(connection, "auto_vacuum", "INCREMENTAL", "2")?;
    let (journal, synchronous) = match place {
        DatabaseLocation::File { .. } => ("wal", "2"),
        DatabaseLocation::Memory { .. } => ("memory", "0"),
    };
    set(connection, "journal_mode", journal, journal)?;
    set(connection, "synchronous", synchronous, synchronous)?;
    set(connection, "secure_delete", "ON", "1")?;
    set(connection, "wal_autocheckpoint", "0", "0")?;
    set(connection, "journal_size_limit", &LOG_LIMIT.to_string(), &LOG_LIMIT.to_string())?;
    set(connection, "temp_store", "MEMORY", "2")?;
    set(connection, "trusted_schema", "OFF", "0")?;
    set(connection, "cell_size_check", "ON", "1")?;
    set(connection, "foreign_keys", "ON", "1")?;
    set(connection, "cache_size", "-8192", "-8192")?;
    if matches!(place, DatabaseLocation::File { .. }) {
        set(connection, "mmap_size", "0", "0")?;
    }
    Ok(())
}

fn set(connection: &Connection, pragma: &str, value: &str, expected: &str) -> Result<(), StoreError> {
    connection.pragma_update_and_check(None, pragma, value, |_| Ok(())).or_else(|error| match error {
        // Some pragmas answer with a row, some do not.
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    })?;
    let read: rusqlite::types::Value = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
    let read = match read {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        _ => String::new(),
    };
    if read == expected {
        Ok(())
    } else {
        tracing::error!(pragma, "SQLite did not take a setting");
        Err(StoreError::Internal(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(directory: &Path) -> Result<Connection, Failure> {
        DataDirectory::take(Backend::Sqlite, directory)?.open_writer()
    }

    #[test]
    fn files_are_private_and_settings_hold() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let connection = opened(&data).unwrap();
        let vacuum: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
        assert_eq!(vacuum, 2);
        for (name, mode) in [("", 0o700), ("relay.db", 0o600), ("relay.db-wal", 0o600), ("lock", 0o600)] {
            let found = fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{name}");
        }
    }

    #[test]
    fn a_second_owner_is_refused_with_the_directory_named() {
        let directory = tempfile::tempdir().unwrap();
        let _first = DataDirectory::take(Backend::Sqlite, directory.path()).unwrap();
        let refused = DataDirectory::take(Backend::Sqlite, directory.path()).unwrap_err();
        assert_eq!(refused.exit, Exit::Locked);
        assert!(refused.text.contains(&directory.path().display().to_string()), "{refused}");
    }

    #[test]
    fn a_database_that_is_gone_is_never_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        drop(opened(directory.path()).unwrap());
        fs::remove_file(directory.path().join("relay.db")).unwrap();
        assert_eq!(opened(directory.path()).unwrap_err().exit, Exit::DataMissing);
        assert!(!directory.path().join("relay.db").exists());
    }

    #[test]
    fn foreign_newer_and_damaged_files_are_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("relay.db");
        drop(opened(directory.path()).unwrap());
        Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let refused = opened(directory.path()).unwrap_err();
        assert_eq!(refused.exit, Exit::Schema);
        assert!(refused.text.contains("99"), "{refused}");

        let foreign = tempfile::tempdir().unwrap();
        let other = Connection::open(foreign.path().join("relay.db")).unwrap();
        other.execute_batch("CREATE TABLE mine (x)").unwrap();
        assert_eq!(opened(foreign.path()).unwrap_err().exit, Exit::Schema);

        let damaged = tempfile::tempdir().unwrap();
        let path = damaged.path().join("relay.db");
        fs::write(&path, vec![b'x'; 8192]).unwrap();
        assert_eq!(opened(damaged.path()).unwrap_err().exit, Exit::Corrupt);
        assert_eq!(fs::read(&path).unwrap(), vec![b'x'; 8192]);
    }

    #[test]
    fn a_directory_that_cannot_be_made_names_the_mend() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = DataDirectory::take(Backend::Sqlite, &file.join("data")).unwrap_err();
        assert!(refused.text.contains("RELAY_DATA_DIR") && !refused.text.contains("chown"), "{refused}");
    }

    #[test]
    fn links_are_followed_and_those_that_lead_nowhere_are_named_with_their_target() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("volume"), directory.path().join("data"));
        symlink(&target, &link).unwrap();
        for dangling in [link.clone(), link.join("relay")] {
            let refused = DataDirectory::take(Backend::Sqlite, &dangling).unwrap_err();
            assert_eq!(refused.exit, Exit::DataMissing);
            assert!(refused.text.contains(&target.display().to_string()), "{refused}");
            assert!(!refused.text.contains("chown"), "{refused}");
        }
        assert!(!target.exists());
        fs::create_dir(&target).unwrap();
        drop(opened(&link).unwrap());
        assert!(target.join("relay.db").exists());
    }
}
