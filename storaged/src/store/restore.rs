//! Putting a backup into the place of the database.

use super::error::StoreError;
use super::open::{self, DATABASE};
use super::{census, meta, used};
use relay_daemon::{Exit, Failure};
use relay_proto::UnixSeconds;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Name of the unfinished copy. Whatever is left of one is written over.
const PARTIAL: &str = "restore.partial";

/// What became of the database that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where it lies now, if there was one.
    pub aside: Option<PathBuf>,
}

/// Puts a copy of a backup's database into the data directory. Until the last step everything is as it was.
pub(super) fn restore(
    directory: &Path,
    backup: &Path,
    replace: bool,
    now: UnixSeconds,
) -> Result<Restored, Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| open::trouble("make the data directory", directory, &error))?;
    let _lock = open::lock(directory)?;
    let database = directory.join(DATABASE);
    let is_there = database.exists();
    if is_there && !replace {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "there is a relay.db in {} already; with --replace it is laid aside, not deleted",
                directory.display()
            ),
        ));
    }
    let partial = directory.join(PARTIAL);
    let trouble = |error: io::Error| open::trouble("write", &partial, &error);
    copy(backup, &partial).map_err(trouble)?;
    prepare(&partial, now).map_err(Failure::from)?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(trouble)?;
    let aside = if is_there { Some(lay_aside(directory, now).map_err(trouble)?) } else { None };
    for left in ["relay.db-wal", "relay.db-shm"] {
        // Of a database that is gone, or was laid aside with what belongs to it.
        drop(fs::remove_file(directory.join(left)));
    }
    fs::rename(&partial, &database).map_err(trouble)?;
    open::mark(directory).and_then(|()| open::sync_directory(directory)).map_err(trouble)?;
    Ok(Restored { aside })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target).map(drop)
}

/// What the relay must know of having been put back in time: whatever was signed until now may have been used already.
fn prepare(database: &Path, now: UnixSeconds) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(database, flags)?;
    sql.execute_batch("PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;")?;
    meta::set(&sql, used::RESTORED, used::restored_floor(now))?;
    sql.close().map_err(|(_, error)| error.into())
}

fn lay_aside(directory: &Path, now: UnixSeconds) -> io::Result<PathBuf> {
    let aside = directory.join(format!("relay.db.before-{}", now.get()));
    // The log first: without it the database lacks its last commits, and a second try finds both.
    let log = directory.join("relay.db-wal");
    if log.exists() {
        fs::rename(log, directory.join(format!("relay.db.before-{}-wal", now.get())))?;
    }
    fs::rename(directory.join(DATABASE), &aside)?;
    open::sync_directory(directory)?;
    Ok(aside)
}

/// Takes stock of a database that nobody has open, without touching it.
pub(super) fn inspect(database: &Path) -> Result<census::Census, Failure> {
    let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
    if !database.is_file() {
        return Err(Failure::new(Exit::DataMissing, format_args!("there is no {}", database.display())));
    }
    // A copy has no log, and none is to be made beside it.
    let path = database.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags).map_err(failed)?;
    census::take(&sql)
}
