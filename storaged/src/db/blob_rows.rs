//! The rows of the table `blobs`, and which of them a purge in progress deletes, for all who store, move or delete mail.
//!
//! A row is deleted together with what is noted of it: see `transfer::leases::remove`.

use crate::db::{Position, Sql as _, StoreError, Total, Write, blob_name, count, moment};
use relay_proto::mail::BlobName;
use relay_proto::transfer::TransferBlob;
use relay_proto::{Ciphertext, MailboxHash, OriginHint, UnixSeconds};
use rusqlite::{Connection, params};

/// Stores a blob that came from another relay.
pub(crate) fn insert(
    write: &mut Write<'_>,
    position: Position,
    blob: &TransferBlob,
    created: UnixSeconds,
) -> Result<(), StoreError> {
    let size = size_of(blob);
    insert_row(write, position, &blob.name(), size, created, blob.origin_hint.as_ref(), &blob.ciphertext)
}

/// What a blob counts, in bytes.
pub(crate) fn size_of(blob: &TransferBlob) -> u64 {
    let hint_length = blob.origin_hint.as_ref().map_or(0, |hint| hint.as_bytes().len());
    counted_size(blob.ciphertext.as_bytes().len(), hint_length)
}

/// The bytes that the column `size`, the sums and the quotas count: ciphertext and origin hint. Whoever checks a size
/// checks it against this.
pub(crate) fn counted_size(ciphertext_length: usize, hint_length: usize) -> u64 {
    u64::try_from(ciphertext_length.saturating_add(hint_length)).unwrap_or(u64::MAX)
}

/// Stores a row.
pub(crate) fn insert_row(
    write: &mut Write<'_>,
    position: Position,
    name: &BlobName,
    size: u64,
    created: UnixSeconds,
    origin_hint: Option<&OriginHint>,
    ciphertext: &Ciphertext,
) -> Result<(), StoreError> {
    write.insert(
        Total::BLOBS,
        "INSERT INTO blobs (seq, mailbox, id, size, created, origin_hint, ciphertext)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            position.sql(),
            name.mailbox.as_bytes(),
            name.blob_id.as_bytes(),
            count(size),
            moment(created),
            origin_hint.map(|hint| hint.as_bytes().as_ref()),
            ciphertext.as_bytes().as_ref(),
        ],
    )?;
    write.change[Total::BYTES] += count(size);
    Ok(())
}

/// Place and size of a blob, read from the index alone.
pub(crate) fn locate(sql: &Connection, name: &BlobName) -> Result<Option<(i64, i64)>, StoreError> {
    sql.find(
        "SELECT seq, size FROM blobs WHERE mailbox = ?1 AND id = ?2",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Name and size of the blob at a place.
pub(crate) fn at(sql: &Connection, seq: i64) -> Result<Option<(BlobName, u64)>, StoreError> {
    sql.find("SELECT mailbox, id, size FROM blobs WHERE seq = ?1", [seq], |row| {
        Ok((blob_name(row, 0)?, row.get::<_, i64>(2)?.max(0).unsigned_abs()))
    })
}

/// The hour in which the blob at a place arrived.
pub(crate) fn created_at(sql: &Connection, seq: i64) -> Result<i64, StoreError> {
    sql.only("SELECT created FROM blobs WHERE seq = ?1", [seq], |row| row.get(0))
}

/// Deletes the row at a place, and nothing else of it.
pub(crate) fn delete(write: &mut Write<'_>, seq: i64, size: i64) -> Result<(), StoreError> {
    write.delete(Total::BLOBS, "DELETE FROM blobs WHERE seq = ?1", [seq])?;
    write.change[Total::BYTES] -= size;
    write.free(size);
    Ok(())
}

/// Counts this relay's own blobs that last longer than to a moment, up to `limit`.
pub(crate) fn count_outlasting(sql: &Connection, latest: UnixSeconds, limit: u64) -> Result<u64, StoreError> {
    let outlasting: i64 = sql.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM blobs WHERE seq >= ?1
             AND NOT EXISTS (SELECT 1 FROM held WHERE held.seq = blobs.seq) LIMIT ?2)",
        params![Position::new(latest.hour_floor().plus(3600), 0).sql(), count(limit)],
        |row| row.get(0),
    )?;
    Ok(outlasting.max(0).unsigned_abs())
}

/// The number of the last arrival in a mailbox that a purge deletes, if one does.
pub(crate) fn reaches(sql: &Connection, mailbox: &MailboxHash) -> Result<Option<i64>, StoreError> {
    sql.only(
        "SELECT max(arrivals) FROM purges WHERE mailbox = ?1
                 OR owner = (SELECT owner FROM registrations WHERE mailbox = ?1 AND binds <= 0)",
        [mailbox.as_bytes()],
        |row| row.get(0),
    )
}

/// The same for whoever writes.
pub(crate) fn reaches_here(write: &Write<'_>, mailbox: &MailboxHash) -> Result<Option<i64>, StoreError> {
    if write.has(Total::PURGES) { reaches(write.sql, mailbox) } else { Ok(None) }
}

/// Whether a blob at a place is among what a purge deletes that reaches up to some arrival.
pub(crate) fn takes(reach: Option<i64>, seq: i64) -> bool {
    reach.is_some_and(|reach| Position::from_sql(seq).arrival() <= reach)
}
