//! The Unix sockets between the processes: one directory a role, so that whoever can enter a directory can
//! do what that role may do, and nothing else.

mod secret;

pub use secret::{KnownSecret, Secret, SecretCheck};

use nix::sys::stat::Mode;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Longest socket path the kernel takes (`sun_path` less its terminating zero), in bytes.
const MAX_PATH: usize = 107;

/// Whom a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRole {
    /// Gateways: mail, admission, telemetry.
    Gateway,
    /// Federation: offload, telemetry.
    Federation,
    /// The operator's command line: admin, telemetry.
    Admin,
}

impl SocketRole {
    /// The directory of federated's sockets for gateways.
    pub const PEERING: &'static str = "peering";

    /// The role's directory inside the socket directory.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Federation => "federation",
            Self::Admin => "admin",
        }
    }

    /// Where federated answers gateways that want mail back from peers.
    pub fn recall_socket(sockets: &Path) -> PathBuf {
        sockets.join(Self::PEERING).join("recall.sock")
    }

    /// Where federated takes the WebSockets that gateways pass on.
    pub fn tunnel_socket(sockets: &Path) -> PathBuf {
        sockets.join(Self::PEERING).join("tunnel.sock")
    }

    /// Where storage listens for this role.
    pub fn storage_socket(self, sockets: &Path) -> PathBuf {
        sockets.join(self.directory()).join("storage.sock")
    }
}

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel takes no path that long.
    #[error(
        "the socket path {path} has {length} bytes, and a socket takes {MAX_PATH}; set RELAY_SOCKET_DIR to a shorter directory, for example /run/relay"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Something else lies where the socket belongs.
    #[error("{path} is not a socket; move it away, the relay puts its socket there")]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// A directory or the socket could not be made.
    #[error("cannot make {path}: {source}; its directory must belong to uid {uid} (mend: chown {uid} {})", .path.parent().unwrap_or(.path).display())]
    Io {
        /// What was to be made.
        path: PathBuf,
        /// Who tried.
        uid: u32,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds a socket that its directory's owner and group may use: directory 0750, socket 0660. A socket that a
/// dead process left behind is replaced; the caller must know that nobody alive listens there.
///
/// # Errors
/// [`SocketError`], with the path and what mends it.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    check(path)?;
    let failed =
        |source| SocketError::Io { path: path.to_owned(), uid: nix::unistd::geteuid().as_raw(), source };
    if let Some(directory) = path.parent() {
        make_directory(directory).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::Occupied { path: path.to_owned() });
        }
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // Nobody can connect between bind and chmod who could not do so afterwards: the directory is closed.
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Whether the kernel takes the path at all. Callers ask at their start: to them a path that is too long
/// would look like a storage that never comes.
///
/// # Errors
/// [`SocketError::TooLong`].
pub fn check(path: &Path) -> Result<(), SocketError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH { Err(SocketError::TooLong { path: path.to_owned(), length }) } else { Ok(()) }
}

/// Makes a directory, and those above it, for owner and group only. One that exists is left as it is: an
/// operator or a service manager may have given it a group.
///
/// # Errors
/// When one of them cannot be made.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(above) = directory.parent()
        && !above.as_os_str().is_empty()
    {
        make_directory(above)?;
    }
    match nix::unistd::mkdir(directory, Mode::from_bits_truncate(0o750)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Which Unix users may connect, besides what the directory allows. A second check, not the first: in a
/// user namespace every foreign peer looks like one and the same user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedUsers(Vec<u32>);

impl AllowedUsers {
    /// These users; an empty list means root and the user that this process runs as.
    pub fn new(users: Vec<u32>) -> Self {
        if users.is_empty() { Self(vec![0, nix::unistd::geteuid().as_raw()]) } else { Self(users) }
    }

    /// Whether the process at the other end runs as one of them.
    pub fn admits(&self, connection: &UnixStream) -> bool {
        connection.peer_cred().is_ok_and(|peer| self.0.contains(&peer.uid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_closed_to_strangers_and_replaces_a_dead_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = SocketRole::Gateway.storage_socket(directory.path());
        drop(bind(&path).unwrap());
        let _listener = bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("storage.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::Occupied { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_path_that_no_socket_takes_is_named_with_its_mend() {
        let path = PathBuf::from("/tmp").join("x".repeat(120));
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("RELAY_SOCKET_DIR"), "{error}");
    }

    #[tokio::test]
    async fn only_allowed_users_are_admitted() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(AllowedUsers::new(Vec::new()).admits(&one));
        assert!(!AllowedUsers::new(vec![4_242_424]).admits(&one));
    }
}
