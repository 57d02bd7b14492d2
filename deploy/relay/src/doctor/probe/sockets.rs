//! The sockets between the processes, and how far a connection to storage gets.

use super::{DEADLINE, not_ready};
use crate::doctor::facts::{Reached, Socket};
use relay_client::{Error, get};
use relay_proto::socket::SocketRole;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How far a connection to storage's socket gets.
pub(super) async fn reach(socket: &Path) -> Reached {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound => Reached::Missing,
                ErrorKind::PermissionDenied => Reached::Denied,
                // As many wait to be accepted as may: it listens, and is frozen.
                ErrorKind::WouldBlock => Reached::Silent,
                _ => Reached::Dead,
            };
        }
    };
    match timeout(DEADLINE, get(stream, "/ready", &[])).await {
        Ok(Ok(answer)) => not_ready(&answer).map_or(Reached::Ready, Reached::NotReady),
        Ok(Err(Error::Unreachable(error))) => without_answer(&error),
        Ok(Err(_)) | Err(_) => Reached::Silent,
    }
}

/// What it means that a connection stood and nothing came.
fn without_answer(error: &io::Error) -> Reached {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Reached::Refused,
        _ => Reached::Silent,
    }
}

impl Reached {
    /// Whether there is a storage that answers.
    pub(super) const fn answers(&self) -> bool {
        matches!(self, Self::Ready | Self::NotReady(_))
    }
}

/// The sockets that this user can see, with the modes of all directories above them.
pub(super) fn seen(sockets: &Path) -> Vec<Socket> {
    [SocketRole::Gateway, SocketRole::Federation, SocketRole::Admin]
        .iter()
        .filter_map(|role| {
            let path = fs::canonicalize(role.storage_socket(sockets)).ok()?;
            let mode = |path: &Path| Some(fs::metadata(path).ok()?.permissions().mode() & 0o777);
            let mut modes = path.ancestors().map(mode).collect::<Option<Vec<u32>>>()?;
            modes.reverse();
            Some(Socket { path, modes })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn every_end_of_the_way_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("storage.sock");
        assert_eq!(reach(&path).await, Reached::Missing);
        let listener = UnixListener::bind(&path).unwrap();
        let turn_away = async || drop(listener.accept().await.unwrap());
        assert_eq!(tokio::join!(reach(&path), turn_away()).0, Reached::Refused);
        drop(listener);
        assert_eq!(reach(&path).await, Reached::Dead);
    }

    #[tokio::test]
    async fn a_socket_is_seen_with_everything_above_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = SocketRole::Admin.storage_socket(directory.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        let seen = seen(directory.path());
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].modes.last(), Some(&0o660));
        assert_eq!(seen[0].modes.len(), seen[0].path.ancestors().count());
    }
}
