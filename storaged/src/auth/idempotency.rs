//! The `answers` table: what was answered to calls that are not idempotent by nature, committed with their
//! effect. A gateway that lost the answer asks again under the same request id.

use crate::db::{KeyColumn, RowLifetime, Sql as _, StoreError, Table, count};
use relay_proto::{RequestId, UnixSeconds};
use rusqlite::{Connection, params};

/// For how long an answer is remembered, in seconds. Gateways ask again for five.
const MEMORY_SECS: u64 = 300;

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "answers",
    key: KeyColumn::Bytes("request_id"),
    content: "0",
    beside: 80,
    moment: "expires",
    lifetime: RowLifetime::Until(MEMORY_SECS + 60),
    total: None,
    may_go: None,
};

/// The answer that was given to this request, if it was carried out.
pub(crate) fn find(sql: &Connection, request: &RequestId) -> Result<Option<u64>, StoreError> {
    Ok(sql
        .find("SELECT answer FROM answers WHERE request_id = ?1", [request.as_bytes()], |row| {
            row.get::<_, i64>(0)
        })?
        .map(|answer| answer.max(0).unsigned_abs()))
}

/// Remembers an answer.
pub(crate) fn remember(
    sql: &Connection,
    request: &RequestId,
    answer: u64,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    // Minutes, so that the table tells no second.
    let expires = now.plus(MEMORY_SECS + 60).get() / 60 * 60;
    sql.run(
        "INSERT INTO answers (request_id, answer, expires) VALUES (?1, ?2, ?3)",
        params![request.as_bytes(), count(answer), count(expires)],
    )?;
    Ok(())
}
