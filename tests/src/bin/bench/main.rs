//! The load bench: in one run, what this machine can do and what the relay makes of it.
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
mod kills;
mod limits;
mod load;
mod memory;
mod oblivious;
mod observer;
mod options;
mod proc;
mod random;
mod relay;
mod report;
mod requests;
mod results;
mod rotation;
mod rounds;
mod scripts;
mod sealed;
mod spread;
mod startup;
mod stats;
mod stock;
mod table;
mod targets;
mod throughput;
mod wire;

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::{Options, Part, Plan};
use relay_tests::binaries::Program;
use report::Report;
use std::path::Path;
use std::process::ExitCode;

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

/// Measures and reports; whether all parts could be measured.
fn run(options: &Options) -> Fallible<bool> {
    let plan = options.plan();
    // A thousand connections pass the usual soft limit. The programs under test raise their own.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: the numbers mean nothing. Use cargo run --release.");
    }
    if plan.needs_relay() {
        eprintln!("building the relay");
        Program::Relay.path();
    }
    let executable = std::env::current_exe()?;
    let beside = executable.parent().unwrap_or(Path::new("."));
    let directory =
        tempfile::Builder::new().prefix("bench-").tempdir_in(plan.directory.as_deref().unwrap_or(beside))?;
    let mut report = Report::new(&plan);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(
        &plan,
        directory.path(),
        &mut report,
    ));
    report.judge();
    report.print()?;
    if let Some(file) = &options.json {
        report.write_json(file).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(report.failures.is_empty())
}

/// Runs every part that was asked for. One that fails is noted and does not keep the others from running.
async fn measure(plan: &Plan, directory: &Path, report: &mut Report) {
    if plan.has(Part::Machine) || plan.has(Part::Echo) || plan.has(Part::Load) {
        let outcome = rounds::measure(plan, directory, report).await;
        report.note("machine, echo or load", outcome);
    }
    if plan.has(Part::Oblivious) {
        eprintln!("oblivious sends");
        let outcome = oblivious::measure(directory, plan).await;
        report.oblivious = report.note("oblivious", outcome);
    }
    if plan.has(Part::Observer) {
        eprintln!("sizes of sealed answers");
        let outcome = observer::measure(directory, plan).await;
        report.observed = report.note("observer", outcome);
    }
    if plan.has(Part::Rotation) {
        eprintln!("keys that turn under load, for {} s", plan.rotation.as_secs());
        let outcome = rotation::measure(plan).await;
        report.rotated = report.note("rotation", outcome);
    }
    if plan.has(Part::Growth) {
        eprintln!("fetch latency as the store grows");
        let outcome = growth::measure(directory, plan).await;
        report.growth = report.note("growth", outcome);
    }
    if plan.has(Part::Memory) {
        eprintln!("memory");
        let outcome = memory::measure(directory, plan).await;
        report.memory = report.note("memory", outcome);
    }
    if plan.has(Part::Startup) {
        eprintln!("starts");
        let outcome = startup::measure(directory, plan).await;
        report.startup = report.note("startup", outcome);
    }
    if plan.has(Part::Kills) {
        eprintln!("kills");
        let outcome = kills::measure(directory, plan).await;
        report.kills = report.note("kills", outcome);
    }
    if plan.has(Part::Federation) {
        eprintln!("federation");
        let outcome = federation::measure(plan).await;
        report.federated = report.note("federation", outcome);
    }
    if plan.has(Part::Backup) {
        eprintln!("backups");
        let outcome = backup::measure(directory, plan).await;
        report.backups = report.note("backup", outcome);
    }
    if plan.has(Part::Spread) {
        eprintln!("one limit over three gateways");
        let outcome = spread::measure(directory).await;
        report.spreads = report.note("spread", outcome).unwrap_or_default();
    }
}
