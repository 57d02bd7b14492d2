//! Room: how large the database may grow, and what happens when the volume under it fills up.
//!
//! SQLite cannot even delete on a volume without a free byte: deleting writes to the log first. So the
//! database stops growing early, and a ballast file lies ready to be thrown off: what it frees lets acks,
//! purges and expiry go on.

use crate::config::Config;
use crate::db::volume::directory::{DATABASE, LOG as LOG_FILE};
use crate::db::{StoreError, Totals};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate, posix_fallocate};
use nix::sys::statvfs::statvfs;
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure};
use rusqlite::Connection;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most that is kept free on the volume, in bytes; on small volumes a tenth.
const RESERVE: u64 = 64 << 20;
/// Most that the ballast weighs, in bytes: as much as the log may still have to bring into the database. On
/// small volumes a fiftieth.
const BALLAST: u64 = 24 << 20;

/// Name of the ballast in the data directory.
const BALLAST_FILE: &str = "ballast";
/// Bytes that the log keeps on a volume that is nearly full, whoever else wants them: so much that it is written over and
/// over before it needs more. A fiftieth of the volume, at least and at most this.
const LOG: (i64, i64) = (2 << 20, 16 << 20);
/// Less is not worth keeping.
const SMALLEST_LOG: i64 = 64 << 10;

/// Watches ceiling and volume.
#[derive(Debug)]
pub(crate) struct DiskSpace {
    directory: Option<PathBuf>,
    database_bytes: u64,
    gauges: Arc<Totals>,
}

/// What the volume has, in bytes.
#[derive(Debug, Clone, Copy)]
struct Volume {
    total: u64,
    free: u64,
}

impl DiskSpace {
    pub(crate) fn new(config: &Config, gauges: Arc<Totals>) -> Self {
        let directory = (config.backend == Backend::Sqlite).then(|| config.data.clone());
        Self { directory, database_bytes: config.bounds.database_bytes, gauges }
    }

    /// Tells SQLite how many pages it may use. Deleting stays possible when they are used up.
    pub(crate) fn apply(&self, connection: &Connection) -> Result<(), StoreError> {
        let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = (self.database_bytes / page_bytes).max(64);
        // SQLite answers with what holds: a file that is larger already keeps its size.
        let in_force: u64 =
            connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |row| row.get(0))?;
        if in_force > pages {
            tracing::warn!("the database is larger than RELAY_MAX_STORAGE_BYTES; it shrinks as mail goes");
        }
        self.gauges.set_ceiling(pages, page_bytes);
        self.look();
        self.tend();
        Ok(())
    }

    /// Looks at the volume and refuses new mail while it is nearly full. Takes two system calls, so the
    /// writer looks before every transaction: a volume can fill within a second. Answers whether it has just
    /// become low.
    pub(crate) fn look(&self) -> bool {
        let Some(volume) = self.volume() else { return false };
        let was_low = self.gauges.is_volume_low();
        // A quarter more to come back, so that mail is not let in and out by turns.
        let wanted = if was_low { reserve(volume) / 4 * 5 } else { reserve(volume) };
        let low = volume.free < wanted.saturating_add(self.growth());
        if self.gauges.set_volume_low(low) == low {
            return false;
        }
        if low {
            tracing::error!("the volume of the data directory is nearly full: new mail is refused");
        } else {
            tracing::info!("the volume of the data directory has room again");
        }
        low
    }

    /// Takes ballast aboard while there is plenty of room. Called every few seconds. Does not look: the writer
    /// must be the one to see the volume become low, for it empties the log then.
    pub(crate) fn tend(&self) {
        let plenty = |volume: &Volume| volume.free > 2 * reserve(*volume);
        if let Some(volume) = self.volume().filter(plenty)
            && let Err(error) = self.take_ballast(volume)
        {
            tracing::warn!(kind = ?error.kind(), "cannot lay the ballast file");
        }
    }

    /// Bytes that the database file has yet to take when the log is copied into it.
    fn growth(&self) -> u64 {
        let file = self.directory.as_ref().and_then(|directory| fs::metadata(directory.join(DATABASE)).ok());
        file.map_or(0, |file| self.gauges.file_bytes().saturating_sub(file.len()))
    }

    /// Throws the ballast off: a commit found no room. Answers whether there was any.
    pub(crate) fn drop_ballast(&self) -> bool {
        self.gauges.set_volume_low(true);
        self.directory.as_deref().is_some_and(let_ballast_go)
    }

    /// Whether the volume is nearly full.
    pub(crate) fn is_low(&self) -> bool {
        self.directory.is_some() && self.gauges.is_volume_low()
    }

    /// Takes room on the volume for the log, beyond its end, so that deletions find it there when nothing else is left.
    /// Answers whether the log has some. A file system that cannot do that leaves the log what it has.
    pub(crate) fn hold_log(&self) -> bool {
        let Some((directory, volume)) = self.directory.as_ref().zip(self.volume()) else { return true };
        let Ok(log) = OpenOptions::new().write(true).open(directory.join(LOG_FILE)) else { return true };
        let mut bytes = i64::try_from(volume.total / 50).unwrap_or(i64::MAX).clamp(LOG.0, LOG.1);
        while bytes >= SMALLEST_LOG {
            match fallocate(&log, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes) {
                Ok(()) => return true,
                Err(Errno::ENOSPC | Errno::EDQUOT) => bytes /= 2,
                Err(_) => return true,
            }
        }
        false
    }

    /// Whether the volume takes nothing more.
    pub(crate) fn is_out(&self) -> bool {
        self.directory.as_deref().is_some_and(is_exhausted)
    }

    /// What an error means: SQLite takes a quota that is used up for a disk that fails.
    pub(crate) fn judge(&self, error: StoreError) -> StoreError {
        if error.may_be_full() && self.is_out() { StoreError::Full } else { error }
    }

    /// The data directory, where there is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Whether so many bytes more fit on the volume and leave it what mail needs.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.volume().is_some_and(|volume| volume.free > bytes.saturating_add(2 * reserve(volume)))
    }

    fn volume(&self) -> Option<Volume> {
        let found = statvfs(self.directory.as_ref()?).ok()?;
        let unit = found.fragment_size();
        Some(Volume { total: found.blocks() * unit, free: found.blocks_available() * unit })
    }

    fn take_ballast(&self, volume: Volume) -> io::Result<()> {
        let ballast = self.directory.as_ref().map(|directory| directory.join(BALLAST_FILE));
        let Some(path) = ballast.filter(|path| !path.exists()) else { return Ok(()) };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let weight = i64::try_from((volume.total / 50).min(BALLAST)).unwrap_or(0);
        posix_fallocate(&file, 0, weight).map_err(|errno| {
            drop(fs::remove_file(&path));
            errno.into()
        })
    }
}

/// Does something that opens the data directory. Where it finds the volume full, lets the ballast go and does it again.
///
/// # Errors
/// Those of `open`; for a volume that stays full, with that reason.
pub(crate) fn giving_way<T>(
    directory: Option<&Path>,
    mut open: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut outcome = open();
    let is_out = |outcome: &Result<T, Failure>| {
        directory.filter(|directory| {
            outcome.as_ref().is_err_and(|failure| failure.exit == Exit::Io) && is_exhausted(directory)
        })
    };
    if is_out(&outcome).is_some_and(let_ballast_go) {
        tracing::error!("the volume is full: the ballast is thrown off so that the relay can start");
        outcome = open();
    }
    match is_out(&outcome) {
        Some(directory) => outcome.map_err(|failure| {
            Failure::new(
                Exit::Io,
                format_args!(
                    "the volume of {} is full, and nothing is left to let go: make room on it, and the relay starts ({failure})",
                    directory.display()
                ),
            )
        }),
        None => outcome,
    }
}

fn let_ballast_go(directory: &Path) -> bool {
    fs::remove_file(directory.join(BALLAST_FILE)).is_ok()
}

/// Whether the volume takes nothing more.
fn is_exhausted(directory: &Path) -> bool {
    let path = directory.join("probe");
    let write = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let outcome = write().and_then(|file| file.write_all_at(&[0; 4096], 0));
    drop(fs::remove_file(&path));
    outcome
        .is_err_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

fn reserve(volume: Volume) -> u64 {
    RESERVE.min(volume.total / 10)
}
