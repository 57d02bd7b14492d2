//! The process that links this relay with others.

use relay_daemon::{Clock, program};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(Role::Federated, |vars, shutdown| federated::run(vars, Clock::system(), shutdown))
}
