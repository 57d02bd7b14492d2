//! How many backups there are, and which go.

use super::NAMED;
use super::manifest::Manifest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The finished backups in a directory, oldest first: their names are their times.
pub(super) fn backups(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(NAMED) && Manifest::is_in(&entry.path()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Removes all but the newest. Answers how many.
pub(super) fn keep_newest(directory: &Path, keep: usize) -> io::Result<usize> {
    let backups = backups(directory)?;
    let gone = backups.len().saturating_sub(keep);
    for old in &backups[..gone] {
        fs::remove_dir_all(old)?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_what_is_no_backup_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["relay-20260101-000000", "relay-20260301-000000", "relay-20260201-000000"] {
            let place = directory.path().join(name);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("manifest.json"), "{}").unwrap();
        }
        for other in ["relay-notes", "photos"] {
            fs::create_dir(directory.path().join(other)).unwrap();
        }
        assert_eq!(keep_newest(directory.path(), 5).unwrap(), 0);
        assert_eq!(keep_newest(directory.path(), 2).unwrap(), 1);
        let left = backups(directory.path()).unwrap();
        assert!(
            left.len() == 2 && left.iter().all(|place| !place.ends_with("relay-20260101-000000")),
            "{left:?}"
        );
        assert!(directory.path().join("relay-notes").exists() && directory.path().join("photos").exists());
    }
}
