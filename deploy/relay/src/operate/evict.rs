//! `relay evict`: deletes stored rows by kind, age or size, after asking.

use crate::admin_client;
use crate::arguments::{Evict, EvictKind};
use crate::display::output::unwritable;
use crate::display::units::{bytes, counted};
use crate::operate::usage::part;
use relay_daemon::{Exit, Failure, Vars};
use relay_proto::messages::{EvictReply, EvictRequest, RowKind};
use std::io::{BufRead, Write};

impl EvictKind {
    const fn row_kind(self) -> RowKind {
        match self {
            Self::Mail => RowKind::Mail,
            Self::Held => RowKind::Held,
            Self::Outbox => RowKind::Outbox,
            Self::Registrations => RowKind::Registrations,
            Self::Offers => RowKind::Offers,
            Self::Proofs => RowKind::Proofs,
            Self::Guardians => RowKind::Guardians,
            Self::Escrow => RowKind::Escrow,
            Self::Tombstones => RowKind::Tombstones,
        }
    }

    /// What goes with its rows, for whoever decides.
    const fn loss(self) -> &'static str {
        match self {
            Self::Mail => "This mail is lost, read or not. Nobody is told.",
            Self::Held => "This mail of other relays' clients is lost, unless those relays have it too.",
            Self::Outbox => {
                "Peers will not hear of these deletions: their copies stay until their time is over."
            }
            Self::Registrations => {
                "Purges will not reach these mailboxes until their clients register again, and with \
                 RELAY_REQUIRE_REGISTRATION they take no mail until then."
            }
            Self::Offers => "These codes are good for nothing any more: whoever offered has to offer again.",
            Self::Proofs => "Who loses a device cannot be recovered by these proofs.",
            Self::Guardians => "These guardian sets are lost until their owners store them again.",
            Self::Escrow => "What lies behind these gates is lost.",
            Self::Tombstones => {
                "Whoever sends again what was acked or purged in the last three days brings it back."
            }
        }
    }
}

/// Counts what is meant, asks, and deletes it.
pub(crate) fn evict<W: Write>(
    vars: &Vars,
    wanted: &Evict,
    input: &mut impl BufRead,
    out: &mut W,
) -> Result<Exit, Failure> {
    let request = EvictRequest {
        kind: wanted.kind.row_kind().into(),
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
        say!(out, "{}\nType yes to delete them:", wanted.kind.loss())?;
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
    admin_client::with_client(vars, async |client| {
        let mut steps = client.call(async |mut admin| admin.evict(request).await).await?.into_inner();
        let mut last = EvictReply::default();
        while let Some(step) = part(&mut steps).await? {
            last = step;
        }
        Ok(last)
    })
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
        kind: EvictKind::Mail,
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
        use clap::ValueEnum as _;
        for kind in EvictKind::value_variants() {
            assert!(kind.loss().ends_with('.'));
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.row_kind().name());
        }
    }
}
