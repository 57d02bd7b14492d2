//! Listeners that whoever started this process already holds, as systemd does for sockets it activates (`LISTEN_FDS`,
//! sd_listen_fds(3)). They outlive the process, so that whoever connects while it is replaced waits and is not refused.
//!
//! No names are needed: a listener is used in the place of the one that would be made at the same address.

use crate::{Exit, Failure};
use listenfd::ListenFd;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
    /// What no process of the relay listens with.
    Odd,
}

impl Listener {
    fn is_unix_at(&self, path: &Path) -> bool {
        let Self::Unix(listener) = self else { return false };
        listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
    }
}

/// What was handed to this process and is not in use yet.
fn held() -> MutexGuard<'static, Vec<Listener>> {
    static HELD: OnceLock<Mutex<Vec<Listener>>> = OnceLock::new();
    HELD.get_or_init(|| Mutex::new(collect(&mut ListenFd::from_env())))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn collect(handed: &mut ListenFd) -> Vec<Listener> {
    (0..handed.len())
        .map(|index| {
            if let Ok(Some(listener)) = handed.take_tcp_listener(index)
                && let Ok(address) = listener.local_addr()
            {
                return Listener::Tcp(listener, address);
            }
            match handed.take_unix_listener(index) {
                Ok(Some(listener)) => Listener::Unix(listener),
                Ok(None) | Err(_) => Listener::Odd,
            }
        })
        .collect()
}

/// The listener at this address, if one was handed over.
pub(crate) fn tcp(address: SocketAddr) -> Option<TcpListener> {
    let mut held = held();
    let place =
        held.iter().position(|listener| matches!(listener, Listener::Tcp(_, at) if *at == address))?;
    match held.swap_remove(place) {
        Listener::Tcp(listener, _) => Some(listener),
        Listener::Unix(_) | Listener::Odd => None,
    }
}

/// Whether a listener at this path was handed over and is not in use yet.
pub(crate) fn is_unix_waiting(path: &Path) -> bool {
    held().iter().any(|listener| listener.is_unix_at(path))
}

/// The listener at this path, if one was handed over.
pub(crate) fn unix(path: &Path) -> Option<UnixListener> {
    let mut held = held();
    let place = held.iter().position(|listener| listener.is_unix_at(path))?;
    match held.swap_remove(place) {
        Listener::Unix(listener) => Some(listener),
        Listener::Tcp(..) | Listener::Odd => None,
    }
}

/// Refuses what was handed over and nobody wants: its clients would wait for ever.
///
/// # Errors
/// [`Exit::Config`], with where the listener is.
pub fn none_is_left() -> Result<(), Failure> {
    let Some(place) = unclaimed() else { return Ok(()) };
    Err(Failure::new(
        Exit::Config,
        format_args!(
            "this process was handed a listener at {place} and has no use for it; name the same address in the \
             socket unit and in the variables"
        ),
    ))
}

/// Where a listener is that was handed over and is not in use.
pub(crate) fn unclaimed() -> Option<String> {
    Some(match held().first()? {
        Listener::Tcp(_, address) => address.to_string(),
        Listener::Unix(listener) => match listener.local_addr().ok().as_ref().and_then(|at| at.as_pathname())
        {
            Some(path) => path.display().to_string(),
            None => "a place without a name".to_owned(),
        },
        Listener::Odd => "no address that it could serve".to_owned(),
    })
}
