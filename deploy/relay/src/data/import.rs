//! `relay import`: takes over the data of a relay of the older kind, and lists what was taken and what was left.

use crate::display::output::Answer;
use crate::display::progress::Progress;
use crate::display::units::{counted, grouped};
use clap::Subcommand;
use relay_daemon::{Clock, Failure, Vars};
use std::io::Write;
use std::path::{Path, PathBuf};
use storaged::offline::{self, ImportPart, ImportTally, Imported};

/// From where to take over.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum ImportCommand {
    /// The relay of one process, with blobs.db, recovery_proofs.db and files of keys in one directory
    ///
    /// Stop it first, and copy its file of keys for Oblivious HTTP into the directory if it lies elsewhere. Nothing there
    /// is changed, and what was taken is not taken twice.
    Vauchi {
        /// Its data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Takes over, while no relay runs.
pub(crate) fn import(
    vars: &Vars,
    clock: &Clock,
    directory: &Path,
    errors: &mut impl Write,
) -> Result<Answer, Failure> {
    let mut progress = Progress::of_something_short(errors);
    let imported = offline::import(vars, directory, clock.now(), &mut |name, done, all| {
        progress.show(done, all, &format_args!("{name}: {} of {} rows", grouped(done), grouped(all)));
    });
    progress.end();
    Ok(summary(&imported?).into())
}

fn summary(imported: &Imported) -> String {
    let mut text = String::new();
    for (name, part) in &imported.parts {
        text += &match part {
            ImportPart::Read { of, tally } => format!("{name}: {}\n", tally_in_words(of, tally)),
            ImportPart::Left(why) => format!("{name}: left; {why}\n"),
        };
    }
    if imported.over_quota > 0 {
        text += &format!(
            "mailboxes that hold more than one can be sent now: {}; that stays until it is received or expires\n",
            grouped(imported.over_quota),
        );
    }
    text
}

fn tally_in_words(of: &str, tally: &ImportTally) -> String {
    let mut words = format!("{} taken", counted(tally.taken, of));
    for (number, what) in [
        (tally.known, "here before or acknowledged"),
        (tally.expired, "expired"),
        (tally.malformed, "not understood"),
    ] {
        if number > 0 {
            words += &format!(", {} {what}", grouped(number));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_and_what_was_left_is_told() {
        let tally = ImportTally { taken: 1200, known: 0, expired: 3, malformed: 1 };
        let parts = vec![
            ("blobs.db".to_owned(), ImportPart::Read { of: "blob", tally }),
            ("notes".to_owned(), ImportPart::Left("it is not known")),
        ];
        let text = summary(&Imported { parts, over_quota: 2 });
        assert!(text.contains("blobs.db: 1,200 blobs taken, 3 expired, 1 not understood\n"), "{text}");
        assert!(text.contains("notes: left; it is not known\n"), "{text}");
        assert!(text.contains("mailboxes that hold more than one can be sent now: 2;"), "{text}");
    }
}
