//! The `forgotten` table: what is not to come from a peer any more, because the peer told this relay to forget it or
//! was told to. A copy that comes late, on a slow way or from a peer that was restarted, is not taken.

use crate::db::{KeyColumn, RowLifetime, Sql as _, Store, StoreError, Table, Write, moment};
use relay_proto::mail::BlobName;
use relay_proto::{PeerId, UnixSeconds};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

/// For how long it is remembered, in seconds.
const MEMORY_SECS: u64 = 3 * 86_400;

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "forgotten",
    key: KeyColumn::Number("seq"),
    content: "0",
    beside: 60,
    moment: "hour",
    lifetime: RowLifetime::Since,
    total: None,
    may_go: None,
};

/// Memories that fit beside the mail: one for each KiB of the database's ceiling.
const BYTES_EACH: u64 = 1024;

/// The same while the store is full, when the room is kept for deletions. What comes late is refused then anyway.
const BYTES_EACH_WHEN_FULL: u64 = 64 * 1024;

/// Remembers that a blob is not to come from a peer any more. When there are too many memories the oldest goes: a
/// deletion is worth more than the memory of it.
pub(crate) fn remember(
    write: &Write<'_>,
    peer: &PeerId,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    match try_remember(write, &digest(peer, name), moment(now.hour_floor())) {
        Err(StoreError::Full) => Ok(()),
        other => other,
    }
}

fn try_remember(write: &Write<'_>, digest: &[u8], hour: i64) -> Result<(), StoreError> {
    // Told again within the hour: the place in line stays, so that nobody pushes others out by repeating himself.
    if write.sql.has("SELECT 1 FROM forgotten WHERE digest = ?1 AND hour = ?2", params![digest, hour])? {
        return Ok(());
    }
    // Taken from one end and put to the other, so the two ends tell how many there are.
    let held: u64 =
        write.sql.only("SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM forgotten", [], |row| row.get(0))?;
    let each = if write.gauges.is_full() { BYTES_EACH_WHEN_FULL } else { BYTES_EACH };
    let most = write.gauges.ceiling_bytes() / each;
    if held >= most {
        // Two, so that there are no more of them than may be before long.
        write
            .sql
            .run("DELETE FROM forgotten WHERE seq IN (SELECT seq FROM forgotten ORDER BY seq LIMIT 2)", [])?;
    }
    write
        .sql
        .run("INSERT OR REPLACE INTO forgotten (digest, hour) VALUES (?1, ?2)", params![digest, hour])?;
    Ok(())
}

/// Whether a blob is not to come from a peer.
pub(crate) fn contains(
    sql: &Connection,
    peer: &PeerId,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let found = sql.find(
        "SELECT 1 FROM forgotten WHERE digest = ?1 AND hour >= ?2",
        params![digest(peer, name), moment(oldest(now))],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Deletes the oldest memories.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds) -> Result<u64, StoreError> {
    TABLE.forget(store, oldest(now)).await
}

fn oldest(now: UnixSeconds) -> UnixSeconds {
    now.minus(MEMORY_SECS).hour_floor()
}

fn digest(peer: &PeerId, name: &BlobName) -> [u8; 16] {
    let full = Sha256::new_with_prefix("vauchi-relay/forgotten/v1\0")
        .chain_update(peer.as_bytes())
        .chain_update(name.mailbox.as_bytes())
        .chain_update(name.blob_id.as_bytes())
        .finalize();
    let mut digest = [0; 16];
    digest.copy_from_slice(&full[..16]);
    digest
}
