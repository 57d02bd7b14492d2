//! The `leases` table: which peer a blob is offered to, and which may have a copy of it. A leased blob is served as before;
//! the row is there so that a deletion reaches that peer in any case.

use crate::db::{Position, Sql as _, StoreError, Total, Write, blob_rows, moment};
use crate::transfer::{foreign_blobs, outbox, rows};
use relay_proto::mail::BlobName;
use relay_proto::{PeerId, UnixSeconds};
use rusqlite::{Connection, params};

/// How long a blob is left alone that a peer refused without its being clear that it has no copy, and one that has
/// just returned, in seconds.
pub(super) const ASIDE_SECS: u64 = 3600;

pub(super) fn put(
    write: &Write<'_>,
    seq: i64,
    peer: &PeerId,
    until: i64,
    open: bool,
    unsure: bool,
) -> Result<(), StoreError> {
    write.sql.run(
        "INSERT OR REPLACE INTO leases (seq, peer, until, open, unsure) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![seq, peer.as_bytes(), until, open, unsure],
    )?;
    Ok(())
}

/// A blob's lease.
pub(super) struct Leased {
    pub(super) peer: [u8; PeerId::LENGTH],
    pub(super) until: i64,
    pub(super) open: bool,
    /// It may have a copy from an earlier offer.
    pub(super) unsure: bool,
}

pub(super) fn of(sql: &Connection, seq: i64) -> Result<Option<Leased>, StoreError> {
    sql.find("SELECT peer, until, open, unsure FROM leases WHERE seq = ?1", [seq], |row| {
        Ok(Leased { peer: row.get(0)?, until: row.get(1)?, open: row.get(2)?, unsure: row.get(3)? })
    })
}

pub(super) fn end(write: &mut Write<'_>, seq: i64) -> Result<(), StoreError> {
    write.delete(Total::LEASES, "DELETE FROM leases WHERE seq = ?1", [seq])?;
    Ok(())
}

/// Lets no answer to an offer of the blob at a place count any more.
pub(crate) fn close(sql: &Connection, seq: i64) -> Result<(), StoreError> {
    sql.run("UPDATE leases SET open = 0 WHERE seq = ?1", [seq])?;
    Ok(())
}

/// Notes that a peer brings, or brought, the blob at a place home: it may not hear that it was taken, and keep its
/// copy. What it may yet say of an earlier offer counts no more.
pub(super) fn returned(
    write: &mut Write<'_>,
    peer: &PeerId,
    seq: i64,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    if foreign_blobs::holder(write.sql, seq)?.is_some()
        || foreign_blobs::brought_by(write.sql, seq)? == Some(*peer.as_bytes())
    {
        return Ok(());
    }
    match of(write.sql, seq)? {
        Some(lease) if lease.peer != *peer.as_bytes() => {
            outbox::put(write, peer, name, Position::from_sql(seq).expires())
        }
        lease => {
            write.change[Total::LEASES] += i64::from(lease.is_none());
            put(write, seq, peer, moment(now.plus(ASIDE_SECS)), false, true)
        }
    }
}

/// Deletes a blob, and a peer that may have a copy hears of it. Returns when it would have expired.
pub(crate) fn remove(write: &mut Write<'_>, name: &BlobName) -> Result<Option<UnixSeconds>, StoreError> {
    let Some((seq, size)) = blob_rows::locate(write.sql, name)? else { return Ok(None) };
    remove_at(write, seq, size, name)?;
    Ok(Some(Position::from_sql(seq).expires()))
}

/// Deletes the blob at a place.
pub(crate) fn remove_at(
    write: &mut Write<'_>,
    seq: i64,
    size: i64,
    name: &BlobName,
) -> Result<(), StoreError> {
    blob_rows::delete(write, seq, size)?;
    deleted(write, seq, name)
}

/// Notes that the blob at a place was deleted, so that a peer that may have a copy hears of it.
fn deleted(write: &mut Write<'_>, seq: i64, name: &BlobName) -> Result<(), StoreError> {
    let expires = Position::from_sql(seq).expires();
    let holder = foreign_blobs::gone(write, seq)?;
    if let Some(foreign_blobs::Holder { peer, brought: true }) = holder {
        outbox::put(write, &PeerId::from_bytes(peer), name, expires)?;
    }
    if !write.has(Total::LEASES) {
        return Ok(());
    }
    let Some(lease) = of(write.sql, seq)? else { return Ok(()) };
    end(write, seq)?;
    if holder.is_some_and(|holder| !holder.brought) {
        // It was offered to its origin, who knows best.
        return Ok(());
    }
    outbox::put(write, &PeerId::from_bytes(lease.peer), name, expires)
}

/// Whether it is noted of the blob at a place that a peer may have a copy, or the blob is not this relay's to speak for.
pub(crate) fn may_be_at(sql: &Connection, seq: i64, peer: &PeerId) -> Result<bool, StoreError> {
    if foreign_blobs::holder(sql, seq)?.is_some() || foreign_blobs::brought_by(sql, seq)?.is_some() {
        return Ok(true);
    }
    Ok(of(sql, seq)?.is_some_and(|lease| lease.peer == *peer.as_bytes()))
}

/// Notes that a peer has a copy of the blob at a place, which lies here as well: a deletion here reaches it, and when
/// mail moves it is offered what it has. Where another peer may have one already, this one need not keep its own, as long
/// as that here is sound.
pub(crate) fn note_copy(
    write: &mut Write<'_>,
    peer: &PeerId,
    seq: i64,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    if may_be_at(write.sql, seq, peer)? {
        return Ok(());
    }
    if of(write.sql, seq)?.is_none() {
        write.change[Total::LEASES] += 1;
        return put(write, seq, peer, moment(now), false, true);
    }
    if rows::read(write.sql, seq, now)?.is_some() {
        outbox::put(write, peer, name, Position::from_sql(seq).expires())?;
    }
    Ok(())
}

/// Notes that the blob at a place has expired. Peers know it by themselves.
pub(crate) fn expired(write: &mut Write<'_>, seq: i64) -> Result<(), StoreError> {
    foreign_blobs::gone(write, seq)?;
    if write.has(Total::LEASES) {
        end(write, seq)?;
    }
    Ok(())
}
