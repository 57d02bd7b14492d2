//! Why a process ends, as its exit code and one line on stderr. The numbers follow BSD's sysexits.

use std::fmt;

/// Declares the exit codes, each with what it means.
macro_rules! exits {
    ($($Exit:ident = $code:literal, $meaning:literal;)*) => {
        /// Exit codes of every process of the relay.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Exit {
            $(#[doc = $meaning] $Exit = $code,)*
        }

        impl Exit {
            /// All of them, for the documentation.
            pub const ALL: &[(Self, &'static str)] = &[$((Self::$Exit, $meaning)),*];
        }
    };
}

exits! {
    Success = 0, "stopped as asked";
    Forced = 1, "stopped before the work in hand was done: a second signal, or the deadline";
    Usage = 64, "the command line does not make sense";
    Corrupt = 65, "the database is damaged, or its log is of another one; the files are kept as they are";
    DataMissing = 66, "data is expected and not there";
    Unavailable = 69, "an address, a port or another process cannot be had";
    Internal = 70, "a fault of the relay's own";
    Hung = 71, "its work stood still for `RELAY_HANG_TIMEOUT`: it hung, and is to be started again";
    Io = 74, "the disk failed to read or write";
    Locked = 75, "another process owns the data directory, or serves its sockets in the same directory";
    Schema = 76, "the database was written by a newer version, or is not the relay's";
    Permission = 77, "the operating system denies access";
    Config = 78, "the variables do not make sense";
}

impl Exit {
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
