//! The storage daemon.

use relay_daemon::{Clock, program};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(Role::Storaged, |vars, shutdown| storaged::run(vars, Clock::system(), shutdown))
}
