//! The `claims` table: blobs that peers say they hold for this relay and that nothing else here tells of, as after a
//! backup was restored. A claim makes a blob fetchable and nothing more: it counts for no quota, a send does not rely on
//! it, and it never takes the place of a hint or of mail that lies here. What a peer then brings is checked like all mail.

use crate::config::Bounds;
use crate::db::{
    KeyColumn, Position, RowLifetime, SWEEP_ROWS, Sql as _, Store, StoreError, Table, Total, Write, count,
    moment,
};
use crate::transfer::inventory::ListedBlob;
use crate::transfer::outbox;
use relay_proto::mail::BlobName;
use relay_proto::{PeerId, UnixSeconds};
use rusqlite::{Connection, params};

/// Claims that fit beside the mail: one for each so many bytes of the database's ceiling, so that they take a sixteenth
/// of it at most. One peer may make half of them, so that no single liar keeps the others from being heard.
const BYTES_EACH: u64 = 4096;

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "claims",
    key: KeyColumn::Number("seq"),
    content: "0",
    beside: 280,
    moment: "created",
    lifetime: RowLifetime::Since,
    total: Some(Total::CLAIMS),
    may_go: None,
};

/// How many more claims a peer may make.
pub(crate) fn room(sql: &Connection, peer: &PeerId, ceiling_bytes: u64) -> Result<u64, StoreError> {
    let theirs: i64 =
        sql.only("SELECT count(*) FROM claims WHERE peer = ?1", [peer.as_bytes()], |row| row.get(0))?;
    Ok((ceiling_bytes / BYTES_EACH / 2).saturating_sub(theirs.max(0).unsigned_abs()))
}

/// Notes that a peer claims to hold a blob, while there is room. Returns whether it was noted.
pub(crate) fn put(
    write: &mut Write<'_>,
    peer: &PeerId,
    blob: &ListedBlob,
    bounds: &Bounds,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let all = write.total(Total::CLAIMS);
    if all >= write.gauges.ceiling_bytes() / BYTES_EACH || write.gauges.is_full() {
        return Ok(false);
    }
    let ends = blob.expires_at.hour_ceil().min(bounds.ttl.expiry(now));
    let oldest = now.minus(bounds.ttl.as_secs()).hour_floor();
    let created = blob.created_at.hour_floor().clamp(oldest, now.hour_floor());
    let position = Position::new(ends, write.arrive());
    let noted = write.insert(
        Total::CLAIMS,
        "INSERT OR IGNORE INTO claims (seq, mailbox, id, size, created, peer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            position.sql(),
            blob.name.mailbox.as_bytes(),
            blob.name.blob_id.as_bytes(),
            count(blob.size),
            moment(created),
            peer.as_bytes(),
        ],
    )?;
    Ok(noted > 0)
}

/// Whether a peer claims this blob.
pub(crate) fn contains(sql: &Connection, peer: &PeerId, name: &BlobName) -> Result<bool, StoreError> {
    sql.has(
        "SELECT 1 FROM claims WHERE mailbox = ?1 AND id = ?2 AND peer = ?3",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes(), peer.as_bytes()],
    )
}

/// The peer that claims a blob for longest, and when it is over there.
pub(crate) fn locate(
    sql: &Connection,
    name: &BlobName,
) -> Result<Option<(i64, [u8; PeerId::LENGTH])>, StoreError> {
    sql.find(
        "SELECT seq, peer FROM claims WHERE mailbox = ?1 AND id = ?2 ORDER BY seq DESC LIMIT 1",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Deletes a peer's claim without telling it. Returns whether there was one.
pub(crate) fn take(write: &mut Write<'_>, peer: &PeerId, name: &BlobName) -> Result<bool, StoreError> {
    if !write.has(Total::CLAIMS) {
        return Ok(false);
    }
    let gone = write.delete(
        Total::CLAIMS,
        "DELETE FROM claims WHERE mailbox = ?1 AND id = ?2 AND peer = ?3",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes(), peer.as_bytes()],
    )?;
    Ok(gone > 0)
}

/// Deletes all claims of a blob that was received; the peers are told. Returns when the last would have expired.
pub(crate) fn ack(write: &mut Write<'_>, name: &BlobName) -> Result<Option<UnixSeconds>, StoreError> {
    if !write.has(Total::CLAIMS) {
        return Ok(None);
    }
    let claims: Vec<(i64, [u8; PeerId::LENGTH])> = write.sql.all(
        "DELETE FROM claims WHERE mailbox = ?1 AND id = ?2 RETURNING seq, peer",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    write.change[Total::CLAIMS] -= count(claims.len() as u64);
    let mut last = None;
    for (seq, peer) in claims {
        let expires = Position::from_sql(seq).expires();
        outbox::put(write, &PeerId::from_bytes(peer), name, expires)?;
        last = last.max(Some(expires));
    }
    Ok(last)
}

/// Deletes the claims whose time has passed.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds) -> Result<u64, StoreError> {
    store.in_batches(SWEEP_ROWS, move |write, limit| TABLE.expire_placed(write, now, limit)).await
}
