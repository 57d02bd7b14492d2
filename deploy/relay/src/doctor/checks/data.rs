//! The data directory: whose it is, who may read it, and whether what must be in it is.

use crate::doctor::code::Code;
use crate::doctor::facts::{Contents, Data, Facts, Header, Reached};
use crate::doctor::finding::Findings;
use std::path::Path;

/// Permissions of the directory that only its owner may have. The group may enter it, for sockets inside.
const DIRECTORY_EXCESS: u32 = 0o067;
/// The same for a file.
const FILE_EXCESS: u32 = 0o077;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let path = &facts.settings.data;
    let shown = path.display();
    let runs = !matches!(facts.reached, Reached::Missing | Reached::Dead);
    match &facts.data {
        // The data of a storage that answers, or whose sockets are elsewhere, may be out of sight, as in another container.
        Some(Data::Missing) if !runs && facts.settings.sockets.starts_with(path) => findings
            .add(Code::DataMissing, format!("there is no data directory at {shown}, and no relay runs")),
        Some(Data::Closed { mode, .. }) => check_mode(path, *mode, DIRECTORY_EXCESS, "700", findings),
        Some(Data::Open(contents)) => {
            check_mode(path, contents.mode, DIRECTORY_EXCESS, "700", findings);
            check_contents(path, contents, findings);
            if !runs {
                check_user(path, contents, facts.user, findings);
                check_database(path, contents, findings);
            }
        }
        Some(Data::Missing) | None => {}
    }
}

fn check_mode(path: &Path, mode: u32, excess: u32, right: &str, findings: &mut Findings) {
    let path = path.display();
    if mode & excess != 0 {
        findings.add_with(
            Code::DataMode,
            format!("{path} has mode {mode:03o}: others than its owner may use it"),
            format!("chmod {right} {path}"),
        );
    }
}

fn check_contents(path: &Path, contents: &Contents, findings: &mut Findings) {
    let shown = path.display();
    if let Some((name, owner, _)) = contents.files.iter().find(|(_, owner, _)| *owner != contents.owner) {
        // The directory may be the one that is wrong: most files are the store's own.
        let own = |user: u32| contents.files.iter().filter(|(_, owner, _)| *owner == user).count();
        let rightful = if own(*owner) > own(contents.owner) { *owner } else { contents.owner };
        findings.add_with(
            Code::DataOwner,
            format!("{shown} belongs to uid {}, and {name} in it to uid {owner}", contents.owner),
            format!("chown -R {rightful} {shown}"),
        );
    }
    for (name, _, mode) in contents.files.iter().filter(|(name, _, _)| name.starts_with("relay.db")) {
        check_mode(&path.join(name), *mode, FILE_EXCESS, "600", findings);
    }
}

/// Whether this user could start a relay there. Root may look on behalf of anybody.
fn check_user(path: &Path, contents: &Contents, user: u32, findings: &mut Findings) {
    let (path, owner) = (path.display(), contents.owner);
    if user != 0 && user != owner && !findings.has(Code::DataOwner) {
        findings.add_with(
            Code::DataOwner,
            format!("{path} belongs to uid {owner}, and no relay of uid {user} can start there"),
            format!("run the relay as uid {owner}, or chown -R {user} {path}"),
        );
    }
}

/// What keeps storaged from starting.
fn check_database(path: &Path, contents: &Contents, findings: &mut Findings) {
    let database = path.join("relay.db");
    let (path, database) = (path.display(), database.display());
    if !contents.has("relay.db") && (contents.has("initialized") || contents.has("relay.db-wal")) {
        findings.add(Code::DataLost, format!("{path} held a relay's data, and its relay.db is gone"));
    }
    match contents.header {
        Some(Header::Damaged) => {
            findings.add(Code::DataDamaged, format!("{database} does not begin as a database does"))
        }
        Some(Header::Schema(version)) if version > storaged::SCHEMA_VERSION => findings.add(
            Code::DataNewer,
            format!(
                "{database} has schema version {version}, and this version of the relay knows {}",
                storaged::SCHEMA_VERSION
            ),
        ),
        Some(Header::Empty | Header::Schema(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{codes, contents};
    use crate::doctor::facts::{Contents, Data, Facts, Header, Reached};

    fn with(change: impl FnOnce(&mut Contents)) -> impl FnOnce(&mut Facts) {
        |facts| {
            let mut contents = contents();
            change(&mut contents);
            facts.data = Some(Data::Open(contents));
        }
    }

    fn stopped(change: impl FnOnce(&mut Contents)) -> Vec<&'static str> {
        codes(|facts| {
            with(change)(facts);
            facts.reached = Reached::Dead;
            facts.report = None;
            facts.proxy = None;
            facts.operator = None;
        })
    }

    #[test]
    fn a_missing_directory_explains_that_no_relay_runs() {
        let with_sockets_in = |place: &str| {
            codes(|facts| {
                facts.data = Some(Data::Missing);
                facts.settings.sockets = place.into();
                facts.reached = Reached::Missing;
                facts.report = None;
                facts.proxy = None;
                facts.operator = None;
            })
        };
        assert_eq!(with_sockets_in("/var/lib/relay/run"), ["data-missing"]);
        // As in a container of the operator's, which has the sockets alone.
        assert_eq!(with_sockets_in("/run/relay"), ["socket-missing"]);
    }

    #[test]
    fn all_of_it_has_one_owner() {
        assert_eq!(codes(with(|contents| contents.files[1].1 = 0)), ["data-owner"]);
        assert_eq!(codes(with(|contents| contents.owner = 0)), ["data-owner"]);
    }

    #[test]
    fn a_relay_starts_only_in_a_directory_of_its_own() {
        let of = |user: u32| {
            codes(|facts| {
                facts.user = user;
                facts.reached = Reached::Missing;
                facts.report = None;
                facts.proxy = None;
                facts.operator = None;
            })
        };
        assert_eq!(of(1000), ["data-owner"]);
        assert_eq!(of(0), ["socket-missing"], "root may look on behalf of anybody");
        assert!(codes(|facts| facts.user = 1000).is_empty(), "it runs, and somebody else looks");
    }

    #[test]
    fn nobody_else_reads_it() {
        assert_eq!(codes(with(|contents| contents.mode = 0o755)), ["data-mode"]);
        assert_eq!(codes(with(|contents| contents.files[0].2 = 0o640)), ["data-mode"]);
        assert_eq!(codes(|facts| facts.data = Some(Data::Closed { owner: 1, mode: 0o750 })), ["data-mode"]);
        assert!(codes(with(|contents| contents.mode = 0o710)).is_empty(), "sockets may lie inside");
    }

    #[test]
    fn a_database_that_is_gone_damaged_or_newer_explains_that_storage_does_not_run() {
        assert_eq!(stopped(|contents| drop(contents.files.remove(0))), ["data-lost"]);
        assert_eq!(stopped(|contents| contents.header = Some(Header::Damaged)), ["data-damaged"]);
        assert_eq!(stopped(|contents| contents.header = Some(Header::Schema(99))), ["data-newer"]);
        assert_eq!(stopped(|_| ()), ["socket-dead"]);
        assert!(
            codes(with(|contents| contents.header = Some(Header::Damaged))).is_empty(),
            "it is being written"
        );
    }
}
