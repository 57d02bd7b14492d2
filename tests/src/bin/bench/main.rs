//! The load bench: in one run, what this machine can do and how much of it the relay reaches.
//!
//! Absolute numbers say more about a machine than about a program, so what counts are ratios, each taken within
//! a round, and their medians over interleaved rounds.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts and times of a bench are far below where a float or an index would matter"
)]

mod backup;
mod echo;
mod federation;
mod growth;
mod limits;
mod load;
mod memory;
mod oblivious;
mod observer;
mod options;
mod paths;
mod processes;
mod relay;
mod report;
mod restarts;
mod rotation;
mod rounds;
mod scenarios;
mod spread;
mod stats;
mod table;
mod targets;
mod wire;

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::{Options, Part};
use relay_tests::binaries::Program;
use report::Report;
use std::process::ExitCode;
use tokio::task::LocalSet;

/// What a bench can do about an error is to show it.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = if options.echo { echo::serve().map(|()| true) } else { run(&options) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports. Returns whether all parts could be measured.
fn run(options: &Options) -> Fallible<bool> {
    // A thousand connections pass the usual soft limit. The programs under test raise their own.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: the numbers mean nothing. Use cargo run --release.");
    }
    if options.needs_relay() {
        eprintln!("building the relay");
        Program::Relay.path();
    }
    let mut report = Report::new(options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, measure(options, &mut report));
    let (measured, is_whole) = report.finish()?;
    if let Some(file) = &options.json {
        let text = format!("{measured:#}\n");
        std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(is_whole)
}

/// Runs every part that was asked for. One that fails is noted and does not keep the others from running.
async fn measure(options: &Options, report: &mut Report) {
    if let Some(part) = [Part::Machine, Part::Echo, Part::Load].into_iter().find(|part| options.has(*part)) {
        report.measure(options, part, "", rounds::measure).await;
    }
    report.measure(options, Part::Oblivious, "oblivious", oblivious::measure).await;
    report.measure(options, Part::Observer, "observed", observer::measure).await;
    report.measure(options, Part::Rotation, "rotated", rotation::measure).await;
    report.measure(options, Part::Growth, "growth", growth::measure).await;
    report.measure(options, Part::Memory, "memory", memory::measure).await;
    report.measure(options, Part::Startup, "startup", restarts::starts).await;
    report.measure(options, Part::Kills, "kills", restarts::kills).await;
    report.measure(options, Part::Federation, "federated", federation::measure).await;
    report.measure(options, Part::Backup, "backups", backup::measure).await;
    report.measure(options, Part::Spread, "spreads", spread::measure).await;
}
