//! The `outbox` table: deletions that peers must hear of, because they hold a copy or may hold one.

use crate::db::{
    KeyColumn, RowLifetime, Sql as _, Store, StoreError, Table, Total, Write, blob_name, count, moment,
};
use crate::transfer::tombstones;
use relay_proto::mail::BlobName;
use relay_proto::messages::OutboxEntry;
use relay_proto::{PeerId, UnixSeconds};
use rusqlite::{Connection, params};

/// For how long after its end a blob's deletion is still worth telling, in seconds: the peer's clock may be slow.
const AFTERWARDS_SECS: u64 = 2 * 86_400;

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "outbox",
    key: KeyColumn::Number("number"),
    content: "0",
    beside: 220,
    moment: "expires",
    lifetime: RowLifetime::UntilMailAnd(AFTERWARDS_SECS),
    total: Some(Total::OUTBOX),
    may_go: None,
};

/// Puts a deletion down. `expires` is when the blob would have been over anyway.
///
/// Without a page left it is not put down: what is deleted here is worth more, and the peer's copy has its end.
pub(crate) fn put(
    write: &mut Write<'_>,
    peer: &PeerId,
    name: &BlobName,
    expires: UnixSeconds,
) -> Result<(), StoreError> {
    let expires = moment(expires.plus(AFTERWARDS_SECS));
    let waits = write.sql.run(
        "UPDATE outbox SET expires = max(expires, ?3) WHERE id = ?1 AND peer = ?2",
        params![name.blob_id.as_bytes(), peer.as_bytes(), expires],
    )?;
    if waits > 0 {
        return Ok(());
    }
    // Replaces nothing; but a statement that could is undone alone when there is no room, and not with its
    // transaction.
    let noted = write
        .sql
        .prepare_cached(
            "INSERT OR REPLACE INTO outbox (peer, mailbox, id, expires, told) VALUES (?1, ?2, ?3, ?4, 0)",
        )?
        .execute(params![peer.as_bytes(), name.mailbox.as_bytes(), name.blob_id.as_bytes(), expires]);
    match noted.map_err(StoreError::from) {
        Ok(_) => write.change[Total::OUTBOX] += 1,
        Err(StoreError::Full) => {
            tracing::warn!("no room to note a deletion for a peer: its copy stays until its time is over");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether a deletion waits for this peer.
pub(crate) fn contains(sql: &Connection, peer: &PeerId, name: &BlobName) -> Result<bool, StoreError> {
    sql.has(
        "SELECT 1 FROM outbox WHERE id = ?1 AND peer = ?2",
        params![name.blob_id.as_bytes(), peer.as_bytes()],
    )
}

/// What became of taking a deletion back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenBack {
    /// There was none.
    None,
    /// The peer does not hear of it: it may keep what it has.
    Taken,
    /// The peer may be hearing of it just now. An offer could overtake it, and what the peer accepted would be
    /// deleted there.
    TooLate,
}

/// Takes a deletion back, if possible: the peer is to have the blob after all.
pub(crate) fn take_back(
    write: &mut Write<'_>,
    peer: &PeerId,
    name: &BlobName,
) -> Result<TakenBack, StoreError> {
    let gone = write.delete(
        Total::OUTBOX,
        "DELETE FROM outbox WHERE id = ?1 AND peer = ?2 AND told = 0",
        params![name.blob_id.as_bytes(), peer.as_bytes()],
    )?;
    Ok(match gone {
        0 if contains(write.sql, peer, name)? => TakenBack::TooLate,
        0 => TakenBack::None,
        _ => TakenBack::Taken,
    })
}

/// Returns the oldest deletions that wait for a peer. They count as told from the commit on.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn due(store: &Store, peer: PeerId, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
    if store.gauges.of(Total::OUTBOX) == 0 {
        return Ok(Vec::new());
    }
    store.writer.run_one(move |write| tell(write, &peer, limit)).await
}

/// Deletes what a peer has carried out, and remembers that a copy on its way back is not wanted.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn delivered(store: &Store, numbers: Vec<u64>, now: UnixSeconds) -> Result<(), StoreError> {
    store.each(numbers, move |write: &mut Write<'_>, number: &u64| done(write, *number, now)).await?;
    Ok(())
}

fn tell(write: &Write<'_>, peer: &PeerId, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
    let entries = write.sql.all(
        "SELECT number, mailbox, id FROM outbox WHERE peer = ?1 ORDER BY number LIMIT ?2",
        params![peer.as_bytes(), limit],
        |row| {
            let number = row.get::<_, i64>(0)?.max(0).unsigned_abs();
            Ok(OutboxEntry { number, name: Some(blob_name(row, 1)?.into()) })
        },
    )?;
    for entry in &entries {
        write.sql.run("UPDATE outbox SET told = 1 WHERE number = ?1 AND told = 0", [count(entry.number)])?;
    }
    Ok(entries)
}

fn done(write: &mut Write<'_>, number: u64, now: UnixSeconds) -> Result<(), StoreError> {
    let gone = write.sql.find(
        "DELETE FROM outbox WHERE number = ?1 RETURNING peer, mailbox, id",
        [count(number)],
        |row| Ok((row.get(0)?, blob_name(row, 1)?)),
    )?;
    let Some((peer, name)) = gone else { return Ok(()) };
    write.change[Total::OUTBOX] -= 1;
    tombstones::remember(write, &PeerId::from_bytes(peer), &name, now)
}
