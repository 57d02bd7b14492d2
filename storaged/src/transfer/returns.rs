//! Blobs that come back to this relay from a peer that held them.

use crate::auth::ack_tombstones;
use crate::clock::Times;
use crate::config::Bounds;
use crate::db::{Position, StoreError, Write, blob_rows, time};
use crate::transfer::foreign_blobs::{BROUGHT, Grow};
use crate::transfer::{claims, foreign_blobs, leases, outbox, remote_blobs};
use relay_proto::transfer::{OfferResult, TransferBlob};
use relay_proto::{PeerId, UnixSeconds};

/// Takes back a blob that a peer held for this relay: what there is a hint for, and in its old place, whichever peer the
/// hint names. What there is no hint for is known to the peer alone, as after a backup was restored here. It is taken like
/// mail of others, as long as there is room for that: nobody vouches for it.
pub(super) fn returned(
    write: &mut Write<'_>,
    peer: &PeerId,
    blob: &TransferBlob,
    bounds: &Bounds,
    grow: Grow<'_>,
    Times { now, stamp, .. }: Times,
) -> Result<OfferResult, StoreError> {
    let name = blob.name();
    if blob_rows::reaches_here(write, &name.mailbox)?.is_some() {
        return Ok(OfferResult::NotNow);
    }
    if let Some((seq, _)) = blob_rows::locate(write.sql, &name)? {
        if Position::from_sql(seq).expires() > now {
            leases::returned(write, peer, seq, &name, now)?;
            claims::take(write, peer, &name)?;
            return Ok(OfferResult::Accepted);
        }
        leases::remove(write, &name)?;
    }
    let hint =
        remote_blobs::locate(write.sql, &name)?.filter(|hint| Position::from_sql(hint.seq).expires() > now);
    let Some(hint) = hint else { return take_in(write, peer, blob, bounds, grow, (now, stamp)) };
    if write.gauges.is_full() {
        return Ok(OfferResult::NotNow);
    }
    let position = Position::from_sql(hint.seq);
    remote_blobs::take(write, &name)?;
    claims::take(write, peer, &name)?;
    blob_rows::insert(write, position, blob, time(hint.created))?;
    if hint.peer != *peer.as_bytes() {
        // The note was from before a backup was restored, or that peer has a copy too: it need not keep it.
        outbox::put(write, &PeerId::from_bytes(hint.peer), &name, position.expires())?;
    }
    leases::returned(write, peer, position.sql(), &name, now)?;
    Ok(OfferResult::Accepted)
}

/// Takes in a blob that a peer says is this relay's, and that nothing here tells of.
fn take_in(
    write: &mut Write<'_>,
    peer: &PeerId,
    blob: &TransferBlob,
    bounds: &Bounds,
    grow: Grow<'_>,
    (now, stamp): (UnixSeconds, UnixSeconds),
) -> Result<OfferResult, StoreError> {
    let name = blob.name();
    if let Some(verdict) = judge_stranger(write, peer, blob, bounds, grow, now)? {
        if verdict == OfferResult::Accepted {
            claims::take(write, peer, &name)?;
        }
        return Ok(verdict);
    }
    remote_blobs::take(write, &name)?;
    claims::take(write, peer, &name)?;
    let ends = blob.expires_at.hour_ceil().min(bounds.ttl.expiry(stamp));
    let position = Position::new(ends, write.arrive());
    blob_rows::insert(write, position, blob, foreign_blobs::arrival(blob, bounds, stamp))?;
    foreign_blobs::hold(write, position, peer, blob, BROUGHT)?;
    Ok(OfferResult::Accepted)
}

/// What to say to a blob that is returned without a hint, if it is not taken.
fn judge_stranger(
    write: &Write<'_>,
    peer: &PeerId,
    blob: &TransferBlob,
    bounds: &Bounds,
    grow: Grow<'_>,
    now: UnixSeconds,
) -> Result<Option<OfferResult>, StoreError> {
    let name = blob.name();
    let is_done_with = blob.expires_at <= now
        || ack_tombstones::contains(write.sql, &name.blob_id, now)?
        || outbox::contains(write.sql, peer, &name)?;
    if is_done_with {
        // Nothing to be kept for: the peer may let go of it.
        return Ok(Some(OfferResult::Accepted));
    }
    if blob.ciphertext.as_bytes().len() > bounds.blob_bytes {
        return Ok(Some(OfferResult::Refused));
    }
    Ok(if foreign_blobs::has_room(write, blob, grow) { None } else { Some(OfferResult::NotNow) })
}
