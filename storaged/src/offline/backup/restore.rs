//! Putting a backup into the place of the database.
//!
//! The copy is made and synced beside the database first. Giving it its second name is the moment from which it holds:
//! whoever takes the data directory next, be that a relay that starts or the same command again, finishes what is left
//! to do. Before that moment everything is as it was.

use crate::auth::nonces;
use crate::db::open::open_file;
use crate::db::volume::directory::{self, DATABASE};
use crate::db::volume::replacement::{PARTIAL, READY, clear, finish, ready};
use crate::db::{StoreError, meta};
use crate::offline::backup::integrity;
use relay_daemon::{Exit, Failure, Throttle};
use relay_proto::UnixSeconds;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Numbers of deletions that are passed over, so that none is given out again that somebody may remember from after the
/// backup.
const PASSED_OVER: u32 = 1_000_000;

/// What became of the database that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where it lies now, if there was one.
    pub aside: Option<PathBuf>,
}

/// Puts a copy of a backup's database into the data directory.
pub(crate) fn restore(
    directory: &Path,
    backup: &Path,
    replace: bool,
    now: UnixSeconds,
) -> Result<Restored, Failure> {
    let trouble = |error: io::Error| directory::trouble("restore into", directory, &error);
    directory::make(directory)?;
    let _lock = directory::lock(directory)?;
    // One that was cut short is done anew, with this backup; what it was to replace is what this one replaces.
    let pending = ready(directory).map_err(trouble)?;
    if pending.is_none() && directory.join(DATABASE).exists() && !replace {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "there is a relay.db in {} already; with --replace it is laid aside, not deleted",
                directory.display()
            ),
        ));
    }
    clear(directory);
    let partial = Partial(directory.join(PARTIAL));
    copy(backup, &partial.0).map_err(trouble)?;
    prepare(&partial.0, now).map_err(Failure::from)?;
    directory::give_to_owner(directory, &partial.0).map_err(trouble)?;
    File::open(&partial.0).and_then(|file| file.sync_all()).map_err(trouble)?;
    let ready = pending.unwrap_or_else(|| directory.join(format!("{READY}{}", now.get())));
    fs::rename(&partial.0, ready).and_then(|()| directory::sync_directory(directory)).map_err(trouble)?;
    let aside = finish(directory).map_err(trouble)?;
    directory::mark(directory).map_err(trouble)?;
    Ok(Restored { aside })
}

/// A copy in the making, gone when it is dropped before it got its name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        self.0.parent().map(clear).unwrap_or_default();
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target).map(drop)
}

/// What the relay must know of having been put back in time: whatever was signed until now may have been used already.
fn prepare(database: &Path, now: UnixSeconds) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(database, flags)?;
    // It is synced as a whole afterwards, and worth nothing before.
    sql.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=DELETE; PRAGMA secure_delete=ON;")?;
    meta::set(&sql, nonces::RESTORED, nonces::restored_floor(now))?;
    if sql.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? >= 4 {
        sql.execute_batch(&format!(
            "INSERT INTO sqlite_sequence (name, seq)
                 SELECT 'outbox', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'outbox');
             UPDATE sqlite_sequence SET seq = seq + {PASSED_OVER} WHERE name = 'outbox';
             -- The peer may have got the blob again since, and be the only one to have it. It is asked what it holds.
             DELETE FROM outbox WHERE EXISTS
                 (SELECT 1 FROM blobs WHERE blobs.mailbox = outbox.mailbox AND blobs.id = outbox.id
                  UNION ALL
                  SELECT 1 FROM hints WHERE hints.mailbox = outbox.mailbox AND hints.id = outbox.id);
             UPDATE totals SET outbox = (SELECT count(*) FROM outbox)"
        ))?;
    }
    sql.close().map_err(|(_, error)| error.into())
}

/// Takes stock of a database that nobody has open, without touching it.
pub(crate) fn inspect(database: &Path, pace: Throttle) -> Result<integrity::Census, Failure> {
    let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
    if !database.is_file() {
        return Err(Failure::new(Exit::DataMissing, format_args!("there is no {}", database.display())));
    }
    // A copy has no log, and none is to be made beside it.
    let sql = open_file(database, "immutable=1").map_err(failed)?;
    integrity::take(sql, pace)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contents of the files of a directory, by their names.
    fn files(directory: &Path) -> Vec<(String, String)> {
        let read = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        };
        let mut found: Vec<_> = fs::read_dir(directory).unwrap().map(read).collect();
        found.sort();
        found
    }

    #[test]
    fn one_that_fails_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("relay.db"), "old").unwrap();
        let backup = directory.path().join("no-database");
        fs::write(&backup, vec![b'x'; 8192]).unwrap();
        for backup in [backup.clone(), directory.path().join("missing")] {
            assert!(restore(directory.path(), &backup, true, UnixSeconds::new(7)).is_err());
        }
        fs::remove_file(&backup).unwrap();
        let left = files(directory.path());
        let left: Vec<_> = left.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
        assert_eq!(left, [("lock", ""), ("relay.db", "old")]);
    }
}
