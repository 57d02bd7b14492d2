//! The files of an anchor's directory: whether they fit together, and how a rollover that was cut off is finished.
//!
//! `anchor.json` says which key is the anchor and which one is committed to. A rollover writes the key after the
//! next to `next-backup.key`, then a new `anchor.json`, and only then gives the keys their new names. So a
//! `next-backup.key` that `anchor.json` commits to is a rollover that happened and is not tidied up; one that it
//! does not commit to is a rollover that did not happen.

use super::files::{Directory, no_anchor};
use ed25519_dalek::SigningKey;
use relay_daemon::Failure;
use relay_proto::anchor::file::{AnchorFile, INTERMEDIATE_FILE, PUBLIC_FILE};
use relay_proto::anchor::public;
use relay_proto::{Commitment, PublicKey};

/// The key that certifies.
pub(super) const ANCHOR_KEY: &str = "anchor.key";
/// The key that takes over from it.
pub(super) const BACKUP_KEY: &str = "backup.key";
/// The key that will be the backup when the rollover in hand is done.
pub(super) const NEXT_BACKUP_KEY: &str = "next-backup.key";

/// A directory with any of these has an anchor.
pub(super) const FILES: [&str; 5] = [PUBLIC_FILE, ANCHOR_KEY, BACKUP_KEY, INTERMEDIATE_FILE, NEXT_BACKUP_KEY];

/// Name of the file of a key that was an anchor.
pub(super) fn retired_key(number: u32) -> String {
    format!("retired-{number}.key")
}

/// Reads `anchor.json`.
///
/// # Errors
/// When it is not there, not readable, or does not fit together.
pub(super) fn public_file(directory: &Directory) -> Result<AnchorFile, Failure> {
    let path = directory.path(PUBLIC_FILE);
    let path = path.display();
    let Some(text) = directory.read(PUBLIC_FILE)? else {
        for name in FILES {
            if directory.has(name)? {
                return Err(failure!(
                    DataMissing,
                    "{path} is not there, and {name} is; bring it back from a copy or from a relay's \
                         RELAY_ANCHOR_DIR. If `relay anchor new` was cut off here and nothing was ever \
                         published, remove the files and run it again"
                ));
            }
        }
        return Err(no_anchor(directory.itself()));
    };
    let unusable = |problem: &dyn std::fmt::Display| {
        failure!(
            Corrupt,
            "{path} cannot be used: {problem}; bring it back from a copy or from a relay's RELAY_ANCHOR_DIR"
        )
    };
    let file = AnchorFile::read(&text).map_err(|problem| unusable(&problem))?;
    match file.rollovers.last() {
        Some(last) if last.new_anchor != file.anchor || last.next_commitment != file.commitment => {
            Err(unusable(&"its last rollover is not to the anchor in it"))
        }
        _ => Ok(file),
    }
}

/// The key of the anchor that `anchor.json` names.
///
/// # Errors
/// When it is not there or another one.
pub(super) fn anchor_key(directory: &Directory, file: &AnchorFile) -> Result<SigningKey, Failure> {
    let rollover = format!("relay anchor rollover {}", directory.itself().display());
    let missing =
        format!("bring it back from a copy. If it is lost, `{rollover}` makes the backup the anchor");
    let wrong = "is not the key of the anchor in anchor.json; bring back the files that belong together";
    the_key(directory, ANCHOR_KEY, |key| *key == file.anchor, wrong, &missing)
}

/// The key that `anchor.json` commits to.
///
/// # Errors
/// When it is not there or another one.
pub(super) fn backup_key(directory: &Directory, file: &AnchorFile) -> Result<SigningKey, Failure> {
    let missing = "bring it here: no other key can take over";
    let wrong =
        "is not the key that anchor.json commits to; bring back the one that is: no other can take over";
    the_key(directory, BACKUP_KEY, |key| Commitment::to(key) == file.commitment, wrong, missing)
}

fn the_key(
    directory: &Directory,
    name: &str,
    is_right: impl FnOnce(&PublicKey) -> bool,
    wrong: &str,
    missing: &str,
) -> Result<SigningKey, Failure> {
    let path = directory.path(name);
    match directory.read_key(name)? {
        Some(key) if is_right(&public(&key)) => Ok(key),
        Some(_) => Err(failure!(Corrupt, "{} {wrong}", path.display())),
        None => Err(failure!(DataMissing, "{} is not there; {missing}", path.display())),
    }
}

/// Whether a rollover is written down whose keys do not have their new names yet, as far as can be seen
/// without reading a secret.
pub(super) fn looks_unfinished(directory: &Directory) -> Result<bool, Failure> {
    directory.has(NEXT_BACKUP_KEY)
}

/// Gives the keys of a rollover that is written down in `anchor.json` their new names, whichever of them have
/// them already. Returns true if there was anything to do.
///
/// # Errors
/// When a key is not there or another one.
pub(super) fn settle(directory: &Directory, file: &AnchorFile) -> Result<bool, Failure> {
    match directory.read_key(NEXT_BACKUP_KEY)? {
        Some(next) if Commitment::to(&public(&next)) == file.commitment => {}
        // None, or one that nothing is committed to: no rollover has happened.
        Some(_) | None => return Ok(false),
    }
    let is_anchor = |key: &SigningKey| public(key) == file.anchor;
    if directory.read_key(ANCHOR_KEY)?.is_some_and(|key| !is_anchor(&key)) {
        directory.rename(ANCHOR_KEY, &free_retired_name(directory)?)?;
    }
    let cut_off = format!("a rollover was cut off in {}, and {BACKUP_KEY}", directory.itself().display());
    match directory.read_key(BACKUP_KEY)? {
        Some(key) if is_anchor(&key) => directory.rename(BACKUP_KEY, ANCHOR_KEY)?,
        Some(_) => {
            let wrong = "is not the key that takes over; move it away and bring that one here";
            return Err(failure!(Corrupt, "{cut_off} {wrong}"));
        }
        None if directory.has(ANCHOR_KEY)? => {}
        None => {
            let missing = "which takes over, is not there; bring it here";
            return Err(failure!(DataMissing, "{cut_off}, {missing}"));
        }
    }
    directory.rename(NEXT_BACKUP_KEY, BACKUP_KEY)?;
    Ok(true)
}

fn free_retired_name(directory: &Directory) -> Result<String, Failure> {
    let mut number = 1;
    while directory.has(&retired_key(number))? {
        number += 1;
    }
    Ok(retired_key(number))
}
