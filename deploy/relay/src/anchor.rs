//! `relay anchor`: an operator's anchor, made and used on a machine that needs no relay, no network and no
//! variables. Its files:
//!
//! - `anchor.key`: signs certificates. Stays offline.
//! - `backup.key`: takes over when the anchor is lost or stolen. Stays offline, elsewhere if possible.
//! - `intermediate.key`: signs key records. Is copied to the relay.
//! - `anchor.json`: everything public. Is copied to the relay.
//! - `retired-N.key`: what was an anchor before a rollover.
//!
//! A secret is written and never printed. Whatever a command changes it changes by renaming finished files, and
//! `anchor.json` is what counts: a command that was cut off is finished by running it again.

mod certify;
mod files;
mod new;
mod rollover;
mod show;
mod state;

use crate::display::output::Answer;
use clap::Subcommand;
use relay_daemon::{Clock, Failure};
use relay_proto::UnixSeconds;
use std::path::PathBuf;

const DAY: u64 = 86_400;

/// 2025-01-01. No anchor is older than this program.
const EARLIEST: UnixSeconds = UnixSeconds::new(1_735_689_600);

/// For how many days a rollover certifies the intermediate key again, and the default of `certify`.
const USUAL_DAYS: u64 = 90;

/// What to do with an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum AnchorCommand {
    /// Make an anchor and its backup
    New {
        /// Where; made if it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Certify the key that a relay signs with, making that key first if there is none
    Certify {
        /// Where the anchor is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// For how many days
        #[arg(long, default_value_t = USUAL_DAYS, value_parser = clap::value_parser!(u64).range(1..=825))]
        days: u64,
        /// Make another key in the place of the one there is
        #[arg(long)]
        new_intermediate: bool,
    },
    /// Make the backup the anchor, and a new key its backup
    Rollover {
        /// Where the anchor is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Show an anchor, its certificates and rollovers
    Show {
        /// Where the anchor is, or a copy of its anchor.json
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command and returns its answer.
///
/// # Errors
/// With the path, what is wrong there and how to fix it.
pub(crate) fn run(command: &AnchorCommand, clock: &Clock) -> Result<Answer, Failure> {
    let text = match command {
        AnchorCommand::New { directory } => new::new(directory),
        AnchorCommand::Certify { directory, days, new_intermediate } => {
            certify::certify(directory, *days, *new_intermediate, clock)
        }
        AnchorCommand::Rollover { directory } => rollover::rollover(directory, clock),
        AnchorCommand::Show { directory, json } => show::show(directory, *json, clock),
    };
    text.map(Answer::from)
}

/// Returns the time, and fails when the clock was clearly never set, as on machines that are never online.
fn plausible_now(clock: &Clock) -> Result<UnixSeconds, Failure> {
    let now = clock.now();
    if now < EARLIEST {
        return Err(failure!(
            Usage,
            "this machine's clock says {}, and a certificate of that time would hold nowhere; set it \
                 (mend: date -u -s 'YYYY-MM-DD hh:mm')",
            crate::display::time::utc(now)
        ));
    }
    Ok(now)
}

/// What all of the tests of the commands need.
#[cfg(test)]
mod fixture {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::anchor::file::{AnchorFile, PUBLIC_FILE};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    /// 2025-06-01 12:34:56.
    pub(super) const NOW: UnixSeconds = UnixSeconds::new(1_748_781_296);

    /// A directory with an anchor in it, and time.
    pub(super) struct TestAnchor {
        _around: tempfile::TempDir,
        pub(super) directory: PathBuf,
        pub(super) time: ManualClock,
    }

    impl TestAnchor {
        /// Where nothing is yet.
        pub(super) fn empty() -> Self {
            let around = tempfile::tempdir().unwrap();
            let directory = around.path().join("anchor");
            Self { _around: around, directory, time: ManualClock::at(NOW) }
        }

        /// With a new anchor.
        pub(super) fn anchored() -> Self {
            let offline = Self::empty();
            offline.run(AnchorCommand::New { directory: offline.directory.clone() }).unwrap();
            offline
        }

        pub(super) fn run(&self, command: AnchorCommand) -> Result<String, Failure> {
            let answer = run(&command, &self.time.clock())?.text;
            for secret in self.secrets() {
                assert!(!answer.contains(&secret), "{answer}");
            }
            Ok(answer)
        }

        pub(super) fn certify(&self) -> Result<String, Failure> {
            let directory = self.directory.clone();
            self.run(AnchorCommand::Certify { directory, days: 90, new_intermediate: false })
        }

        pub(super) fn rollover(&self) -> Result<String, Failure> {
            self.run(AnchorCommand::Rollover { directory: self.directory.clone() })
        }

        pub(super) fn path(&self, name: &str) -> PathBuf {
            self.directory.join(name)
        }

        pub(super) fn public(&self) -> AnchorFile {
            AnchorFile::read(&fs::read_to_string(self.path(PUBLIC_FILE)).unwrap()).unwrap()
        }

        /// Names of all files there.
        pub(super) fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(&self.directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }

        fn secrets(&self) -> Vec<String> {
            let names = if self.directory.exists() { self.names() } else { Vec::new() };
            let keys = names.into_iter().filter(|name| name.ends_with(".key"));
            keys.map(|name| fs::read_to_string(self.path(&name)).unwrap().trim().to_owned())
                .filter(|seed| !seed.is_empty())
                .collect()
        }
    }

    pub(super) fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixture::TestAnchor;
    use relay_daemon::Exit;

    #[test]
    fn a_clock_that_nobody_set_certifies_nothing() {
        let offline = TestAnchor::anchored();
        offline.time.jump_to(UnixSeconds::new(100));
        for refused in [offline.certify().unwrap_err(), offline.rollover().unwrap_err()] {
            assert_eq!(refused.exit, Exit::Usage);
            assert!(refused.text.contains("1970-01-01") && refused.text.contains("date -u"), "{refused}");
        }
        assert_eq!(offline.names(), ["anchor.json", "anchor.key", "backup.key"]);
    }

    #[test]
    fn where_there_is_no_anchor_every_command_says_how_to_make_one() {
        let offline = TestAnchor::empty();
        let show = AnchorCommand::Show { directory: offline.directory.clone(), json: false };
        for refused in [offline.certify(), offline.rollover(), offline.run(show)].map(Result::unwrap_err) {
            assert_eq!(refused.exit, Exit::DataMissing);
            assert!(refused.text.contains("relay anchor new"), "{refused}");
        }
        assert!(!offline.directory.exists(), "asking makes nothing");
    }
}
