//! Runs one of the relay's processes: as a child of `relay up`, or the outer relay by itself.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use relay_daemon::{Clock, Exit, Vars, lifecycle};
use relay_proto::telemetry::Role;
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

/// Runs one of the processes until it ends.
pub(crate) fn run_role(role: Role, supervisor: Option<i32>, vars: Vars) -> ExitCode {
    if let Some(supervisor) = supervisor
        && !tie_to(supervisor)
    {
        return ExitCode::from(Exit::Forced.code());
    }
    show_as(role);
    // The supervisor reads a child's output for its signs of life; the child writes nothing else there.
    let signs_of_life = supervisor.and_then(|_| io::stdout().as_fd().try_clone_to_owned().ok());
    let clock = Clock::system();
    lifecycle::run(role, vars, signs_of_life, |vars, shutdown| match role {
        Role::Storaged => storaged::run(vars, clock, shutdown),
        Role::Gateway => gateway::run(vars, clock, shutdown),
        Role::Federated => federated::run(vars, clock, shutdown),
        Role::Oblivious => gateway::oblivious::run(vars, clock, shutdown),
    })
}

/// Asks the kernel to stop this process when its supervisor is gone. Returns true if the supervisor still
/// lives: it may have died before the kernel was asked.
fn tie_to(supervisor: i32) -> bool {
    prctl::set_pdeathsig(Signal::SIGTERM).is_ok() && getppid().as_raw() == supervisor
}

/// Shows the role where tools list processes by name; otherwise all of them would be called alike.
fn show_as(role: Role) {
    // Only a name: a kernel that refuses it costs nothing.
    prctl::set_name(&CString::new(role.name()).unwrap_or_default()).unwrap_or_default();
}
