//! The process that links this relay with others; see the library for what it does today.

use federated::run;
use relay_daemon::{Clock, Vars, lifecycle};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    lifecycle::run(Role::Federated, Vars::from_environment(), |vars, shutdown| {
        run(vars, Clock::system(), shutdown)
    })
}
