//! Locks for the directories in which a process serves sockets. Binding a socket replaces the one that is there, so without
//! a lock a second process of the same role would take the callers of the first one away from it.
//!
//! The lock is an advisory one of the kernel (`flock`) on a file beside the sockets: it ends with the process, however that
//! ends, so a file left behind is no obstacle. The file is for its owner alone, because callers that may enter the
//! directory must not be able to hold it.

use crate::{Exit, Failure, inherited};
use relay_proto::socket::{self, SocketError};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a start waits for the process before it, which may be about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two attempts.
const AGAIN: Duration = Duration::from_millis(20);

/// Holds the locks of the directories of some sockets for as long as it lives.
#[derive(Debug)]
pub struct SocketLocks {
    _files: Vec<File>,
}

impl SocketLocks {
    /// Locks the directories of these sockets, which this process is about to serve. Makes directories that are missing.
    ///
    /// # Errors
    /// [`Exit::Locked`] while another process serves them, and what keeps a lock from being taken.
    pub fn take(sockets: &[PathBuf]) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in sockets {
            // A listener that was handed over is never replaced. Its directory may be read-only for this process.
            let handed = inherited::is_unix_waiting(path);
            match lock(path) {
                Ok(file) => files.push(file),
                Err(failure) if handed && failure.exit != Exit::Locked => {}
                Err(failure) => return Err(failure),
            }
            if !handed && answers(path) {
                return Err(served(path));
            }
        }
        Ok(Self { _files: files })
    }
}

/// Tries until what is wanted is not locked any more, for a moment.
///
/// # Errors
/// Those of `take`.
pub async fn patiently<T>(mut take: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        match take() {
            Err(failure) if failure.exit == Exit::Locked && Instant::now() < end => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

fn lock(socket: &Path) -> Result<File, Failure> {
    socket::check(socket)?;
    let path = socket.with_extension("lock");
    let failed = |path: &Path, source: io::Error| {
        Failure::from(SocketError::Io { path: path.to_owned(), uid: nix::unistd::geteuid().as_raw(), source })
    };
    if let Some(directory) = path.parent() {
        socket::make_directory(directory).map_err(|error| failed(socket, error))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(&path, error))?;
    give_to_owner(&path);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(served(socket)),
        Err(TryLockError::Error(error)) => Err(failed(&path, error)),
    }
}

/// A start by root must not keep the directory's owner from starting later.
fn give_to_owner(path: &Path) {
    if nix::unistd::geteuid().is_root()
        && let Some(Ok(owner)) = path.parent().map(fs::metadata)
    {
        // Where even root may not, nobody else will start there.
        drop(chown(path, Some(owner.uid()), Some(owner.gid())));
    }
}

fn served(socket: &Path) -> Failure {
    let directory = socket.parent().unwrap_or(socket).display();
    Failure::new(
        Exit::Locked,
        format_args!(
            "another process of a relay serves its sockets in {directory}; stop it, or set RELAY_SOCKET_DIR to another \
             directory"
        ),
    )
}

/// Whether somebody listens there: a version without locks, or a service manager.
fn answers(path: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => true,
        // Its queue of connections is full.
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    fn sockets(directory: &Path) -> Vec<PathBuf> {
        ["gateway", "admin"].map(|role| directory.join(role).join("storage.sock")).to_vec()
    }

    #[test]
    fn a_directory_is_locked_for_as_long_as_the_lock_lives() {
        let directory = tempfile::tempdir().unwrap();
        let first = SocketLocks::take(&sockets(directory.path())).unwrap();
        let refused = SocketLocks::take(&sockets(directory.path())).unwrap_err();
        assert_eq!(refused.exit, Exit::Locked);
        let named = directory.path().join("gateway").display().to_string();
        assert!(refused.text.contains(&named) && refused.text.contains("RELAY_SOCKET_DIR"), "{refused}");
        drop(first);
        SocketLocks::take(&sockets(directory.path())).unwrap();
        let file = fs::metadata(directory.path().join("admin/storage.lock")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "callers cannot hold the lock");
    }

    #[test]
    fn one_directory_in_use_is_enough_to_refuse() {
        let directory = tempfile::tempdir().unwrap();
        let all = sockets(directory.path());
        let _first = SocketLocks::take(&all[1..]).unwrap();
        assert_eq!(SocketLocks::take(&all).unwrap_err().exit, Exit::Locked);
    }

    #[test]
    fn a_listener_that_lives_is_not_replaced_and_a_dead_one_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let all = sockets(directory.path());
        fs::create_dir(directory.path().join("gateway")).unwrap();
        let living = UnixListener::bind(&all[0]).unwrap();
        assert_eq!(SocketLocks::take(&all).unwrap_err().exit, Exit::Locked);
        drop(living);
        SocketLocks::take(&all).unwrap();
    }

    #[tokio::test]
    async fn a_start_waits_a_moment_for_the_process_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let all = sockets(directory.path());
        let mut before = Some(SocketLocks::take(&all).unwrap());
        let mut attempts = 0;
        patiently(|| {
            attempts += 1;
            if attempts == 3 {
                before = None;
            }
            SocketLocks::take(&all)
        })
        .await
        .unwrap();
        assert_eq!(attempts, 3);
    }
}
