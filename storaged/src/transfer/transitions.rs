//! What becomes of a blob that moves between relays, as named transactions.
//!
//! At its origin a blob is *offered* to a peer and still served, and *moved* once the peer has said that it holds it. At the
//! holder it is *accepted*, *recalled* whenever its origin wants to read it, offered again when it is to be *returned*, and
//! *forgotten* when it was acknowledged or purged at its origin. A holder that says it has *lost* a blob ends what is known
//! of it here. Expiry needs no word: both relays know the time.

use crate::clock::Times;
use crate::config::Bounds;
use crate::db::{Batch, Load, Store, StoreError, Totals, Write};
use crate::limits::Limits;
use crate::transfer::offer_cursor::OfferCursor;
use crate::transfer::offers::{self, Lease};
use crate::transfer::{foreign_blobs, remote_blobs, returns};
use relay_proto::mail::BlobName;
use relay_proto::messages::ReadReply;
use relay_proto::transfer::{Direction, OfferResult, TransferBlob};
use relay_proto::{PeerId, UnixSeconds};
use std::sync::Arc;

/// Leases the oldest blobs for a peer, and returns them. None of a store in memory: the note of where a blob went would be
/// lost with the process.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn offered(
    store: &Store,
    rounds: &OfferCursor,
    lease: Lease,
    now: UnixSeconds,
) -> Result<Vec<TransferBlob>, StoreError> {
    if !store.durable {
        return Ok(Vec::new());
    }
    let places = leased(store, rounds, lease, now).await?;
    let expected = places.len();
    let blobs = store.readers.run(move |sql| offers::read(sql, &places, now)).await?;
    if blobs.len() < expected {
        tracing::debug!(blobs = expected - blobs.len(), "leased blobs are gone or damaged and stay");
    }
    Ok(blobs)
}

/// Finds blobs to offer, on a reader, and marks them. Returns their places.
async fn leased(
    store: &Store,
    rounds: &OfferCursor,
    lease: Lease,
    now: UnixSeconds,
) -> Result<Vec<i64>, StoreError> {
    if lease.max_blobs == 0 {
        return Ok(Vec::new());
    }
    loop {
        let after = rounds.stands_at(&lease);
        let search = store.readers.run(move |sql| offers::search(sql, &lease, after, now)).await?;
        let offers::Search { found, left_over, passed, is_over } = search;
        let (places, passed) = if found.is_empty() {
            (Vec::new(), passed)
        } else {
            let take = move |write: &mut Write<'_>| {
                let (places, decided) = offers::take(write, &lease, &found, now)?;
                let undecided = found.get(decided.max(left_over)).map(|seq| seq - 1);
                Ok((places, undecided.unwrap_or(passed)))
            };
            store.writer.run_one(take).await?
        };
        rounds.passed(&lease, passed);
        if !places.is_empty() || is_over || left_over > 0 {
            return Ok(places);
        }
    }
}

/// Ends all offers, as when federation has started again, and keeps in mind whom they were made to.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn withdrawn(store: &Store) -> Result<(), StoreError> {
    let mut after = i64::MIN;
    while let Some(last) = store.step(None, move |write| offers::resume(write.sql, after)).await? {
        after = last;
    }
    Ok(())
}

/// Does what a peer said of blobs that were offered to it. Returns how many have moved.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn moved(
    store: &Store,
    peer: PeerId,
    direction: Direction,
    settlements: Vec<(BlobName, OfferResult)>,
    now: UnixSeconds,
) -> Result<u32, StoreError> {
    let settle = move |write: &mut Write<'_>, (name, verdict): &(BlobName, OfferResult)| {
        offers::settle(write, &peer, direction, name, *verdict, now)
    };
    Ok(store.each(settlements, settle).await?.into_iter().map(u32::from).sum())
}

/// Under which conditions blobs of peers are taken in.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) bounds: Bounds,
    /// Whether there is room for mail of others.
    pub(crate) may_grow: bool,
    pub(crate) limits: Arc<Limits>,
}

/// Stores what a peer brings: to be held for it, or returned to this relay. One verdict for each blob.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn accepted(
    store: &Store,
    peer: PeerId,
    direction: Direction,
    blobs: Vec<TransferBlob>,
    Terms { bounds, may_grow, limits }: Terms,
    now: Times,
) -> Result<Vec<OfferResult>, StoreError> {
    let bytes = blobs.iter().map(|blob| blob.ciphertext.as_bytes().len()).sum();
    let load = Load { commands: blobs.len(), bytes };
    // Hashing is not the writer's work.
    let sound: Vec<bool> = blobs.iter().map(TransferBlob::is_sound).collect();
    let work = move |batch: &mut Batch<'_>| {
        let mut verdicts = Vec::with_capacity(blobs.len());
        let grow = |gauges: &Totals, bytes| may_grow && limits.charge_peer(&peer, gauges, bytes);
        for (blob, is_sound) in blobs.iter().zip(sound) {
            let taken = batch.with_savepoint(|write| match (is_sound, direction) {
                (false, _) => Ok(OfferResult::Refused),
                (true, Direction::ToOrigin) => returns::returned(write, &peer, blob, &bounds, &grow, now),
                (true, Direction::ToHolder) => foreign_blobs::accept(write, &peer, blob, &bounds, &grow, now),
            });
            verdicts.push(match taken {
                Err(StoreError::Full) => OfferResult::NotNow,
                taken => taken?,
            });
        }
        Ok(verdicts)
    };
    store.writer.run(load, work).await
}

/// Reads what is held for a peer, as much as fits into one message.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn recalled(
    store: &Store,
    peer: PeerId,
    names: Vec<BlobName>,
    now: UnixSeconds,
) -> Result<ReadReply, StoreError> {
    store.readers.run(move |sql| foreign_blobs::read(sql, &peer, &names, now)).await
}

/// Deletes what was acknowledged or purged at the peer that it is held for, and remembers that. Returns how many blobs.
///
/// # Errors
/// When the disk fails, or has no room to remember.
pub(crate) async fn forgotten(
    store: &Store,
    peer: PeerId,
    names: Vec<BlobName>,
    now: UnixSeconds,
) -> Result<u32, StoreError> {
    let forget = move |write: &mut Write<'_>, name: &BlobName| foreign_blobs::forget(write, &peer, name, now);
    Ok(store.each(names, forget).await?.into_iter().map(u32::from).sum())
}

/// Ends what is known of blobs that a peer was to hold and certainly does not. Returns how many were noted.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn lost(store: &Store, peer: PeerId, names: Vec<BlobName>) -> Result<u32, StoreError> {
    let lose = move |write: &mut Write<'_>, name: &BlobName| remote_blobs::missing(write, &peer, name);
    Ok(store.each(names, lose).await?.into_iter().map(u32::from).sum())
}
