//! The directories that backups are made in: their own, and those around them. Only what a backup made is ever removed.

use super::manifest;
use super::{DATABASE, UNFINISHED};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What SQLite lays beside a database while it writes it.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Directories that were made for a backup. They are removed, if they are empty, when this is dropped before the backup
/// is there.
#[derive(Debug)]
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    /// Lets them stay.
    pub(super) fn stay(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in self.0.iter().rev() {
            // One that is in use by now stays.
            drop(fs::remove_dir(directory));
        }
    }
}

/// Makes a directory and those above it, where they are missing.
pub(super) fn make(directory: &Path) -> io::Result<Made> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let mut missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    missing.reverse();
    let mut made = Made(Vec::new());
    for directory in missing {
        match make_one(directory) {
            Ok(()) => made.0.push(directory.to_owned()),
            // Somebody else made it just now.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Makes a directory that only its owner can look into.
pub(super) fn make_one(directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)
}

/// Makes creations and renames in a directory durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes what commands that were killed left behind.
pub(super) fn clear_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_unfinished = name.to_str().is_some_and(|name| is_stamped(name, UNFINISHED));
        if is_unfinished && is_ours(&entry.path())? {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name is this beginning and a time, as `relay-20260301-140559`, and nothing more.
pub(super) fn is_stamped(name: &str, beginning: &str) -> bool {
    name.strip_prefix(beginning).is_some_and(|stamp| {
        stamp.len() == 15
            && stamp
                .bytes()
                .enumerate()
                .all(|(at, byte)| if at == 8 { byte == b'-' } else { byte.is_ascii_digit() })
    })
}

/// Returns true if this is a directory with files of a backup and no others.
pub(super) fn is_ours(place: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(place)?.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(place)? {
        if !entry?.file_name().to_str().is_some_and(is_of_a_backup) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes a backup's directory: its own files, and then itself if that was all.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_of_a_backup) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(place)
}

/// Whether a file of this name belongs to a backup.
fn is_of_a_backup(name: &str) -> bool {
    let is_beside = |rest: &str| rest.is_empty() || BESIDE.contains(&rest);
    name == manifest::NAME || name.strip_prefix(DATABASE).is_some_and(is_beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_backup_made_is_gone_and_what_was_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("some/where");
        drop(make(&place).unwrap());
        assert!(!directory.path().join("some").exists());
        fs::create_dir(directory.path().join("some")).unwrap();
        drop(make(&place).unwrap());
        assert!(directory.path().join("some").exists() && !place.exists());
        let made = make(&place).unwrap();
        fs::write(place.join("notes"), "").unwrap();
        drop(made);
        assert!(place.join("notes").exists());
        make(&directory.path().join("another")).unwrap().stay();
        assert!(directory.path().join("another").exists());
    }

    #[test]
    fn only_what_a_killed_backup_left_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[&str]| {
            let place = directory.path().join(name);
            fs::create_dir(&place).unwrap();
            for file in files {
                fs::write(place.join(file), "").unwrap();
            }
            place
        };
        let gone = [
            make(".unfinished-20260101-000000", &[]),
            make(".unfinished-20260101-000001", &["relay.db", "relay.db-journal", "manifest.json"]),
        ];
        let stays = [
            make(".unfinished-20260101-000002", &["relay.db", "notes"]),
            make(".unfinished-novel", &[]),
            make(".unfinished-20260101-000003-old", &[]),
            make("20260101-000004", &["relay.db"]),
        ];
        let link = directory.path().join(".unfinished-20260101-000005");
        std::os::unix::fs::symlink(&stays[3], &link).unwrap();
        clear_unfinished(directory.path()).unwrap();
        assert!(gone.iter().all(|place| !place.exists()));
        assert!(stays.iter().all(|place| place.exists()));
        assert!(link.exists() && stays[3].join("relay.db").exists());
    }
}
