//! The database's shape and how it got there. A relay only goes forward; an operator who goes back to the version
//! before takes the last steps back first.

use crate::db::{StoreError, Total, totals};
use relay_daemon::{Exit, Failure};
use rusqlite::Connection;

/// `PRAGMA application_id`: tells the relay's file from any other SQLite database ("Vrly").
const APPLICATION_ID: i32 = 0x5672_6c79;

/// Every step so far. A database of version `n` has the first `n` behind it. Behind [`BACK`] a step says how it is taken
/// back, which the last ones must; that loses nothing that the version before knows of.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_mailboxes.sql"),
    include_str!("migrations/0002_vault.sql"),
    include_str!("migrations/0003_keys.sql"),
    include_str!("migrations/0004_federation.sql"),
    include_str!("migrations/0005_holdings.sql"),
    include_str!("migrations/0006_claims.sql"),
    include_str!("migrations/0007_foreign.sql"),
    include_str!("migrations/0008_purges.sql"),
];

/// The line behind which a step says how it is taken back.
const BACK: &str = "\n-- Back:\n";

/// The columns of the table `totals`, and which version brought each.
pub(crate) const TOTALS: &[(&str, u32)] = &[
    ("blobs", 1),
    ("bytes", 1),
    ("registrations", 1),
    ("arrivals", 1),
    ("recovery_proofs", 2),
    ("exchange_offers", 2),
    ("guardian_sets", 2),
    ("escrow_gates", 2),
    ("leases", 4),
    ("hints", 4),
    ("held", 4),
    ("outbox", 4),
    ("claims", 6),
    ("held_bytes", 7),
    ("purges", 8),
];

/// The first version that purges in steps. Older ones would leave a purge that has begun where it is, and show again
/// what it has not deleted yet.
const PURGES: u32 = 8;

/// The version that this program writes.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The oldest version that a database can be taken back to: before the steps that say how.
pub(crate) fn oldest() -> u32 {
    let lasting = MIGRATIONS.iter().rev().take_while(|sql| sql.contains(BACK));
    (0..VERSION).rev().zip(lasting).last().map_or(VERSION, |(version, _)| version)
}

/// The version of SQLite.
pub(crate) fn library_version() -> &'static str {
    rusqlite::version()
}

/// Refuses files that are not the relay's, or are ahead of this program. Changes nothing.
pub(crate) fn check(connection: &Connection) -> Result<(), Failure> {
    let number = |pragma: &str| -> Result<i64, Failure> {
        connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .map_err(|error| Failure::from(StoreError::from(error)))
    };
    let (application, version, changes) =
        (number("application_id")?, number("user_version")?, number("schema_version")?);
    let fresh = application == 0 && version == 0 && changes == 0;
    if !fresh && application != i64::from(APPLICATION_ID) {
        return Err(Failure::new(
            Exit::Schema,
            "relay.db is an SQLite database, but not a relay's; point RELAY_DATA_DIR at another directory",
        ));
    }
    if version > i64::from(VERSION) {
        return Err(Failure::new(
            Exit::Schema,
            format_args!(
                "relay.db has schema version {version}, and this program knows versions up to {VERSION}; \
                 start the newer version of the relay that wrote it, or restore a backup"
            ),
        ));
    }
    Ok(())
}

/// Brings the database to [`VERSION`], each step in a transaction of its own.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        let (forward, _) = sql.split_once(BACK).unwrap_or((sql, ""));
        transaction.execute_batch(forward)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", step + 1)?;
        transaction.commit()?;
        tracing::info!(version = step + 1, "database schema brought forward");
    }
    Ok(())
}

/// Takes the database back to an older version, all of it or nothing.
///
/// # Errors
/// Versions that there is no way to, and what SQLite says.
pub(crate) fn take_back(connection: &mut Connection, to: u32) -> Result<(), Failure> {
    let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
    check(connection)?;
    let version: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if to > version || to < oldest() {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "relay.db has schema version {version}; this program can take it back to {} at the oldest, \
                 and not to {to}. Older ones want a backup of their time",
                oldest()
            ),
        ));
    }
    let transaction = connection.transaction().map_err(failed)?;
    if version >= PURGES && to < PURGES && totals::any(&transaction, Total::PURGES)? {
        return Err(Failure::new(
            Exit::Usage,
            "a purge has begun and is not finished, and an older version would not finish it; start this version of \
             the relay, which does so within a minute, stop it, and try again",
        ));
    }
    let steps = MIGRATIONS.iter().take(version as usize).skip(to as usize).rev();
    for (_, back) in steps.filter_map(|sql| sql.split_once(BACK)) {
        transaction.execute_batch(back).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", to).map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(connection: &Connection) -> Vec<(String, Option<String>)> {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// A database as the version with that many steps made it.
    fn of_version(version: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for sql in MIGRATIONS.iter().take(version) {
            connection.execute_batch(sql.split(BACK).next().unwrap()).unwrap();
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", version as i64).unwrap();
        connection
    }

    #[test]
    fn every_way_back_ends_where_the_older_version_stood_and_forward_again_where_this_one_does() {
        for to in oldest()..=VERSION {
            let mut connection = of_version(MIGRATIONS.len());
            take_back(&mut connection, to).unwrap();
            assert_eq!(shape(&connection), shape(&of_version(to as usize)), "version {to}");
            migrate(&mut connection).unwrap();
            assert_eq!(shape(&connection), shape(&of_version(MIGRATIONS.len())), "version {to}");
        }
    }

    /// The first step that says how it is taken back, as every one after it must.
    const FIRST_WITH_A_WAY_BACK: usize = 5;

    #[test]
    fn every_step_since_the_fifth_says_once_how_it_is_taken_back() {
        for (number, sql) in (1..).zip(MIGRATIONS) {
            let ways = usize::from(number >= FIRST_WITH_A_WAY_BACK);
            assert_eq!(sql.matches(BACK).count(), ways, "step {number}");
            assert_eq!(sql.to_ascii_lowercase().matches("back:").count(), ways, "step {number}");
        }
        assert_eq!(oldest() as usize, FIRST_WITH_A_WAY_BACK - 1);
    }

    #[test]
    fn a_purge_that_has_begun_is_finished_before_a_version_that_knows_of_none() {
        let mut connection = of_version(MIGRATIONS.len());
        connection.execute_batch("UPDATE totals SET purges = 1").unwrap();
        let refused = take_back(&mut connection, PURGES - 1).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.text.contains("purge"), "{refused}");
        assert_eq!(shape(&connection), shape(&of_version(MIGRATIONS.len())));
        connection.execute_batch("UPDATE totals SET purges = 0").unwrap();
        take_back(&mut connection, PURGES - 1).unwrap();
    }

    #[test]
    fn versions_without_a_way_are_refused_and_nothing_changes() {
        let mut connection = of_version(MIGRATIONS.len());
        for to in [0, oldest() - 1, VERSION + 1] {
            assert_eq!(take_back(&mut connection, to).unwrap_err().exit, Exit::Usage, "{to}");
        }
        assert_eq!(shape(&connection), shape(&of_version(MIGRATIONS.len())));
        let mut older = of_version(oldest() as usize);
        assert_eq!(take_back(&mut older, VERSION).unwrap_err().exit, Exit::Usage);
    }
}
