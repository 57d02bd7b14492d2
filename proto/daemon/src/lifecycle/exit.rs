//! Why a process ends, as its exit code and one line on stderr. The numbers follow BSD's sysexits.

use std::fmt;

/// Exit codes of every process of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped as asked.
    Success = 0,
    /// Stopped before the work in hand was done: a second signal, or the deadline.
    Forced = 1,
    /// The command line does not make sense.
    Usage = 64,
    /// The database is damaged, or its log is of another one. The files are kept as they are.
    Corrupt = 65,
    /// Data is expected and not there.
    DataMissing = 66,
    /// An address, a port or another process cannot be had.
    Unavailable = 69,
    /// A fault of the relay's own.
    Internal = 70,
    /// Its work stood still for `RELAY_HANG_TIMEOUT`.
    Hung = 71,
    /// The disk failed to read or write.
    Io = 74,
    /// Another process owns the data directory, or serves its sockets in the same place.
    Locked = 75,
    /// The database was written by a newer version, or is not the relay's.
    Schema = 76,
    /// The operating system denies access.
    Permission = 77,
    /// The variables do not make sense.
    Config = 78,
}

impl Exit {
    /// All of them, for the documentation.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Success, "stopped as asked"),
        (Self::Forced, "stopped before the work in hand was done: a second signal, or the deadline"),
        (Self::Usage, "the command line does not make sense"),
        (
            Self::Corrupt,
            "the database is damaged, or its log is of another one; the files are kept as they are",
        ),
        (Self::DataMissing, "data is expected and not there"),
        (Self::Unavailable, "an address, a port or another process cannot be had"),
        (Self::Internal, "a fault of the relay's own"),
        (Self::Hung, "its work stood still for `RELAY_HANG_TIMEOUT`: it hung, and is to be started again"),
        (Self::Io, "the disk failed to read or write"),
        (
            Self::Locked,
            "another process owns the data directory, or serves its sockets in the same directory",
        ),
        (Self::Schema, "the database was written by a newer version, or is not the relay's"),
        (Self::Permission, "the operating system denies access"),
        (Self::Config, "the variables do not make sense"),
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a process cannot start or go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How it ends.
    pub exit: Exit,
    /// What is wrong and what mends it.
    pub text: String,
}

impl Failure {
    /// A failure with its text.
    pub fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<relay_proto::socket::SocketError> for Failure {
    fn from(error: relay_proto::socket::SocketError) -> Self {
        use relay_proto::socket::SocketError;
        let exit = match &error {
            SocketError::TooLong { .. } => Exit::Config,
            SocketError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            SocketError::Occupied { .. } | SocketError::Io { .. } => Exit::Unavailable,
        };
        Self::new(exit, error)
    }
}
