//! The operator's command: runs a relay, shows what it is doing, and tries one out.
//!
//! `relay up` starts storaged, the gateways and federated as processes of their own and watches them; this
//! one program contains all three and starts itself in their roles. `relay status` asks storage through the
//! operator's socket, and so do the other commands for a running relay. `relay selftest` is a client like any other. `relay
//! anchor` needs no relay at all. The command itself listens nowhere and never sees mail.

/// A [`Failure`] with an exit code and a formatted text.
macro_rules! failure {
    ($exit:ident, $($text:tt)+) => {
        relay_daemon::Failure::new(relay_daemon::Exit::$exit, format_args!($($text)+))
    };
}

/// Writes a formatted line of an answer.
macro_rules! say {
    ($out:expr, $($text:tt)+) => {
        writeln!($out, $($text)+).map_err(crate::display::output::unwritable)
    };
}

mod admin_client;
mod anchor;
mod arguments;
mod data;
mod display;
mod doctor;
#[cfg(test)]
mod fixture;
mod operate;
pub mod reference;
mod selftest;
mod up;

use arguments::{Arguments, Command};
use clap::{CommandFactory as _, Parser as _};
use data::import::{self, ImportCommand};
use data::{backup, compact, downgrade, restore, verify};
use display::output::{Answer, unwritable};
use operate::clock::{self, ClockCommand};
use operate::peers::{self, PeersCommand};
use operate::{drain, evict, invite, keys, status, usage};
use relay_daemon::{Clock, Exit, Failure, Vars};
use relay_proto::telemetry::Role;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Does what the arguments say. Answers go to `out`, everything else to `errors`.
pub fn run<W: Write, E: Write>(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut W,
    errors: &mut E,
) -> ExitCode {
    let command = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(refused) => return explain(&refused, out, errors),
    };
    match perform(command, out, errors) {
        Ok(exit) => exit,
        Err(failure) => {
            // A closed stderr must not turn one failure into another.
            drop(writeln!(errors, "relay: {failure}"));
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Runs one command. Those that take long, or ask, print as they go; of the others the answer is printed here.
fn perform<W: Write, E: Write>(command: Command, out: &mut W, errors: &mut E) -> Result<ExitCode, Failure> {
    // Read only where they are needed: `relay anchor` works whatever the environment says.
    let vars = Vars::from_environment;
    let clock = &Clock::system();
    let answer = match command {
        Command::Role { role, supervisor } => return Ok(up::role::run_role(role, supervisor, vars())),
        Command::Up => up::up(&vars(), out).map(Answer::from),
        Command::Oblivious => return Ok(up::role::run_role(Role::Oblivious, None, vars())),
        Command::Backup { directory, keep } => {
            backup::backup(&vars(), clock, &directory, keep.map(usize::from), (out, errors)).map(Answer::from)
        }
        Command::Evict(wanted) => {
            evict::evict(&vars(), &wanted, &mut std::io::stdin().lock(), out).map(Answer::from)
        }
        Command::Selftest(how) if how.as_client => {
            selftest::as_client::selftest(&vars(), clock, &how, out).map(Answer::from)
        }
        Command::Selftest(how) => selftest::selftest(&how, clock, out).map(Answer::from),
        Command::Status { json } => status::status(&vars(), clock, json),
        Command::Keys { json } => keys::keys(&vars(), clock, json),
        Command::Invite(how) => invite::invite(&vars(), clock, &how, errors),
        Command::Peers { json, command: None } => peers::peers(&vars(), clock, json),
        Command::Peers { command: Some(PeersCommand::Forget { url }), .. } => peers::forget(&vars(), &url),
        Command::Peers { command: Some(PeersCommand::Reassign { from, to }), .. } => {
            peers::reassign(&vars(), from, to)
        }
        Command::Drain { stop } => drain::drain(&vars(), stop, errors),
        Command::Restore { backup, replace } => restore::restore(&vars(), clock, &backup, replace),
        Command::Verify { backup } => verify::verify(&vars(), backup.as_deref()),
        Command::Clock(ClockCommand::Trust) => clock::trust(&vars()),
        Command::Usage { json } => usage::usage(&vars(), json),
        Command::Compact => compact::compact(&vars(), errors),
        Command::Import(ImportCommand::Vauchi { directory }) => {
            import::import(&vars(), clock, &directory, errors)
        }
        Command::Downgrade { to } => downgrade::downgrade(&vars(), to),
        Command::Doctor { url, json } => doctor::doctor(&vars(), clock, url.as_deref(), json),
        Command::Anchor(command) => anchor::run(&command, clock),
        Command::Version => Ok(Arguments::command().render_version().into()),
        Command::Reference { write } => reference::run(write.as_deref()),
    }?;
    out.write_all(answer.text.as_bytes()).map_err(unwritable)?;
    Ok(ExitCode::from(answer.exit.code()))
}

/// Help goes where help is asked for; a mistake goes to `errors`, with the code for one.
fn explain<W: Write, E: Write>(refused: &clap::Error, out: &mut W, errors: &mut E) -> ExitCode {
    if refused.use_stderr() {
        drop(write!(errors, "{refused}"));
        ExitCode::from(Exit::Usage.code())
    } else {
        drop(write!(out, "{refused}"));
        ExitCode::from(Exit::Success.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(arguments: &[&str]) -> (ExitCode, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let arguments = std::iter::once("relay").chain(arguments.iter().copied()).map(OsString::from);
        let exit = run(arguments, &mut out, &mut errors);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn a_wrong_command_line_is_a_usage_error() {
        let outer_without_ohttp = &["selftest", "http://host", "--relay", "http://outer"][..];
        for wrong in [
            &["down"][..],
            &[],
            &["status", "--jason"],
            &["peers", "forget"],
            &["peers", "--json", "forget", "ws://a"],
            &["drain", "--json"],
            &["clock"],
            &["selftest"],
            &["selftest", "ftp://host"],
            outer_without_ohttp,
            &["anchor", "certify", "d", "--days", "0"],
        ] {
            let (exit, out, errors) = relay(wrong);
            assert_eq!(exit, ExitCode::from(64), "{wrong:?}");
            assert!(out.is_empty() && !errors.is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn help_and_version_are_commands_as_well_as_flags() {
        for (command, flag) in [("help", "--help"), ("version", "--version")] {
            let (exit, out, errors) = relay(&[command]);
            assert!(exit == ExitCode::SUCCESS && errors.is_empty(), "{errors}");
            assert_eq!(out, relay(&[flag]).1);
        }
        let (_, out, _) = relay(&["help", "drain"]);
        assert_eq!(out, relay(&["drain", "--help"]).1);
    }

    #[test]
    fn help_is_an_answer_and_shows_no_inner_commands() {
        let (exit, out, errors) = relay(&["--help"]);
        assert_eq!(exit, ExitCode::SUCCESS);
        assert!(errors.is_empty());
        for shown in [
            "up",
            "oblivious",
            "status",
            "keys",
            "invite",
            "peers",
            "drain",
            "doctor",
            "backup",
            "restore",
            "verify",
            "clock",
            "compact",
            "usage",
            "evict",
            "import",
            "downgrade",
            "selftest",
            "anchor",
        ] {
            assert!(out.contains(shown), "{out}");
        }
        for hidden in ["role", "reference"] {
            assert!(!out.contains(&format!("  {hidden}")), "{out}");
        }
    }
}
