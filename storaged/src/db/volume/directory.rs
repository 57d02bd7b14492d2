//! The data directory: who has it, whose its files are, and what must be in it.

use relay_daemon::{Exit, Failure};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Name of the database in the data directory.
pub(crate) const DATABASE: &str = "relay.db";

/// Name of its log.
pub(crate) const LOG: &str = "relay.db-wal";

/// Makes it, for its owner alone, where it is missing.
pub(crate) fn make(directory: &Path) -> Result<(), Failure> {
    follow_links(directory)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| trouble("make the data directory", directory, &error))
}

/// Says where links lead on the way to the directory. Through one that leads nowhere nothing is made.
fn follow_links(directory: &Path) -> Result<(), Failure> {
    for place in directory.ancestors() {
        let Ok(target) = fs::read_link(place) else { continue };
        if !place.exists() {
            return Err(Failure::new(
                Exit::DataMissing,
                format_args!(
                    "{} is a symbolic link to {}, which is not there; mount its volume, or set RELAY_DATA_DIR to another \
                     directory",
                    place.display(),
                    target.display()
                ),
            ));
        }
        if place == directory {
            tracing::info!(link = %place.display(), target = %target.display(), "the data directory is a symbolic link");
        }
    }
    Ok(())
}

/// Locks it for whoever holds the file.
pub(crate) fn lock(directory: &Path) -> Result<File, Failure> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| trouble("open the lock file", &path, &error))?;
    give_to_owner(directory, &path).map_err(|error| trouble("give away", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Locked,
            format_args!(
                "another storaged owns {}; stop it, or set RELAY_DATA_DIR to another directory",
                directory.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(trouble("lock", &path, &error)),
    }
}

/// Data that was here once must be here now: an empty mailbox is worse than an error.
pub(crate) fn expect_data(directory: &Path, database: &Path) -> Result<(), Failure> {
    let log = directory.join("relay.db-wal");
    if !database.exists() && (marker(directory).exists() || log.exists()) {
        return Err(Failure::new(
            Exit::DataMissing,
            format_args!(
                "{} held a relay's data, and its relay.db is gone; bring the file back or restore a backup \
                 (relay restore). To begin anew with an empty relay, empty the directory",
                directory.display()
            ),
        ));
    }
    Ok(())
}

/// Says that a database was made here.
fn marker(directory: &Path) -> PathBuf {
    directory.join("initialized")
}

/// Says so.
pub(crate) fn mark(directory: &Path) -> io::Result<()> {
    if marker(directory).exists() {
        return Ok(());
    }
    make_private_file(directory, &marker(directory))?;
    sync_directory(directory)
}

/// Makes an empty file that only its owner can read.
pub(crate) fn make_private_file(directory: &Path, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.flush()?;
    give_to_owner(directory, path)?;
    file.sync_all()
}

/// Gives a file to whom the data directory belongs, where an operator works on it as root.
pub(crate) fn give_to_owner(directory: &Path, path: &Path) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(directory)?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

/// Makes names last that were given or taken in it.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What the operator is told when the disk refuses something.
pub(crate) fn trouble(action: &str, path: &Path, error: &io::Error) -> Failure {
    let uid = nix::unistd::geteuid();
    let (exit, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied => (Exit::Permission, denied(path, uid)),
        io::ErrorKind::ReadOnlyFilesystem => (Exit::Permission, "its volume is mounted read-only".to_owned()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Exit::Io, "make room on its volume".to_owned())
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (Exit::Io, "something else is in its place; set RELAY_DATA_DIR to a directory".to_owned())
        }
        _ => (Exit::Io, "check the disk".to_owned()),
    };
    Failure::new(exit, format_args!("cannot {action} {}: {error}; {advice}", path.display()))
}

/// Names the file, and nothing beside or below it: what else lies there is not the relay's to give away.
fn denied(path: &Path, uid: nix::unistd::Uid) -> String {
    let directory = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let is_empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    let hint = if is_empty { ", or mount its volume: the directory is empty" } else { "" };
    let owned = if path.exists() { path } else { directory };
    format!("storaged runs as uid {uid} (mend: chown {uid} {}{hint})", owned.display())
}
