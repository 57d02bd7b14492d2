//! One child process: how it is started, signalled and waited for.

use super::policy::End;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use relay_daemon::variables;
use relay_daemon::watchdog::LOOK;
use relay_proto::telemetry::Role;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

/// This very program, even after a newer one has taken its place on disk: the processes of one relay are of
/// one version.
const MYSELF: &str = "/proc/self/exe";

/// Starts a process of the relay.
///
/// Gateways are handed the listener for clients, as a service manager hands one over, and take connections from it
/// together. One that hangs takes none, and those that wait are taken by the others or by its successor.
///
/// # Errors
/// When the system has no room for one.
pub(super) fn start(role: Role, listen: SocketAddr, clients: Option<&TcpListener>) -> io::Result<Child> {
    let mut command = Command::new(MYSELF);
    command
        .arg0("relay")
        .args(["role", role.name(), "--supervisor", &std::process::id().to_string()])
        .env(variables::LISTEN_ADDR.name, listen.to_string())
        // All of them are of one version, and of one user, so that nothing else keeps them from each other's sockets.
        .env(variables::REQUIRE_SOCKET_SECRETS.name, "true")
        .stdin(Stdio::null());
    // The service manager supervises the supervisor.
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"] {
        command.env_remove(variable);
    }
    if let Some(listener) = clients.filter(|_| role == Role::Gateway) {
        command.stdin(OwnedFd::from(listener.try_clone()?));
        command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0");
    }
    command
        // Only signs of life are written there.
        .stdout(Stdio::piped())
        // A group of its own: Ctrl-C in a terminal reaches the supervisor, which stops the others in order.
        .process_group(0)
        .spawn()
}

/// Passes signals on until the child ends, and kills it when it gives no sign of life for `limit` seconds. The child is
/// signalled by whoever reaps it, so that its process id cannot mean another process by then.
pub(super) async fn attend(
    mut child: Child,
    mut signals: UnboundedReceiver<Signal>,
    limit: u32,
    name: &'static str,
) -> End {
    let mut signs = child.stdout.take();
    let mut looks = interval(LOOK);
    // Looks that were missed, because the machine slept or this process was stopped, are not made up for.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent_looks = 0;
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map_or(End::NeverBegan, how),
            Some(signal) = signals.recv() => send(&child, signal),
            alive = read_sign(&mut signs) => match alive {
                true => silent_looks = 0,
                false => signs = None,
            },
            _ = looks.tick() => {
                silent_looks += 1;
                // Only this signal ends a process that is stopped.
                if silent_looks == limit {
                    tracing::error!(seconds = limit, "{name} gives no sign of life: killing it");
                    send(&child, Signal::SIGKILL);
                }
            }
        }
    }
}

/// Waits for signs of life. Returns false when there will be no more.
async fn read_sign(signs: &mut Option<ChildStdout>) -> bool {
    match signs {
        Some(signs) => signs.read(&mut [0; 64]).await.is_ok_and(|bytes| bytes > 0),
        None => pending().await,
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    if let Some(Err(errno)) = pid.map(|pid| kill(pid, signal)) {
        tracing::warn!(%errno, "cannot signal a child process");
    }
}

fn how(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(signal)) if signal == Signal::SIGKILL as i32 => End::Killed,
        (None, signal) => End::Crash(signal.unwrap_or_default()),
    }
}
