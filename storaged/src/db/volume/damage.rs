//! What is said about a damaged database, and what keeps the next start from serving it: a marker in the data directory.

use crate::db::StoreError;
use crate::db::open::{DataDirectory, DatabaseLocation};
use crate::db::volume::directory;
use relay_daemon::{Exit, Failure};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a process that ends because of damage looks for more of it, to name what it finds.
const LOOK: Duration = Duration::from_secs(10);

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;

/// Faults of which the places are named.
const FAULTS: u32 = 100;

fn marker(directory: &Path) -> PathBuf {
    directory.join("damaged")
}

/// Names what is damaged in the log, and marks the directory, so that the next start looks before it serves. Where the disk
/// cannot be read, which SQLite calls damage as well, answers that.
pub(crate) fn report(home: &DataDirectory) -> Option<Failure> {
    let DatabaseLocation::File { directory, .. } = &home.place else { return None };
    let marker = marker(directory);
    if !marker.exists() && directory::make_private_file(directory, &marker).is_err() {
        tracing::error!("the data directory could not be marked as damaged");
    }
    let end = Instant::now() + LOOK;
    match find(home, move || Instant::now() > end) {
        Ok(places) if places.is_empty() => tracing::error!("no page is damaged in a way that shows"),
        Ok(places) => tracing::error!(damaged = list(&places), "the database is damaged"),
        Err(error) => {
            tracing::error!(%error, "the search for what is damaged did not come to its end");
            return matches!(error, StoreError::Io(_)).then(|| error.into());
        }
    }
    None
}

/// Where damage was met before, looks whether it is still there.
///
/// # Errors
/// [`Exit::Corrupt`], with what is damaged and what mends it.
pub(crate) fn expect_none(home: &DataDirectory) -> Result<(), Failure> {
    let DatabaseLocation::File { directory, .. } = &home.place else { return Ok(()) };
    let marker = marker(directory);
    if !marker.exists() {
        return Ok(());
    }
    tracing::warn!("this database was found damaged; every page is looked at before it is served");
    let places = find(home, || false)?;
    if !places.is_empty() {
        return Err(Failure::new(
            Exit::Corrupt,
            format_args!(
                "relay.db in {} is damaged ({}) and is kept as it is; copy the data directory, then restore a backup: \
                 relay restore BACKUP --replace",
                directory.display(),
                list(&places)
            ),
        ));
    }
    tracing::warn!("no damage is left: another file was put in its place, or the memory was at fault");
    fs::remove_file(&marker).map_err(|error| directory::trouble("remove", &marker, &error))
}

fn list(places: &BTreeSet<String>) -> String {
    places.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Names what is damaged: tables, indexes, and what belongs to none. Never quotes SQLite, whose words can hold what is
/// stored.
fn find(
    home: &DataDirectory,
    stop: impl FnMut() -> bool + Send + 'static,
) -> Result<BTreeSet<String>, StoreError> {
    let mut sql = home.open_reader()?;
    sql.progress_handler(STEPS, Some(stop))?;
    let mut places = BTreeSet::new();
    if let Err(error) = check(&sql, &mut places) {
        match error {
            StoreError::Corrupt(_) => places.insert("the schema or a first page".to_owned()),
            error => return Err(error),
        };
    }
    Ok(places)
}

fn check(sql: &Connection, places: &mut BTreeSet<String>) -> Result<(), StoreError> {
    let mut statement = sql.prepare("SELECT rootpage, type || ' ' || name, name FROM sqlite_schema")?;
    let known = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(i64, String, String)>, _>>()?;
    let mut statement = sql.prepare(&format!("PRAGMA integrity_check({FAULTS})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(words) = row.get_ref(0)?.as_str() else { continue };
        for line in words.lines().filter(|line| *line != "ok" && !line.starts_with("***")) {
            places.insert(place(line, &known));
        }
    }
    Ok(())
}

/// The place that one of SQLite's complaints is about.
fn place(complaint: &str, known: &[(i64, String, String)]) -> String {
    let mut words = complaint.split([' ', ':', '.']);
    let found = match words.next() {
        Some("Freelist") => Some("the list of free pages".to_owned()),
        Some("Tree") => words.next().and_then(|number| number.parse().ok()).and_then(|root: i64| {
            known.iter().find(|(page, ..)| *page == root).map(|(_, name, _)| name.clone())
        }),
        _ => words
            .find_map(|word| known.iter().find(|(.., name)| name == word))
            .map(|(_, name, _)| name.clone()),
    };
    found.unwrap_or_else(|| "a page of no table".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_and_nothing_else_is_quoted() {
        let known = [
            (4, "table blobs".to_owned(), "blobs".to_owned()),
            (7, "index blobs_by_mailbox".to_owned(), "blobs_by_mailbox".to_owned()),
        ];
        for (complaint, expected) in [
            ("Tree 4 page 19 cell 2: Rowid 7 out of order", "table blobs"),
            ("Tree 7 page 7: btreeInitPage() returns error code 11", "index blobs_by_mailbox"),
            ("Tree 99 page 1: secret", "a page of no table"),
            ("Freelist: freelist leaf count too big on page 3", "the list of free pages"),
            ("row 5 missing from index blobs_by_mailbox", "index blobs_by_mailbox"),
            ("wrong # of entries in index blobs_by_mailbox", "index blobs_by_mailbox"),
            ("NULL value in blobs.mailbox", "table blobs"),
            ("Page 8: never used", "a page of no table"),
            ("secret", "a page of no table"),
        ] {
            assert_eq!(place(complaint, &known), expected, "{complaint}");
        }
    }
}
