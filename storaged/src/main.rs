//! The storage daemon.

use relay_daemon::{Clock, Vars, lifecycle};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    lifecycle::run(Role::Storaged, Vars::from_environment(), |vars, shutdown| {
        storaged::run(vars, Clock::system(), shutdown)
    })
}
