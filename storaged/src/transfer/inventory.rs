//! What one relay holds for another, part by part: the holder lists it, and the origin settles it with what it knows.
//!
//! A part is first compared by number and sum. Only where these differ are its names asked for, so that two relays which
//! agree exchange a few short messages. Nothing is deleted at the holder on the strength of a claim: only what the
//! origin knows to be acked or purged is, and what it has a sound copy of.
//!
//! A hint whose blob the holder does not list stays. The blob may have been on its way when the list was made, and the
//! next fetch asks for it by name anyway: that answer decides.

use crate::auth::ack_tombstones;
use crate::clock::Times;
use crate::config::Bounds;
use crate::db::{Batch, Load, Position, Store, StoreError, Total, Write, blob_name, blob_rows, time, totals};
use crate::transfer::{claims, foreign_blobs, leases, outbox, remote_blobs};
use relay_proto::field::required;
use relay_proto::limits::MAX_LISTED_BLOBS;
use relay_proto::mail::BlobName;
use relay_proto::messages::{HeldBlob, Listing, ReconcileReply};
use relay_proto::transfer::NameSum;
use relay_proto::{BlobId, MailboxHash, OriginHint, PeerId, StorageError, UnixSeconds};
use rusqlite::{Connection, params};

/// Rows of the index that one part may cover: a few milliseconds of reading, whatever is asked.
const SCANNED: u32 = 20_000;

/// Blobs of a peer's list that are settled in one transaction.
const SETTLED_AT_ONCE: usize = 128;

/// Lists a part of what is held for a peer, behind a name and in the order of names.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn listed(
    store: &Store,
    peer: PeerId,
    after: Option<BlobName>,
    names: bool,
    now: UnixSeconds,
) -> Result<Listing, StoreError> {
    store.readers.run(move |sql| list(sql, &peer, after.as_ref(), names, now)).await
}

/// Settles a part of what a peer holds with what is known here.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn reconciled(
    store: &Store,
    part: Part,
    bounds: Bounds,
    now: Times,
) -> Result<ReconcileReply, StoreError> {
    let (peer, names) = (part.peer, part.names);
    let ceiling = store.gauges.ceiling_bytes();
    let compare = move |sql: &Connection| compare(sql, &part, ceiling, now.now);
    let Some(Unsettled { blobs, mut room }) = store.readers.run(compare).await? else {
        return Ok(ReconcileReply::default());
    };
    let mut reply = ReconcileReply { needs_names: !names, ..ReconcileReply::default() };
    for blobs in blobs.chunks(SETTLED_AT_ONCE).map(<[_]>::to_vec) {
        let load = Load { commands: blobs.len(), bytes: 0 };
        let may_claim = room;
        let work = move |batch: &mut Batch<'_>| {
            let (mut claimed, mut told) = (0_u32, 0_u32);
            for blob in &blobs {
                let has_room = u64::from(claimed) < may_claim;
                match batch.with_savepoint(|write| settle(write, &peer, blob, has_room, &bounds, now)) {
                    Ok(Settled::Claimed) => claimed += 1,
                    Ok(Settled::Told) => told += 1,
                    // Without a page left the claim waits for the next time.
                    Ok(Settled::Left) | Err(StoreError::Full) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok((claimed, told))
        };
        let (claimed, told) = store.writer.run(load, work).await?;
        reply.claimed += claimed;
        reply.told += told;
        room = room.saturating_sub(u64::from(claimed));
    }
    Ok(reply)
}

/// A blob that a peer says it holds for this relay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListedBlob {
    pub(crate) name: BlobName,
    /// Bytes of ciphertext and origin hint.
    pub(crate) size: u64,
    pub(crate) created_at: UnixSeconds,
    pub(crate) expires_at: UnixSeconds,
}

/// A part of what a peer says it holds for this relay.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) peer: PeerId,
    /// It begins behind this name; without one, with the first.
    after: Option<BlobName>,
    /// It ends with this name; without one, with the last.
    until: Option<BlobName>,
    sum: NameSum,
    /// Whether the blobs were asked for.
    names: bool,
    blobs: Vec<ListedBlob>,
}

impl Part {
    /// Reads a part.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for too many blobs, and for a field that is wrong.
    pub(crate) fn read(
        peer: PeerId,
        after: Option<BlobName>,
        names: bool,
        listing: Listing,
    ) -> Result<Self, StorageError> {
        let Listing { count, ids, blobs, until } = listing;
        if blobs.len() > MAX_LISTED_BLOBS {
            return Err(StorageError::invalid("blobs"));
        }
        let read = |blob: HeldBlob| {
            let HeldBlob { name, size, created_at, expires_at } = blob;
            let (created_at, expires_at) = (UnixSeconds::new(created_at), UnixSeconds::new(expires_at));
            Ok(ListedBlob { name: required("name", name)?.try_into()?, size, created_at, expires_at })
        };
        let blobs = blobs.into_iter().map(read).collect::<Result<_, StorageError>>()?;
        let until = until.map(BlobName::try_from).transpose()?;
        Ok(Self { peer, after, until, sum: NameSum::read(count, &ids)?, names, blobs })
    }
}

fn list(
    sql: &Connection,
    peer: &PeerId,
    after: Option<&BlobName>,
    names: bool,
    now: UnixSeconds,
) -> Result<Listing, StoreError> {
    let (mut listing, mut sum) = (Listing::default(), NameSum::default());
    if !totals::any(sql, Total::HELD)? {
        return Ok(Listing { ids: sum.ids(), ..listing });
    }
    let alive = Position::first_alive(now).sql();
    // The index has all that is needed, so that no content is read.
    let mut statement = sql.prepare_cached(
        "SELECT blobs.mailbox, blobs.id, blobs.seq, blobs.size, blobs.created, held.seq IS NOT NULL
         FROM blobs INDEXED BY blobs_by_mailbox
              LEFT JOIN held ON held.seq = blobs.seq AND held.peer = ?3 AND held.shared != ?5
         WHERE (blobs.mailbox, blobs.id) > (?1, ?2) ORDER BY blobs.mailbox, blobs.id LIMIT ?4",
    )?;
    let (mailbox, id) = behind(after);
    let mut rows = statement.query(params![mailbox, id, peer.as_bytes(), SCANNED, foreign_blobs::BROUGHT])?;
    let mut scanned = 0;
    while let Some(row) = rows.next()? {
        let name = blob_name(row, 0)?;
        scanned += 1;
        let is_theirs: bool = row.get(5)?;
        let seq: i64 = row.get(2)?;
        if is_theirs && seq >= alive {
            sum.add(&name.blob_id);
            if names {
                listing.blobs.push(HeldBlob {
                    name: Some(name.into()),
                    size: row.get::<_, i64>(3)?.max(0).unsigned_abs(),
                    created_at: time(row.get(4)?).get(),
                    expires_at: Position::from_sql(seq).expires().get(),
                });
            }
        }
        if listing.blobs.len() >= MAX_LISTED_BLOBS || scanned >= SCANNED {
            listing.until = Some(name.into());
            break;
        }
    }
    Ok(Listing { count: sum.count, ids: sum.ids(), ..listing })
}

/// What is left to be settled of a part.
#[derive(Debug)]
struct Unsettled {
    /// Blobs of which the peer's list says more than is known here.
    blobs: Vec<ListedBlob>,
    /// How many more claims the peer may make.
    room: u64,
}

/// Compares a part of a peer's list with what is known here. `None` when both agree.
fn compare(
    sql: &Connection,
    part: &Part,
    ceiling_bytes: u64,
    now: UnixSeconds,
) -> Result<Option<Unsettled>, StoreError> {
    let Part { peer, after, until, sum, names: _, blobs: listed } = part;
    if known(sql, peer, after.as_ref(), until.as_ref(), now)? == *sum {
        return Ok(None);
    }
    let mut blobs = Vec::new();
    for blob in listed {
        if blob.expires_at > now && !is_settled(sql, peer, &blob.name)? {
            blobs.push(*blob);
        }
    }
    Ok(Some(Unsettled { blobs, room: claims::room(sql, peer, ceiling_bytes)? }))
}

/// Number and sum of the names behind one and up to another of which this relay knows that they lie with a peer.
fn known(
    sql: &Connection,
    peer: &PeerId,
    after: Option<&BlobName>,
    until: Option<&BlobName>,
    now: UnixSeconds,
) -> Result<NameSum, StoreError> {
    let mut sum = NameSum::default();
    let alive = Position::first_alive(now).sql();
    // Longer than a name, and so behind them all.
    let end = [0xff; MailboxHash::LENGTH + 1];
    let from = behind(after);
    let to = match until {
        Some(until) => bytes(until),
        None => (&end[..], &end[..]),
    };
    for query in [
        "SELECT id FROM hints WHERE (mailbox, id) > (?1, ?2) AND (mailbox, id) <= (?3, ?4) AND peer = ?5
             AND seq >= ?6",
        "SELECT id FROM claims WHERE (mailbox, id) > (?1, ?2) AND (mailbox, id) <= (?3, ?4) AND peer = ?5
             AND seq >= ?6",
    ] {
        let mut statement = sql.prepare_cached(query)?;
        let mut rows = statement.query(params![from.0, from.1, to.0, to.1, peer.as_bytes(), alive])?;
        while let Some(row) = rows.next()? {
            sum.add(&BlobId::from_bytes(row.get(0)?));
        }
    }
    Ok(sum)
}

/// Whether there is nothing to do about a blob that a peer lists.
fn is_settled(sql: &Connection, peer: &PeerId, name: &BlobName) -> Result<bool, StoreError> {
    if let Some((seq, _)) = blob_rows::locate(sql, name)? {
        return leases::may_be_at(sql, seq, peer);
    }
    let has_hint = remote_blobs::locate(sql, name)?.is_some_and(|hint| hint.peer == *peer.as_bytes());
    Ok(has_hint != claims::contains(sql, peer, name)?)
}

/// What became of a blob that a peer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// There was nothing to do, or no room to do it.
    Left,
    /// It can be fetched here.
    Claimed,
    /// It was acked or purged here, and the peer is told.
    Told,
}

/// Settles one blob that a peer lists. `may_claim` says whether it may make one more claim.
fn settle(
    write: &mut Write<'_>,
    peer: &PeerId,
    blob: &ListedBlob,
    may_claim: bool,
    bounds: &Bounds,
    times: Times,
) -> Result<Settled, StoreError> {
    let (name, now) = (blob.name, times.now);
    if let Some((seq, _)) = blob_rows::locate(write.sql, &name)? {
        // Both have it, as after a backup was restored. Both keep it, and a deletion here reaches the peer.
        leases::note_copy(write, peer, seq, &name, now)?;
        return Ok(Settled::Left);
    }
    if remote_blobs::locate(write.sql, &name)?.is_some_and(|hint| hint.peer == *peer.as_bytes()) {
        claims::take(write, peer, &name)?;
        return Ok(Settled::Left);
    }
    let waits = outbox::contains(write.sql, peer, &name)?;
    if waits || ack_tombstones::contains(write.sql, &name.blob_id, now)? {
        claims::take(write, peer, &name)?;
        if !waits {
            outbox::put(write, peer, &name, blob.expires_at.min(bounds.ttl.expiry(times.stamp)))?;
        }
        return Ok(Settled::Told);
    }
    if blob_rows::reaches_here(write, &name.mailbox)?.is_some() {
        // When the purge is over it is known whether this was part of it.
        return Ok(Settled::Left);
    }
    let is_too_large = blob.size > (bounds.blob_bytes + OriginHint::LONGEST) as u64;
    let claimed = may_claim && !is_too_large && claims::put(write, peer, blob, bounds, times.stamp)?;
    Ok(if claimed { Settled::Claimed } else { Settled::Left })
}

/// What a name is compared with, in the order of names; without one, what is before all.
fn behind(name: Option<&BlobName>) -> (&[u8], &[u8]) {
    match name {
        Some(name) => bytes(name),
        None => (&[], &[]),
    }
}

fn bytes(name: &BlobName) -> (&[u8], &[u8]) {
    (name.mailbox.as_bytes(), name.blob_id.as_bytes())
}
