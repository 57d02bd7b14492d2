//! A database that takes the place of another one, as a restored backup does: its copy is made and synced beside the
//! database first, and whoever takes the data directory next finishes what is left to do.

use crate::db::volume::directory::{self, DATABASE};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the unfinished copy, and how the names of what SQLite lays beside it begin.
pub(crate) const PARTIAL: &str = "restore.partial";

/// Name of the finished copy, before the second in which it was made.
pub(crate) const READY: &str = "restore.ready-";

/// Finishes a restore that was cut short after its copy was ready, if there is one. Answers where the database that was
/// there lies now. May be cut short itself.
pub(crate) fn finish(directory: &Path) -> io::Result<Option<PathBuf>> {
    let Some(ready) = ready(directory)? else { return Ok(None) };
    let second = ready.to_string_lossy().rsplit('-').next().unwrap_or_default().to_owned();
    let aside = directory.join(format!("relay.db.before-{second}"));
    let (database, log) = (directory.join(DATABASE), directory.join("relay.db-wal"));
    if fs::metadata(&log).is_ok_and(|log| log.len() == 0) {
        fs::remove_file(log)?;
    } else if log.exists() {
        // It goes where the database goes: the one holds what the other lacks.
        fs::rename(log, directory.join(format!("relay.db.before-{second}-wal")))?;
    }
    drop(fs::remove_file(directory.join("relay.db-shm")));
    if database.exists() {
        fs::rename(&database, &aside)?;
    }
    directory::sync_directory(directory)?;
    fs::rename(ready, database)?;
    directory::sync_directory(directory)?;
    Ok(aside.exists().then_some(aside))
}

/// Removes what an unfinished one left: it holds everything that the backup holds.
pub(crate) fn clear(directory: &Path) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        drop(fs::remove_file(directory.join(format!("{PARTIAL}{suffix}"))));
    }
}

/// The finished copy that waits for its place.
pub(crate) fn ready(directory: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(READY) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Whether one was cut short after its copy was ready.
pub(crate) fn is_pending(directory: &Path) -> bool {
    ready(directory).is_ok_and(|found| found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contents of the files of a directory, by their names.
    fn files(directory: &Path) -> Vec<(String, String)> {
        let read = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        };
        let mut found: Vec<_> = fs::read_dir(directory).unwrap().map(read).collect();
        found.sort();
        found
    }

    fn finished() -> Vec<(String, String)> {
        [("relay.db", "new"), ("relay.db.before-7", "old"), ("relay.db.before-7-wal", "log")]
            .map(|(name, content)| (name.to_owned(), content.to_owned()))
            .to_vec()
    }

    #[test]
    fn wherever_it_is_cut_short_whoever_comes_next_finishes_it() {
        // As it stands after each step.
        for state in [
            &[("relay.db", "old"), ("relay.db-wal", "log"), ("relay.db-shm", ""), ("restore.ready-7", "new")]
                [..],
            &[("relay.db", "old"), ("relay.db.before-7-wal", "log"), ("restore.ready-7", "new")],
            &[("relay.db.before-7", "old"), ("relay.db.before-7-wal", "log"), ("restore.ready-7", "new")],
        ] {
            let directory = tempfile::tempdir().unwrap();
            for (name, content) in state {
                fs::write(directory.path().join(name), content).unwrap();
            }
            let aside = finish(directory.path()).unwrap();
            assert_eq!(aside, Some(directory.path().join("relay.db.before-7")));
            assert_eq!(files(directory.path()), finished());
            assert_eq!(finish(directory.path()).unwrap(), None, "there is nothing left to do");
            assert_eq!(files(directory.path()), finished());
        }
    }

    #[test]
    fn into_an_empty_directory_nothing_is_laid_aside() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("restore.ready-7"), "new").unwrap();
        assert_eq!(finish(directory.path()).unwrap(), None);
        assert_eq!(files(directory.path()), [("relay.db".to_owned(), "new".to_owned())]);
    }
}
