//! The command line of a daemon: nothing to run it, `health` to ask the one that runs.

use crate::{Exit, Failure, Running, Shutdown, Vars, build, health, lifecycle};
use relay_proto::telemetry::Role;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// What a daemon's command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run,
    Health,
    Version,
    Help,
}

fn command(mut arguments: impl Iterator<Item = OsString>) -> Option<Command> {
    let command = match arguments.next() {
        None => Command::Run,
        Some(word) => match word.to_str()? {
            "health" => Command::Health,
            "--version" | "-V" => Command::Version,
            "--help" | "-h" => Command::Help,
            _ => return None,
        },
    };
    arguments.next().is_none().then_some(command)
}

/// The program of a daemon: does what its command line says, and returns its exit code.
pub fn run(role: Role, body: impl FnOnce(Vars, Shutdown) -> Running) -> ExitCode {
    let name = role.name();
    let usage = format!(
        "usage: {name} [health | --version]\nEverything is set by variables; REFERENCE.md lists them."
    );
    let said = match command(std::env::args_os().skip(1)) {
        Some(Command::Run) => return lifecycle::run(role, Vars::from_environment(), None, body),
        Some(Command::Health) => check_health(role).map(|()| "ready".to_owned()),
        Some(Command::Version) => Ok(format!("{name} {}", build::VERSION)),
        Some(Command::Help) => Ok(usage),
        None => Err(Failure::new(Exit::Usage, usage)),
    };
    // Whether anybody listens to what is said does not change it.
    match said {
        Ok(text) => {
            drop(writeln!(std::io::stdout(), "{text}"));
            ExitCode::from(Exit::Success.code())
        }
        Err(failure) => {
            drop(writeln!(std::io::stderr(), "{name}: {failure}"));
            ExitCode::from(failure.exit.code())
        }
    }
}

fn check_health(role: Role) -> Result<(), Failure> {
    let place = health::HealthEndpoint::of(role, &Vars::from_environment())?;
    place.check().map_err(|failure| {
        if health::let_go_on(role) {
            Failure::new(
                failure.exit,
                format_args!("{failure}; the process was stopped by a signal and goes on now"),
            )
        } else {
            failure
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_or_none_is_understood() {
        let command = |words: &[&str]| command(words.iter().map(OsString::from));
        assert_eq!(command(&[]), Some(Command::Run));
        assert_eq!(command(&["health"]), Some(Command::Health));
        assert_eq!(command(&["--version"]), Some(Command::Version));
        assert_eq!(command(&["-h"]), Some(Command::Help));
        for wrong in [&["run"][..], &["health", "now"], &[""], &["--healthy"]] {
            assert_eq!(command(wrong), None, "{wrong:?}");
        }
    }
}
