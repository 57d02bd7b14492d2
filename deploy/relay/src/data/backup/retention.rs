//! How many backups there are, and which go.

use super::directories::{self, is_ours, is_stamped};
use super::manifest::Manifest;
use super::{DATABASE, NAMED, UNFINISHED};
use relay_daemon::{Failure, Throttle};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use storaged::offline;

/// What became of the older backups.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// How many are gone.
    pub(super) removed: usize,
    /// Why some of those that are left cannot be restored.
    pub(super) damaged: Vec<String>,
}

/// The finished backups in a directory, oldest first: their names are their times. Only what this program made is one: a
/// directory of another name, with a manifest that cannot be understood, or with anything else in it is left alone.
pub(super) fn backups(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let (name, place) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let is_named = name.to_str().is_some_and(|name| is_stamped(name, NAMED));
        if is_named && is_ours(&place)? && Manifest::read(&place).is_ok() {
            found.push(place);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes all that are older than the newest good ones. The one that was made just now, and checked, is one of those
/// that stay; the others count after they were checked again.
pub(super) fn keep_newest(
    directory: &Path,
    newest: &Path,
    keep: usize,
    pace: impl Fn() -> Throttle,
) -> io::Result<Pruned> {
    let mut others = backups(directory)?;
    others.retain(|place| place != newest);
    let mut pruned = Pruned::default();
    if others.len() < keep {
        return Ok(pruned);
    }
    let mut good = 1;
    for place in others.iter().rev() {
        if good >= keep {
            remove(directory, place)?;
            pruned.removed += 1;
            continue;
        }
        match check(place, &pace) {
            Ok(None) => good += 1,
            Ok(Some(problem)) => pruned.damaged.push(format!("{}: {problem}", place.display())),
            Err(failure) => pruned.damaged.push(failure.text),
        }
    }
    Ok(pruned)
}

/// Checks whether a backup could be restored. Returns what is wrong with it.
fn check(place: &Path, pace: &impl Fn() -> Throttle) -> Result<Option<String>, Failure> {
    if Manifest::check(place, pace())?.is_sound() {
        return Ok(None);
    }
    Ok(offline::inspect(&place.join(DATABASE), pace())?.problems.into_iter().next())
}

/// Removes one. What is half removed is no backup any more, and the next one clears it away.
fn remove(directory: &Path, place: &Path) -> io::Result<()> {
    let name = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let going = directory.join(name.replacen(NAMED, UNFINISHED, 1));
    fs::rename(place, &going)?;
    directories::remove(&going)
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::UnixSeconds;
    use storaged::offline::Census;

    /// Something like a backup, which was found sound when it was made.
    fn made(directory: &Path, name: &str) -> PathBuf {
        let place = directory.join(name);
        fs::create_dir(&place).unwrap();
        fs::write(place.join(DATABASE), "a database").unwrap();
        let created = UnixSeconds::new(1_800_000_000);
        let manifest =
            Manifest::of(&place.join(DATABASE), &Census::default(), created, Throttle::hurried()).unwrap();
        manifest.write(&place).unwrap();
        place
    }

    fn pruned(directory: &Path, newest: &Path, keep: usize) -> Pruned {
        keep_newest(directory, newest, keep, Throttle::hurried).unwrap()
    }

    #[test]
    fn the_newest_stay_and_what_is_no_backup_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let [oldest, newest, middle] =
            ["relay-20260101-000000", "relay-20260301-000000", "relay-20260201-000000"]
                .map(|name| made(directory, name));
        let others = ["relay-20250101-000000", "relay-20250102-000000", "relay-20250103-000000"];
        let [unreadable, foreign, with_notes] = others.map(|name| made(directory, name));
        fs::write(unreadable.join("manifest.json"), "{}").unwrap();
        fs::write(foreign.join("manifest.json"), r#"{"format": 7}"#).unwrap();
        fs::write(with_notes.join("notes"), "").unwrap();
        let renamed =
            ["relay-20250104-000000-damaged", "relay-20250105-old"].map(|name| made(directory, name));
        for other in ["relay-notes", "photos"] {
            fs::create_dir(directory.join(other)).unwrap();
        }
        assert_eq!(pruned(directory, &newest, 5).removed, 0);
        assert_eq!(pruned(directory, &newest, 3).removed, 0);
        assert_eq!(pruned(directory, &newest, 2).removed, 1);
        assert_eq!(backups(directory).unwrap(), [middle, newest]);
        assert!(!oldest.exists());
        assert!([unreadable, foreign, with_notes].iter().chain(&renamed).all(|place| place.exists()));
        assert!(directory.join("relay-notes").exists() && directory.join("photos").exists());
        assert_eq!(fs::read_dir(directory).unwrap().count(), 9, "nothing else is left of what was removed");
    }

    #[test]
    fn a_damaged_one_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let [oldest, good, damaged, newest] = [
            "relay-20260101-000000",
            "relay-20260102-000000",
            "relay-20260103-000000",
            "relay-20260104-000000",
        ]
        .map(|name| made(directory, name));
        fs::write(damaged.join(DATABASE), "a databose").unwrap();
        let found = pruned(directory, &newest, 2);
        assert_eq!((found.removed, found.damaged.len()), (1, 1), "{found:?}");
        assert!(found.damaged[0].contains("20260103"), "{found:?}");
        assert!(!oldest.exists() && good.exists() && damaged.exists() && newest.exists());
    }

    #[test]
    fn the_one_that_was_just_made_stays_whatever_the_clock_said() {
        let directory = tempfile::tempdir().unwrap();
        let newest = made(directory.path(), "relay-20260101-000000");
        let later = made(directory.path(), "relay-20310101-000000");
        assert_eq!(pruned(directory.path(), &newest, 1).removed, 1);
        assert!(newest.exists() && !later.exists());
    }
}
