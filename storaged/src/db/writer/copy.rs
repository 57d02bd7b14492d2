//! A consistent copy of the database, made while it serves.
//!
//! The writer makes it, a few pages between any two transactions. Being the one that writes, it knows which pages it
//! changed since they were copied and copies them again, so that the copy is of one moment, the last; and no reader
//! holds the log back meanwhile, so that a purge is answered as soon as ever.

use crate::db::{Store, StoreError};
use relay_proto::StorageError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tokio::sync::{oneshot, watch};

/// Name of the unfinished copy in the data directory. What a process that died left of one is removed at the start.
pub(crate) const COPY: &str = "backup.partial";

/// Pages that are copied between two transactions: 512 KiB, a few milliseconds.
const STEP: i32 = 128;

/// How far a copy is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CopyProgress {
    pub(crate) copied: u64,
    pub(crate) total: u64,
}

/// The file of a copy, gone when dropped.
#[derive(Debug)]
pub(crate) struct CopyFile(PathBuf);

impl CopyFile {
    /// Makes an empty one that only its owner can read.
    fn make(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(COPY);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Ok(Self(path)),
            // The one before is being handed out still.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(StorageError::Busy.into()),
            Err(error) => Err(StoreError::Io(error.raw_os_error().unwrap_or_default())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CopyFile {
    fn drop(&mut self) {
        if fs::remove_file(&self.0).is_err() {
            tracing::error!("the copy made for a backup could not be removed; it goes at the next start");
        }
    }
}

/// Makes a copy while the store serves. The file is gone when it is dropped.
pub(crate) async fn make(
    store: &Store,
    directory: PathBuf,
    progress: watch::Sender<CopyProgress>,
) -> Result<CopyFile, StoreError> {
    store.writer.copy(directory, progress).await
}

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) struct CopyJob {
    pub(crate) directory: PathBuf,
    pub(crate) progress: watch::Sender<CopyProgress>,
    pub(crate) reply: oneshot::Sender<Result<CopyFile, StoreError>>,
}

/// A copy in progress.
pub(crate) struct Copying<'a> {
    backup: Backup<'a, 'a>,
    page_bytes: u64,
}

/// Opens the connection that a copy is written through. Syncing is left to whoever takes the copy away: not to the
/// writer's thread.
pub(crate) fn target(file: &CopyFile) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let target = Connection::open_with_flags(file.path(), flags)?;
    target.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; PRAGMA cache_size=-1024;")?;
    Ok(target)
}

impl CopyJob {
    /// Makes the file.
    pub(crate) fn file(&self) -> Result<CopyFile, StoreError> {
        CopyFile::make(&self.directory)
    }

    /// Whether somebody still waits for the copy.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Answers. Whoever asked may be gone; the file goes with the answer.
    pub(crate) fn end(self, outcome: Result<CopyFile, StoreError>) {
        drop(self.reply.send(outcome));
    }
}

impl<'a> Copying<'a> {
    pub(crate) fn begin(source: &'a Connection, target: &'a mut Connection) -> Result<Self, StoreError> {
        let page_bytes = source.pragma_query_value(None, "page_size", |row| row.get(0))?;
        Ok(Self { backup: Backup::new(source, target)?, page_bytes })
    }

    /// Copies some pages. Answers whether all are copied, and how far it is.
    pub(crate) fn step(&self) -> Result<(bool, CopyProgress), StoreError> {
        let done = matches!(self.backup.step(STEP)?, StepResult::Done);
        let now = self.backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * self.page_bytes;
        let total = bytes(now.pagecount);
        Ok((done, CopyProgress { copied: total.saturating_sub(bytes(now.remaining)), total }))
    }
}

/// Copies a whole database that nobody changes into a new file, and syncs it.
pub(crate) fn whole(source: &Connection, target: &Path) -> Result<(), StoreError> {
    let io = |error: std::io::Error| StoreError::Io(error.raw_os_error().unwrap_or_default());
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(io)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(target, flags)?;
    Backup::new(source, &mut connection)?.run_to_completion(STEP, std::time::Duration::ZERO, None)?;
    connection.close().map_err(|(_, error)| StoreError::from(error))?;
    fs::File::open(target).and_then(|file| file.sync_all()).map_err(io)
}
