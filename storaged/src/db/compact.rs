//! Giving free pages back to the volume because an operator asks for it, however few they are.

use crate::db::error::StoreError;
use relay_proto::admin::Slack;
use rusqlite::Connection;

/// Pages that are given back in one transaction: 8 MiB at most, or the log would grow by as much as it gives back.
const STEP: u32 = 2048;

/// Gives some free pages back. Answers what is left.
pub(crate) fn step(sql: &Connection) -> Result<Slack, StoreError> {
    let mut statement = sql.prepare(&format!("PRAGMA incremental_vacuum({STEP})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    slack(sql)
}

/// What is free inside of the database.
pub(crate) fn slack(sql: &Connection) -> Result<Slack, StoreError> {
    let number = |pragma| sql.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
    let (bytes, free, pages) = (number("page_size")?, number("freelist_count")?, number("page_count")?);
    Ok(Slack { free_bytes: free * bytes, file_bytes: pages * bytes })
}
