//! Listeners: made here, or handed over by whoever started the process.

use crate::{Exit, Failure, inherited};
use relay_proto::socket::{self, Secret, SecretCheck};
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Whether other processes may listen on the same address and share its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// This process alone.
    Alone,
    /// Every process of the same user that asks for it (`SO_REUSEPORT`).
    Replicas,
}

/// Listens on `address`.
///
/// # Errors
/// With the variable to change, when the address is taken, foreign or forbidden.
pub fn listen_tcp(address: SocketAddr, sharing: Sharing, variable: &str) -> Result<TcpListener, Failure> {
    if let Some(handed) = inherited::tcp(address) {
        let taken = handed.set_nonblocking(true).and_then(|()| TcpListener::from_std(handed));
        return taken.map_err(|error| unusable(&address, &error));
    }
    bind(address, sharing).map_err(|error| {
        if let Some(other) = inherited::unclaimed() {
            return Failure::new(
                Exit::Config,
                format_args!(
                    "cannot listen on {address} ({error}); this process was handed a listener at {other}: name the \
                     same address in the socket unit and in {variable}"
                ),
            );
        }
        let (exit, advice) = match error.kind() {
            io::ErrorKind::AddrInUse => (Exit::Unavailable, "another process listens there"),
            io::ErrorKind::AddrNotAvailable => (Exit::Unavailable, "this machine has no such address"),
            io::ErrorKind::PermissionDenied => (Exit::Permission, "ports below 1024 need a privilege"),
            _ => (Exit::Unavailable, "the system refuses"),
        };
        Failure::new(
            exit,
            format_args!("cannot listen on {address}: {advice} ({error}); set {variable} to another one"),
        )
    })
}

/// Listens on a Unix socket, as [`socket::bind`] makes it.
///
/// # Errors
/// With the path and what mends it.
pub fn listen_unix(path: &Path) -> Result<UnixListener, Failure> {
    if let Some(handed) = inherited::unix(path) {
        let taken = handed.set_nonblocking(true).and_then(|()| UnixListener::from_std(handed));
        return taken.map_err(|error| unusable(&path.display(), &error));
    }
    socket::bind(path).map_err(Failure::from)
}

/// Writes a secret beside the socket that this process is about to listen on, for callers to show. Without one, whoever may
/// enter the directory may call; that is so where a service manager makes the directory and this process may not write to it.
///
/// # Errors
/// When there can be none, and callers are required to show one.
pub fn socket_secret(path: &Path, required: bool) -> Result<SecretCheck, Failure> {
    let error = match Secret::establish(path) {
        Ok(secret) => return Ok(SecretCheck { secret: Some(secret), required }),
        Err(error) => error,
    };
    let directory = path.parent().unwrap_or(path).display();
    if required {
        return Err(Failure::new(
            Exit::Permission,
            format_args!(
                "cannot write the secret of the socket into {directory}: {error}; let uid {} write there, or set \
                 RELAY_REQUIRE_SOCKET_SECRETS=false where every process has a user of its own",
                nix::unistd::geteuid()
            ),
        ));
    }
    tracing::info!(kind = ?error.kind(), "callers in {directory} need no secret: it cannot be written there");
    Ok(SecretCheck::default())
}

fn unusable(place: &dyn fmt::Display, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format_args!("the listener that was handed over at {place} cannot be used: {error}"),
    )
}

/// Whether nobody listens on `address`, not even a process that would share it. Checked once before
/// replicas start, so that two different relays never share one port by accident.
///
/// # Errors
/// As [`listen_tcp`].
pub fn port_is_free(address: SocketAddr, variable: &str) -> Result<(), Failure> {
    listen_tcp(address, Sharing::Alone, variable).map(drop)
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Replicas {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[tokio::test]
    async fn replicas_share_a_port_and_strangers_do_not() {
        let first = listen_tcp(loopback(0), Sharing::Replicas, "RELAY_LISTEN_ADDR").unwrap();
        let address = first.local_addr().unwrap();
        let second = listen_tcp(address, Sharing::Replicas, "RELAY_LISTEN_ADDR").unwrap();
        let refused = port_is_free(address, "RELAY_LISTEN_ADDR").unwrap_err();
        assert_eq!(refused.exit, Exit::Unavailable);
        assert!(refused.text.contains("RELAY_LISTEN_ADDR"), "{refused}");
        drop((first, second));
        port_is_free(address, "RELAY_LISTEN_ADDR").unwrap();
    }

    #[test]
    fn a_secret_that_cannot_be_written_is_told_where_it_is_required_and_left_out_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("missing/storage.sock");
        let refused = socket_secret(&socket, true).unwrap_err();
        assert_eq!(refused.exit, Exit::Permission);
        assert!(refused.text.contains("RELAY_REQUIRE_SOCKET_SECRETS=false"), "{refused}");
        assert!(socket_secret(&socket, false).unwrap().secret.is_none());
        let there = socket_secret(&directory.path().join("storage.sock"), true).unwrap();
        assert!(there.secret.is_some() && there.required);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let refused = port_is_free(([192, 0, 2, 1], 0).into(), "RELAY_METRICS_ADDR").unwrap_err();
        assert!(refused.text.contains("no such address"), "{refused}");
    }
}
