//! The gateway as a process of its own.

use relay_daemon::{Clock, Vars, lifecycle};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    lifecycle::run(Role::Gateway, Vars::from_environment(), |vars, shutdown| {
        gateway::run(vars, Clock::system(), shutdown)
    })
}
