//! `relay evict`: deletes stored rows by kind, age or size, after asking.

use crate::admin_client::collect;
use crate::display::output::unwritable;
use crate::display::units::{bytes, counted};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use relay_daemon::{Exit, Failure, Vars};
use relay_proto::messages::{EvictReply, EvictRequest, RowKind};
use std::io::{BufRead, Write};

/// What to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
#[command(group = clap::ArgGroup::new("which").args(["older_than", "larger_than", "all"]).multiple(true).required(true))]
pub(crate) struct Evict {
    /// Of which kind
    #[arg(value_parser = kinds())]
    pub(crate) kind: RowKind,
    /// What was stored or renewed so long ago, or longer, for example 12h or 30d
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) older_than: Option<u64>,
    /// What has more content than this, for example 64KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) larger_than: Option<u64>,
    /// All of the kind
    #[arg(long, conflicts_with_all = ["older_than", "larger_than"])]
    pub(crate) all: bool,
    /// Delete nothing, only count
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// What can be deleted by hand: its kind, its line in `--help`, and what is lost with its rows.
const KINDS: [(RowKind, &str, &str); 9] = [
    (
        RowKind::Mail,
        "Mail of this relay's clients: it is lost, read or not",
        "This mail is lost, read or not. Nobody is told.",
    ),
    (
        RowKind::Held,
        "Mail held for peers: it is lost, unless they have it too",
        "This mail of other relays' clients is lost, unless those relays have it too.",
    ),
    (
        RowKind::Outbox,
        "Deletions that peers have not heard of: their copies stay until their time is over",
        "Peers will not hear of these deletions: their copies stay until their time is over.",
    ),
    (
        RowKind::Registrations,
        "Registered mailboxes: purges do not reach them until their clients register again",
        "Purges will not reach these mailboxes until their clients register again, and with RELAY_REQUIRE_REGISTRATION \
         they take no mail until then.",
    ),
    (
        RowKind::Offers,
        "Exchange offers: their codes end",
        "These codes are good for nothing any more: whoever offered has to offer again.",
    ),
    (
        RowKind::Proofs,
        "Recovery proofs: who loses a device cannot be recovered by them",
        "Who loses a device cannot be recovered by these proofs.",
    ),
    (
        RowKind::Guardians,
        "Guardian sets: lost until their owners store them again",
        "These guardian sets are lost until their owners store them again.",
    ),
    (RowKind::Escrow, "Escrow gates, with what lies behind them", "What lies behind these gates is lost."),
    (
        RowKind::Tombstones,
        "Ids of what was acked or purged: whoever sends it again brings it back",
        "Whoever sends again what was acked or purged in the last three days brings it back.",
    ),
];

fn kinds() -> impl TypedValueParser<Value = RowKind> {
    let values = KINDS.map(|(kind, help, _)| PossibleValue::new(kind.name()).help(help));
    let parse =
        |name: String| KINDS.into_iter().map(|row| row.0).find(|kind| kind.name() == name).ok_or(name);
    PossibleValuesParser::new(values).try_map(parse)
}

fn loss(kind: RowKind) -> &'static str {
    KINDS.into_iter().find(|row| row.0 == kind).map_or("", |row| row.2)
}

fn time(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a time is a number with s, m, h or d behind it, for example 12h or 30d";
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    with_unit(text, &units).filter(|seconds| *seconds > 0).ok_or(EXPECTED)
}

fn size(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a size is a number with B, KiB, MiB or GiB behind it, for example 64KiB";
    // The longest come first: all of them end in B.
    with_unit(text, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)]).ok_or(EXPECTED)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, worth) = units.iter().find_map(|(unit, worth)| Some((text.strip_suffix(unit)?, *worth)))?;
    // A sign would parse.
    let is_whole = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| is_whole)?.checked_mul(worth)
}

/// Counts what is meant, asks, and deletes it.
pub(crate) fn evict<W: Write>(
    vars: &Vars,
    wanted: &Evict,
    input: &mut impl BufRead,
    out: &mut W,
) -> Result<Exit, Failure> {
    let request = EvictRequest {
        kind: wanted.kind.into(),
        older_than_secs: wanted.older_than.unwrap_or(0),
        larger_than_bytes: wanted.larger_than,
        dry_run: true,
    };
    let found = run(vars, request)?;
    say!(out, "{} of {}: {}", counted(found.rows, "row"), request.kind().name(), bytes(found.bytes))?;
    if wanted.dry_run || found.rows == 0 {
        return Ok(Exit::Success);
    }
    if !wanted.yes {
        say!(out, "{}\nType yes to delete them:", loss(wanted.kind))?;
        out.flush().map_err(unwritable)?;
        let mut answer = String::new();
        let read = input.read_line(&mut answer);
        if read.is_err() || answer.trim() != "yes" {
            say!(out, "nothing was deleted")?;
            return Ok(Exit::Forced);
        }
    }
    let gone = run(vars, EvictRequest { dry_run: false, ..request })?;
    say!(
        out,
        "{} deleted, {} freed for new rows; `relay compact` gives free pages back to the volume",
        counted(gone.rows, "row"),
        bytes(gone.bytes)
    )?;
    Ok(Exit::Success)
}

/// Has it done, and waits until it is.
fn run(vars: &Vars, request: EvictRequest) -> Result<EvictReply, Failure> {
    let steps = collect(vars, async |mut admin| admin.0.evict(request).await)?;
    Ok(steps.into_iter().last().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, sample};

    fn evicted(wanted: &Evict, answer: &str) -> (Exit, String, u64) {
        let storage = Storage::start(sample());
        let mut out = Vec::new();
        let exit = evict(&storage.vars(), wanted, &mut answer.as_bytes(), &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap(), storage.rows())
    }

    const OLD_MAIL: Evict = Evict {
        kind: RowKind::Mail,
        older_than: Some(30 * 86_400),
        larger_than: None,
        all: false,
        dry_run: false,
        yes: false,
    };

    #[test]
    fn nothing_is_deleted_before_somebody_says_yes() {
        for answer in ["", "no\n", "y\n", "YES\n"] {
            let (exit, told, rows) = evicted(&OLD_MAIL, answer);
            assert_eq!((exit, rows), (Exit::Forced, 10), "{answer:?}");
            assert!(told.contains("10 rows of mail") && told.contains("lost"), "{told}");
            assert!(told.ends_with("nothing was deleted\n"), "{told}");
        }
        let (exit, told, rows) = evicted(&OLD_MAIL, "yes\n");
        assert_eq!((exit, rows), (Exit::Success, 0));
        assert!(told.contains("10 rows deleted, 10.0 KiB freed"), "{told}");
    }

    #[test]
    fn scripts_are_not_asked_and_a_dry_run_only_counts() {
        assert_eq!(evicted(&Evict { yes: true, ..OLD_MAIL }, "").2, 0);
        let (exit, told, rows) = evicted(&Evict { yes: true, dry_run: true, ..OLD_MAIL }, "");
        assert_eq!((exit, told.as_str(), rows), (Exit::Success, "10 rows of mail: 10.0 KiB\n", 10));
    }

    #[test]
    fn every_kind_says_what_is_lost() {
        for (kind, _, loss) in KINDS {
            assert!(loss.ends_with('.') && super::loss(kind) == loss);
        }
    }
}
