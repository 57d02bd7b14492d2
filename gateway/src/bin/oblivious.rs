//! The outer relay of Oblivious HTTP as a process of its own.

use relay_daemon::{Clock, program};
use relay_proto::telemetry::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(Role::Oblivious, |vars, shutdown| gateway::oblivious::run(vars, Clock::system(), shutdown))
}
