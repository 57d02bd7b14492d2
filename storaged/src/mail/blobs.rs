//! The `blobs` table: mail from the moment it is durable to the moment it is acked, purged or expired.

use crate::auth::ack_tombstones;
use crate::clock::Times;
use crate::config::Bounds;
use crate::db::{ARRIVALS, Position, Sql as _, StepRoom, Store, StoreError, Total, Write, blob_rows};
use crate::limits::Payment;
use crate::transfer::remote_blobs::Clearing;
use crate::transfer::{claims, foreign_blobs, leases, remote_blobs};
use prometheus::IntCounter;
use relay_proto::mail::BlobName;
use relay_proto::{BlobId, Ciphertext, MailboxHash, OriginHint, StorageError, UnixSeconds};
use rusqlite::{Connection, Row, params};

/// A blob on its way in.
#[derive(Debug)]
pub(crate) struct NewBlob {
    pub(crate) mailbox: MailboxHash,
    pub(crate) ciphertext: Ciphertext,
    pub(crate) origin_hint: Option<OriginHint>,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The blob's name.
    pub(crate) id: BlobId,
    /// Whether it was stored now: not a repetition, not acked or purged before.
    pub(crate) is_new: bool,
}

/// Stores a blob, unless it is here already or was acked or purged lately. Only what is new is paid for.
pub(crate) fn send(
    write: &mut Write<'_>,
    blob: &NewBlob,
    bounds: &Bounds,
    now: Times,
    payment: Payment<'_>,
) -> Result<Sent, StoreError> {
    let Times { now, stamp, .. } = now;
    let NewBlob { mailbox, ciphertext, origin_hint } = blob;
    let id = BlobId::derive(mailbox, ciphertext.as_bytes());
    let name = BlobName { mailbox: *mailbox, blob_id: id };
    let known = Sent { id, is_new: false };
    if ack_tombstones::contains(write.sql, &id, now)? || remote_blobs::is_alive(write, &name, now)? {
        return Ok(known);
    }
    let purged = blob_rows::reaches_here(write, mailbox)?;
    let holding = MailboxUsage::of(write.sql, mailbox, &id, purged, now)?;
    match holding.same_id {
        // As if it were deleted already: it is remembered like an acked one.
        Some(position) if blob_rows::takes(purged, position.sql()) => return Ok(known),
        Some(position) if position.expires() > now => {
            if write.has(Total::HELD) {
                foreign_blobs::share(write, &name, bounds.ttl.expiry(stamp), now)?;
            }
            return Ok(known);
        }
        // The same content came before and has expired unswept: it starts anew.
        Some(_) => {
            leases::remove(write, &name)?;
        }
        None => {}
    }
    let hint_length = origin_hint.as_ref().map_or(0, |hint| hint.as_bytes().len());
    let size = blob_rows::counted_size(ciphertext.as_bytes().len(), hint_length);
    if write.gauges.is_full() {
        return Err(StorageError::StorageFull.into());
    }
    if !holding.takes(write, mailbox, size, bounds, now)? {
        return Err(StorageError::QuotaExceeded.into());
    }
    payment.bytes(write.gauges, ciphertext.as_bytes().len() + hint_length)?;
    let position = Position::new(bounds.ttl.expiry(stamp), write.arrive());
    blob_rows::insert_row(
        write,
        position,
        &name,
        size,
        stamp.hour_floor(),
        origin_hint.as_ref(),
        ciphertext,
    )?;
    Ok(Sent { id, is_new: true })
}

/// What a mailbox holds, read from the index alone.
struct MailboxUsage {
    blobs: u64,
    bytes: u64,
    same_id: Option<Position>,
}

impl MailboxUsage {
    fn of(
        sql: &Connection,
        mailbox: &MailboxHash,
        id: &BlobId,
        purged: Option<i64>,
        now: UnixSeconds,
    ) -> Result<Self, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(Self {
                blobs: row.get::<_, i64>(0)?.max(0).unsigned_abs(),
                bytes: row.get::<_, i64>(1)?.max(0).unsigned_abs(),
                same_id: row.get::<_, Option<i64>>(2)?.map(Position::from_sql),
            })
        };
        sql.only(
            "SELECT count(*) FILTER (WHERE seq >= ?3 AND (seq & ?4) > ?5),
                        coalesce(sum(size) FILTER (WHERE seq >= ?3 AND (seq & ?4) > ?5), 0),
                        max(CASE WHEN id = ?2 THEN seq END)
                 FROM blobs WHERE mailbox = ?1",
            params![
                mailbox.as_bytes(),
                id.as_bytes(),
                Position::first_alive(now).sql(),
                ARRIVALS,
                purged.unwrap_or(-1)
            ],
            read,
        )
    }

    /// Whether there is room for one more. What lies at peers counts; what is held for them does not: no peer
    /// fills a mailbox.
    fn takes(
        &self,
        write: &Write<'_>,
        mailbox: &MailboxHash,
        size: u64,
        bounds: &Bounds,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let (moved_blobs, moved_bytes) = remote_blobs::holding(write, mailbox, now)?;
        let fits = |(held_blobs, held_bytes): (u64, u64)| {
            let blobs = (self.blobs + moved_blobs).saturating_sub(held_blobs);
            let bytes = self.bytes.saturating_add(moved_bytes).saturating_sub(held_bytes);
            blobs < bounds.mailbox_blobs && bytes.saturating_add(size) <= bounds.mailbox_bytes
        };
        Ok(fits((0, 0)) || fits(foreign_blobs::holding(write, mailbox, now)?))
    }
}

/// Removes a blob that was received, and remembers that. Answers whether it was here.
pub(crate) fn ack(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    id: &BlobId,
    now: Times,
) -> Result<bool, StoreError> {
    let name = BlobName { mailbox: *mailbox, blob_id: *id };
    if let Some((seq, size)) = blob_rows::locate(write.sql, &name)? {
        // First, so that a failure between the two leaves nothing deleted that may come back.
        ack_tombstones::remember_deleted(write.sql, id, now.stamp)?;
        foreign_blobs::purged(write, seq, &name, now.stamp)?;
        leases::remove_at(write, seq, size, &name)?;
        let expires = Position::from_sql(seq).expires();
        return Ok(expires.max(claims::ack(write, &name)?.unwrap_or(expires)) > now.now);
    }
    let hinted = remote_blobs::ack(write, &name)?;
    let Some(expires) = hinted.max(claims::ack(write, &name)?) else { return Ok(false) };
    ack_tombstones::remember_deleted(write.sql, id, now.stamp)?;
    Ok(expires > now.now)
}

/// Deletes what arrived in a mailbox, wherever it lies, and remembers that like acks: as much as there is room for. Returns
/// whether nothing is left.
pub(crate) fn clear(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    clearing: &mut Clearing,
) -> Result<bool, StoreError> {
    let now = clearing.now;
    let found: Vec<(i64, BlobId, i64)> = write.sql.all(
        "SELECT seq, id, size FROM blobs WHERE mailbox = ?1 AND (seq & ?2) <= ?3 LIMIT ?4",
        params![mailbox.as_bytes(), ARRIVALS, clearing.arrivals, clearing.room.limit()],
        |row| Ok((row.get(0)?, BlobId::from_bytes(row.get(1)?), row.get(2)?)),
    )?;
    for (seq, blob_id, size) in found {
        if !clearing.room.take(size) {
            return Ok(false);
        }
        let name = BlobName { mailbox: *mailbox, blob_id };
        foreign_blobs::purged(write, seq, &name, now.stamp)?;
        leases::remove_at(write, seq, size, &name)?;
        ack_tombstones::remember_deleted(write.sql, &blob_id, now.stamp)?;
        clearing.live += u64::from(Position::from_sql(seq).expires() > now.now);
    }
    // In this order the deleted blobs make room for what peers are to hear.
    remote_blobs::clear(write, mailbox, clearing)
}

/// Deletes the blobs whose time has passed, and counts them. Returns how many they were.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds, swept: &IntCounter) -> Result<u64, StoreError> {
    let mut all = 0;
    loop {
        let (expired, is_over) = store.step(None, move |write| expire(write, now)).await?;
        swept.inc_by(expired);
        all += expired;
        if is_over {
            return Ok(all);
        }
    }
}

/// Deletes blobs whose time has passed, as many as belong into one transaction. Returns how many, and whether none is
/// left.
fn expire(write: &mut Write<'_>, now: UnixSeconds) -> Result<(u64, bool), StoreError> {
    let mut room = StepRoom::WHOLE;
    let found: Vec<(i64, i64)> = write.sql.all(
        "SELECT seq, size FROM blobs WHERE seq < ?1 ORDER BY seq LIMIT ?2",
        params![Position::first_alive(now).sql(), room.limit()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut expired = 0;
    for (seq, size) in found {
        if !room.take(size) {
            return Ok((expired, false));
        }
        blob_rows::delete(write, seq, size)?;
        leases::expired(write, seq)?;
        expired += 1;
    }
    Ok((expired, true))
}
