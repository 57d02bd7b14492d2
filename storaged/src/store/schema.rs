//! The database's shape and how it got there. Migrations go forward only.

use super::error::StoreError;
use relay_daemon::{Exit, Failure};
use rusqlite::Connection;

/// `PRAGMA application_id`: tells the relay's file from any other SQLite database ("Vrly").
const APPLICATION_ID: i32 = 0x5672_6c79;

/// Every step so far. A database of version `n` has the first `n` behind it.
const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/0001_mailboxes.sql"),
    include_str!("migrations/0002_vault.sql"),
    include_str!("migrations/0003_keys.sql"),
    include_str!("migrations/0004_federation.sql"),
];

/// The version that this program writes.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Refuses files that are not the relay's, or are ahead of this program. Changes nothing.
pub(super) fn check(connection: &Connection) -> Result<(), Failure> {
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
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", step + 1)?;
        transaction.commit()?;
        tracing::info!(version = step + 1, "database schema brought forward");
    }
    Ok(())
}
