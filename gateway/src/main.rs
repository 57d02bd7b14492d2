//! The gateway as a process of its own.

use relay_daemon::{Clock, program};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(Role::Gateway, |vars, shutdown| gateway::run(vars, Clock::system(), shutdown))
}
