//! Giving free pages back to the volume: all of them when an operator asks for it, and some when they are many.

use crate::db::{Store, StoreError, Write};
use relay_proto::messages::CompactReply;
use rusqlite::Connection;

/// Pages that are given back in one transaction: 8 MiB at most, or the log would grow by as much as it gives back.
const STEP: u32 = 2048;
/// Free pages that stay for reuse when nobody asks.
const SPARE_PAGES: i64 = 2048;
/// Pages that are given back at a time when nobody asks.
const VACUUM_PAGES: i64 = 256;

/// Gives some free pages back while the relay serves, or only looks. Returns what is left.
pub(crate) async fn compact(store: &Store, give: bool) -> Result<CompactReply, StoreError> {
    let run = move |write: &mut Write<'_>| {
        let left = if give { step(write.sql)? } else { free_pages(write.sql)? };
        if left.free_bytes == 0 {
            // The file becomes shorter when the log is copied into it: before that nothing is given back.
            write.answer_after_erasure();
        }
        Ok(left)
    };
    store.writer.run_one(run).await
}

/// Gives some free pages back. Returns what is left.
pub(crate) fn step(sql: &Connection) -> Result<CompactReply, StoreError> {
    let mut statement = sql.prepare(&format!("PRAGMA incremental_vacuum({STEP})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    free_pages(sql)
}

/// What is free inside of the database.
pub(crate) fn free_pages(sql: &Connection) -> Result<CompactReply, StoreError> {
    let number = |pragma| sql.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
    let (bytes, free, pages) = (number("page_size")?, number("freelist_count")?, number("page_count")?);
    Ok(CompactReply { free_bytes: free * bytes, file_bytes: pages * bytes })
}

/// Gives some free pages back to the volume, when there are many and the writer has time.
pub(crate) fn give_back_many(store: &Store) {
    store.writer.chore(give_some_back);
}

/// Gives some free pages back when there are many.
fn give_some_back(sql: &Connection) -> Result<(), StoreError> {
    let vacuum = || -> Result<(), rusqlite::Error> {
        let number = |pragma| sql.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (pages, free) = (number("page_count")?, number("freelist_count")?);
        if free > SPARE_PAGES && free > pages / 4 {
            let mut statement = sql.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    };
    vacuum()
        .map_err(StoreError::from)
        .inspect_err(|error| tracing::warn!(%error, "free pages could not be given back"))
}
