//! The `held` table, and what peers do with it: mail that this relay holds for others. It lies among the relay's
//! own mail, so that clients who follow a hint fetch and ack it here as everywhere.

use crate::auth::ack_tombstones;
use crate::clock::Times;
use crate::config::Bounds;
use crate::db::{
    ARRIVALS, Position, Sql as _, StoreError, Total, Totals, Write, blob_name, blob_rows, count,
};
use crate::transfer::outbox::{self, TakenBack};
use crate::transfer::remote_blobs::Clearing;
use crate::transfer::{claims, leases, remote_blobs, rows, tombstones};
use relay_proto::limits::{MAX_CARRIED_BLOBS, MAX_CARRIED_BYTES};
use relay_proto::mail::BlobName;
use relay_proto::messages::ReadReply;
use relay_proto::transfer::{OfferResult, TransferBlob};
use relay_proto::{MailboxHash, OwnerHash, PeerId, UnixSeconds};
use rusqlite::{Connection, Row, params};

/// How much later than this relay's own mail a peer's may end, in seconds: clocks differ.
const TOLERANCE_SECS: u64 = 3600;

/// What the column `shared` says of a blob that is here for the peer alone.
const NOT_SHARED: i64 = 0;

/// And of one that a client left here as well: it is this relay's own besides.
pub(crate) const SHARED: i64 = 1;

/// And of one that the peer brought home, and that nothing here told of: it is for this relay's clients, and no peer has
/// a say in it. Nobody vouches for it, so that it counts as mail of others, for no quota, and moves to nobody but the
/// peer that brought it.
pub(crate) const BROUGHT: i64 = 2;

/// Whether so many bytes more may be held for a peer. It is charged for what it may.
pub(crate) type Grow<'a> = &'a dyn Fn(&Totals, u64) -> bool;

/// Takes a blob that a peer offers, which has the content it is named after.
///
/// A blob that would outlive this relay's own mail is refused: cutting its time would break its origin's promise.
/// [`OfferResult::Refused`] says besides that nothing is held for the peer under this name.
pub(crate) fn accept(
    write: &mut Write<'_>,
    peer: &PeerId,
    blob: &TransferBlob,
    bounds: &Bounds,
    grow: Grow<'_>,
    Times { now, stamp, .. }: Times,
) -> Result<OfferResult, StoreError> {
    let name = blob.name();
    if blob_rows::reaches_here(write, &name.mailbox)?.is_some() {
        // What is deleted just now is not to come back in between. When that is over, it is known what was.
        return Ok(OfferResult::NotNow);
    }
    let lasts_too_long = blob.expires_at > bounds.ttl.expiry(stamp.plus(TOLERANCE_SECS));
    if let Some((seq, _)) = blob_rows::locate(write.sql, &name)? {
        if Position::from_sql(seq).expires() > now {
            let may_last = !lasts_too_long && !write.gauges.is_full();
            return accept_again(write, peer, blob, seq, may_last);
        }
        leases::remove(write, &name)?;
    }
    let never = blob.expires_at <= now
        || lasts_too_long
        || blob.ciphertext.as_bytes().len() > bounds.blob_bytes
        || remote_blobs::locate(write.sql, &name)?.is_some()
        || ack_tombstones::contains(write.sql, &name.blob_id, now)?
        || tombstones::contains(write.sql, peer, &name, now)?;
    if never {
        return Ok(OfferResult::Refused);
    }
    // The peer may be hearing just now that an earlier copy was deleted here, and would let go of this one.
    let is_told = outbox::take_back(write, peer, &name)? == TakenBack::TooLate;
    if is_told || !has_room(write, blob, grow) {
        return Ok(OfferResult::NotNow);
    }
    let position = Position::new(blob.expires_at.hour_ceil(), write.arrive());
    let created = arrival(blob, bounds, stamp);
    blob_rows::insert(write, position, blob, created)?;
    hold(write, position, peer, blob, NOT_SHARED)?;
    Ok(OfferResult::Accepted)
}

/// Notes whose the blob at a place is.
pub(super) fn hold(
    write: &mut Write<'_>,
    position: Position,
    peer: &PeerId,
    blob: &TransferBlob,
    shared: i64,
) -> Result<(), StoreError> {
    let (owner, size) = (blob.owner.as_ref().map(OwnerHash::as_bytes), count(blob_rows::size_of(blob)));
    write.insert(
        Total::HELD,
        "INSERT INTO held (seq, peer, owner, shared, size) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![position.sql(), peer.as_bytes(), owner, shared, size],
    )?;
    write.change[Total::HELD_BYTES] += size;
    Ok(())
}

/// Takes a blob that is here already. What somebody else left here is refused: it is not to be deleted when this
/// peer says so. What the peer left lasts as long as it is to last now, or else the peer keeps its own.
fn accept_again(
    write: &mut Write<'_>,
    peer: &PeerId,
    blob: &TransferBlob,
    seq: i64,
    may_last: bool,
) -> Result<OfferResult, StoreError> {
    if holder(write.sql, seq)? != Some(*peer.as_bytes()) {
        return Ok(OfferResult::Refused);
    }
    let ends = blob.expires_at.hour_ceil();
    let is_too_short = ends > Position::from_sql(seq).expires();
    if is_too_short && !may_last {
        return Ok(OfferResult::NotNow);
    }
    // From here on the peer relies on this copy: what it may yet say to an earlier offer to bring it home counts no
    // more.
    leases::close(write.sql, seq)?;
    if is_too_short {
        put_back(write, seq, ends)?;
    }
    if let Some(owner) = &blob.owner {
        write.sql.run(
            "UPDATE held SET owner = ?3 WHERE seq = (SELECT seq FROM blobs WHERE mailbox = ?1 AND id = ?2)
                 AND owner IS NOT ?3",
            params![blob.mailbox.as_bytes(), blob.blob_id.as_bytes(), owner.as_bytes()],
        )?;
    }
    Ok(OfferResult::Accepted)
}

/// Gives a held blob a later end. Answers its new place.
fn put_back(write: &mut Write<'_>, seq: i64, ends: UnixSeconds) -> Result<i64, StoreError> {
    let place = Position::new(ends, write.arrive()).sql();
    for statement in [
        "UPDATE blobs SET seq = ?2 WHERE seq = ?1",
        "UPDATE held SET seq = ?2 WHERE seq = ?1",
        "UPDATE leases SET seq = ?2 WHERE seq = ?1",
    ] {
        write.sql.run(statement, [seq, place])?;
    }
    Ok(place)
}

/// Makes a held blob this relay's own besides, because a client left the same one here: no peer's word deletes it,
/// and it lasts as long as what is sent now.
pub(crate) fn share(
    write: &mut Write<'_>,
    name: &BlobName,
    ends: UnixSeconds,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let Some((seq, _)) = blob_rows::locate(write.sql, name)? else { return Ok(()) };
    let shared: Option<i64> = write.sql.find(
        "UPDATE held SET shared = ?2 WHERE seq = ?1 AND shared = ?3 RETURNING size",
        [seq, SHARED, NOT_SHARED],
        |row| row.get(0),
    )?;
    write.change[Total::HELD_BYTES] -= shared.unwrap_or(0);
    if shared.is_none() {
        if brought_by(write.sql, seq)?.is_none() {
            return Ok(());
        }
        // Now somebody vouches for it.
        let bringer = gone(write, seq)?;
        if let Some(Holder { peer, .. }) = bringer {
            leases::note_copy(write, &PeerId::from_bytes(peer), seq, name, now)?;
        }
        return if ends > Position::from_sql(seq).expires() {
            put_back(write, seq, ends).map(drop)
        } else {
            Ok(())
        };
    }
    if ends > Position::from_sql(seq).expires() {
        put_back(write, seq, ends)?;
    }
    Ok(())
}

/// Ends the holding of a blob for its peer, and the blob with it unless it is this relay's own besides.
pub(crate) fn let_go(write: &mut Write<'_>, seq: i64, name: &BlobName) -> Result<(), StoreError> {
    let own = write.sql.has("SELECT 1 FROM held WHERE seq = ?1 AND shared = ?2", [seq, SHARED])?;
    if !own {
        return leases::remove(write, name).map(drop);
    }
    // It was offered to the peer that it was held for, if to anybody.
    leases::expired(write, seq)
}

/// The hour in which a blob arrived at its origin, if it can have been.
pub(super) fn arrival(blob: &TransferBlob, bounds: &Bounds, now: UnixSeconds) -> UnixSeconds {
    let oldest = now.minus(bounds.ttl.as_secs()).hour_floor();
    blob.created_at.hour_floor().clamp(oldest, now.hour_floor())
}

/// Whether there is room for mail of others, and a share of it for this peer.
pub(super) fn has_room(write: &Write<'_>, blob: &TransferBlob, grow: Grow<'_>) -> bool {
    let size = blob_rows::size_of(blob);
    !write.gauges.is_full() && write.has_foreign_room(size) && grow(write.gauges, size)
}

/// Lets go of what is held for a peer, and remembers that a late copy is not wanted. If the peer holds the blob for this
/// relay instead, a client had it deleted there, and it is gone as if it were acked here. Answers whether a blob was
/// held.
pub(crate) fn forget(
    write: &mut Write<'_>,
    peer: &PeerId,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let here = blob_rows::locate(write.sql, name)?;
    let mut is_theirs = false;
    if let Some((seq, _)) = here {
        is_theirs = holder(write.sql, seq)? == Some(*peer.as_bytes());
        if is_theirs {
            let_go(write, seq, name)?;
        }
    }
    if remote_blobs::locate(write.sql, name)?.is_some_and(|hint| hint.peer == *peer.as_bytes()) {
        remote_blobs::take(write, name)?;
        ack_tombstones::remember_deleted(write.sql, &name.blob_id, now)?;
    }
    // What the peer merely claimed to hold it does not claim any more. It is no reason to refuse a send.
    claims::take(write, peer, name)?;
    // What it deletes is worth more than the memory of it, and makes room for that.
    tombstones::remember(write, peer, name, now)?;
    Ok(is_theirs)
}

/// Reads what is held for a peer, as much as fits into one message.
pub(crate) fn read(
    sql: &Connection,
    peer: &PeerId,
    names: &[BlobName],
    now: UnixSeconds,
) -> Result<ReadReply, StoreError> {
    let mut found = ReadReply::default();
    let mut bytes = 0;
    for name in names {
        let located =
            blob_rows::locate(sql, name)?.filter(|(seq, _)| *seq >= Position::first_alive(now).sql());
        let Some((seq, size)) = located else {
            found.missing.push((*name).into());
            continue;
        };
        if holder(sql, seq)?.is_none_or(|holder| holder != *peer.as_bytes()) {
            found.missing.push((*name).into());
            continue;
        }
        bytes += usize::try_from(size).unwrap_or(usize::MAX);
        if (bytes > MAX_CARRIED_BYTES && !found.blobs.is_empty()) || found.blobs.len() >= MAX_CARRIED_BLOBS {
            break;
        }
        // Damaged content is not there, for anybody.
        match rows::read(sql, seq, now)? {
            Some(blob) => found.blobs.push(blob.into()),
            None => found.missing.push((*name).into()),
        }
    }
    Ok(found)
}

/// Deletes what is held for an owner's mailboxes, and remembers that like acks, as far as there is room. Returns whether none
/// is left.
pub(crate) fn clear(
    write: &mut Write<'_>,
    owner: &OwnerHash,
    clearing: &mut Clearing,
) -> Result<bool, StoreError> {
    let now = clearing.now;
    if !write.has(Total::HELD) {
        return Ok(true);
    }
    let found: Vec<(i64, BlobName, i64)> = write.sql.all(
        "SELECT blobs.seq, blobs.mailbox, blobs.id, blobs.size FROM held JOIN blobs ON blobs.seq = held.seq
             WHERE held.owner = ?1 AND (held.seq & ?2) <= ?3 LIMIT ?4",
        params![owner.as_bytes(), ARRIVALS, clearing.arrivals, clearing.room.limit()],
        |row| Ok((row.get(0)?, blob_name(row, 1)?, row.get(3)?)),
    )?;
    for (seq, name, size) in found {
        if !clearing.room.take(size) {
            return Ok(false);
        }
        purged(write, seq, &name, now.stamp)?;
        clearing.live += u64::from(leases::remove(write, &name)?.is_some_and(|expires| expires > now.now));
        ack_tombstones::remember_deleted(write.sql, &name.blob_id, now.stamp)?;
    }
    Ok(true)
}

/// Tells the relay that the blob at a place is held for, while that is still known, that a client deletes it here.
/// Remembers besides that no late copy of it is wanted.
pub(crate) fn purged(
    write: &mut Write<'_>,
    seq: i64,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let brought_by = if write.has(Total::HELD) { holder(write.sql, seq)? } else { None };
    let Some(peer) = brought_by.map(PeerId::from_bytes) else { return Ok(()) };
    outbox::put(write, &peer, name, Position::from_sql(seq).expires())?;
    tombstones::remember(write, &peer, name, now)
}

/// Whom the blob at a place is held for.
pub(crate) fn holder(sql: &Connection, seq: i64) -> Result<Option<[u8; PeerId::LENGTH]>, StoreError> {
    sql.find("SELECT peer FROM held WHERE seq = ?1 AND shared != ?2", [seq, BROUGHT], |row| row.get(0))
}

/// Who brought the blob at a place home, where nothing else told of it.
pub(crate) fn brought_by(sql: &Connection, seq: i64) -> Result<Option<[u8; PeerId::LENGTH]>, StoreError> {
    sql.find("SELECT peer FROM held WHERE seq = ?1 AND shared = ?2", [seq, BROUGHT], |row| row.get(0))
}

/// What was noted of a blob that came from a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) peer: [u8; PeerId::LENGTH],
    /// It was brought home: the peer may have kept a copy.
    pub(crate) brought: bool,
}

/// Notes that the blob at a place is gone. Returns what was noted of where it came from.
pub(crate) fn gone(write: &mut Write<'_>, seq: i64) -> Result<Option<Holder>, StoreError> {
    if !write.has(Total::HELD) {
        return Ok(None);
    }
    let noted: Option<([u8; PeerId::LENGTH], i64, i64)> =
        write.sql.find("DELETE FROM held WHERE seq = ?1 RETURNING peer, shared, size", [seq], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let Some((peer, shared, size)) = noted else { return Ok(None) };
    write.change[Total::HELD] -= 1;
    if shared != SHARED {
        write.change[Total::HELD_BYTES] -= size;
    }
    Ok(Some(Holder { peer, brought: shared == BROUGHT }))
}

/// Gives up to `limit` blobs that are held for one relay to another one, which is the same with new keys. Returns how many.
pub(crate) fn reassign(sql: &Connection, from: &PeerId, to: &PeerId, limit: u32) -> Result<u64, StoreError> {
    // What they were offered to the first one under counts no more.
    sql.run(
        "UPDATE leases SET peer = ?2, until = 0, open = 0
         WHERE peer = ?1 AND seq IN (SELECT seq FROM held WHERE peer = ?1 ORDER BY seq LIMIT ?3)",
        params![from.as_bytes(), to.as_bytes(), limit],
    )?;
    sql.run(
        "UPDATE held SET peer = ?2
             WHERE seq IN (SELECT seq FROM held WHERE peer = ?1 ORDER BY seq LIMIT ?3)",
        params![from.as_bytes(), to.as_bytes(), limit],
    )
}

/// Blobs and bytes of a mailbox that are held for peers and nobody left here besides.
pub(crate) fn holding(
    write: &Write<'_>,
    mailbox: &MailboxHash,
    now: UnixSeconds,
) -> Result<(u64, u64), StoreError> {
    if !write.has(Total::HELD) {
        return Ok((0, 0));
    }
    let number = |row: &Row<'_>, index| row.get::<_, i64>(index).map(|number| number.max(0).unsigned_abs());
    write.sql.only(
        "SELECT count(*), coalesce(sum(blobs.size), 0) FROM blobs JOIN held ON held.seq = blobs.seq
             WHERE mailbox = ?1 AND blobs.seq >= ?2 AND shared != ?3",
        params![mailbox.as_bytes(), Position::first_alive(now).sql(), SHARED],
        |row| Ok((number(row, 0)?, number(row, 1)?)),
    )
}
