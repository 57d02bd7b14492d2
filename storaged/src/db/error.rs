//! What can go wrong in the store, and what follows from it.

use relay_daemon::{Exit, Failure};
use relay_proto::StorageError;
use rusqlite::ErrorCode;
use rusqlite::ffi;
use tonic::Status;

/// A failure inside the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request cannot be carried out as things are. The store is well.
    #[error(transparent)]
    Refused(#[from] StorageError),
    /// No page is left, by the ceiling or by the volume. Nothing of the statement was stored.
    #[error("no room left for the database")]
    Full,
    /// A reader took longer than it may.
    #[error("the read took too long")]
    Interrupted,
    /// Another connection holds a lock for too long.
    #[error("the database is locked")]
    Locked,
    /// The disk failed. Nothing that follows can be trusted until the process has started anew.
    #[error("the disk failed under the database (SQLite code {0})")]
    Io(i32),
    /// The file is damaged.
    #[error("the database is damaged (SQLite code {0})")]
    Corrupt(i32),
    /// A fault of the store's own.
    #[error("the database refused a statement (SQLite code {0})")]
    Internal(i32),
}

/// Codes of writes that a used-up quota fails as well as a broken disk: the system's own number goes no further than SQLite.
const WRITES: [i32; 3] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_TRUNCATE];

impl StoreError {
    /// The same, if it comes from the disk and not from what was asked.
    pub(crate) const fn of_disk(&self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Full),
            Self::Io(code) => Some(Self::Io(*code)),
            Self::Corrupt(code) => Some(Self::Corrupt(*code)),
            Self::Refused(_) | Self::Interrupted | Self::Locked | Self::Internal(_) => None,
        }
    }

    /// Whether it may be for want of room alone.
    pub(crate) fn may_be_full(&self) -> bool {
        matches!(self, Self::Full) || matches!(self, Self::Io(code) if WRITES.contains(code))
    }

    /// Whether the process must stop and recover from disk.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Corrupt(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        // SQLite's messages can quote values; only codes go further.
        let rusqlite::Error::SqliteFailure(failure, _) = error else { return Self::Internal(0) };
        let code = failure.extended_code;
        match failure.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::OperationInterrupted => Self::Interrupted,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly => Self::Io(code),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(code),
            _ => Self::Internal(code),
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        StorageError::from(error).into()
    }
}

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => refusal,
            StoreError::Full => Self::StorageFull,
            StoreError::Interrupted | StoreError::Locked => Self::Busy,
            // Somebody else will have recovered by the time of the retry.
            StoreError::Io(_) | StoreError::Corrupt(_) => Self::OutcomeUnknown,
            StoreError::Internal(_) => Self::Internal,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (exit, advice) = match &error {
            StoreError::Io(_) | StoreError::Full => {
                (Exit::Io, "check the disk, its room and the owner of the data directory, then start again")
            }
            StoreError::Corrupt(_) => (
                Exit::Corrupt,
                "relay.db is kept as it is: stop the relay, copy the data directory, restore a backup",
            ),
            StoreError::Locked => {
                (Exit::Locked, "end the program that has the database open; the relay must be its only user")
            }
            // A commit failed; whoever ran it has said how.
            StoreError::Refused(StorageError::OutcomeUnknown) => {
                (Exit::Io, "nothing could be stored: see the log, check the disk, then start again")
            }
            StoreError::Refused(_) | StoreError::Interrupted | StoreError::Internal(_) => {
                (Exit::Internal, "this is a fault of the relay; please report it")
            }
        };
        Self::new(exit, format_args!("{error}; {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32) -> StoreError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("near \"secret\"".to_owned())).into()
    }

    #[test]
    fn codes_are_told_apart_and_messages_go_no_further() {
        assert!(matches!(of(ffi::SQLITE_FULL), StoreError::Full));
        assert!(of(ffi::SQLITE_IOERR_FSYNC).is_fatal());
        assert!(of(ffi::SQLITE_CORRUPT).is_fatal());
        assert!(!of(ffi::SQLITE_BUSY).is_fatal());
        assert!(of(ffi::SQLITE_IOERR_WRITE).may_be_full() && of(ffi::SQLITE_FULL).may_be_full());
        for other in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_READ, ffi::SQLITE_CORRUPT] {
            assert!(!of(other).may_be_full(), "{other}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_CORRUPT, ffi::SQLITE_ERROR] {
            assert!(!of(code).to_string().contains("secret"));
            assert!(!Failure::from(of(code)).text.contains("secret"));
        }
    }

    #[test]
    fn every_failure_of_the_disk_has_its_exit_code() {
        assert_eq!(Failure::from(of(ffi::SQLITE_IOERR)).exit, Exit::Io);
        assert_eq!(Failure::from(of(ffi::SQLITE_CORRUPT)).exit, Exit::Corrupt);
        assert_eq!(Failure::from(of(ffi::SQLITE_BUSY)).exit, Exit::Locked);
    }
}
