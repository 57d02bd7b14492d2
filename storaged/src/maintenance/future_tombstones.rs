//! Tombstones from a time that never was: of acks and deletions under a clock that was ahead. They would be kept until
//! that time comes, and keep those behind them as long; once the clock is right again they count from now.

use crate::auth::ack_tombstones;
use crate::db::{SWEEP_ROWS, Sql as _, Store, StoreError, Table, Write, moment};
use crate::transfer::tombstones;
use relay_proto::UnixSeconds;
use rusqlite::{Connection, params};

/// Tombstones that are looked at at once.
const LOOK_AT: u32 = 5000;

/// Has all tombstones of the future count from now.
pub(crate) async fn bring_back(store: &Store, now: UnixSeconds) -> Result<(), StoreError> {
    for table in [&ack_tombstones::TABLE, &tombstones::TABLE] {
        let mut after = 0;
        let slice_behind = |after| move |sql: &Connection| look(table, sql, after, now, LOOK_AT);
        while let Some(slice) = store.readers.run(slice_behind(after)).await? {
            if slice.is_ahead {
                let range = (after, slice.last);
                let step =
                    move |write: &mut Write<'_>, limit| count_from_now(table, write.sql, range, now, limit);
                store.in_batches(SWEEP_ROWS, step).await?;
            }
            after = slice.last;
        }
    }
    Ok(())
}

/// Some rows of a table, next to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    /// Where it ends.
    last: i64,
    /// Whether any row in it is of the future.
    is_ahead: bool,
}

/// Looks at the next rows. `None` behind the last one.
fn look(
    table: &Table,
    sql: &Connection,
    after: i64,
    now: UnixSeconds,
    limit: u32,
) -> Result<Option<Slice>, StoreError> {
    let query = format!(
        "SELECT max(seq), coalesce(max(hour), 0) > ?3
         FROM (SELECT seq, hour FROM {} WHERE seq > ?1 ORDER BY seq LIMIT ?2)",
        table.name
    );
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get(1)?));
    let (last, is_ahead) = sql.only(&query, params![after, limit, moment(now)], read)?;
    Ok(last.map(|last| Slice { last, is_ahead }))
}

/// Has rows of the future, behind `after` and up to `last`, count from now. Returns how many, `limit` at most.
fn count_from_now(
    table: &Table,
    sql: &Connection,
    (after, last): (i64, i64),
    now: UnixSeconds,
    limit: u32,
) -> Result<u64, StoreError> {
    let update = format!(
        "UPDATE {table} SET hour = ?3 WHERE seq IN
             (SELECT seq FROM {table} WHERE seq > ?1 AND seq <= ?2 AND hour > ?4 ORDER BY seq LIMIT ?5)",
        table = table.name
    );
    sql.run(&update, params![after, last, moment(now.hour_floor()), moment(now), limit])
}
