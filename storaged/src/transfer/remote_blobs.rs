//! The `hints` table: blobs that a peer holds for this relay. A hint is written in the transaction that deletes
//! the blob, and deleted when the blob is acked, purged, expired or home again.

use crate::auth::ack_tombstones;
use crate::clock::Times;
use crate::db::{
    ARRIVALS, KeyColumn, Position, RowLifetime, SWEEP_ROWS, Sql as _, StepRoom, Store, StoreError, Table,
    Total, Write,
};
use crate::ohttp_keys::keys;
use crate::transfer::{claims, outbox, peers};
use bytes::Bytes;
use ed25519_dalek::Signer as _;
use prometheus::IntCounter;
use relay_proto::mail::BlobName;
use relay_proto::messages::{Hint, SignedHints};
use relay_proto::{BlobId, MailboxHash, PeerId, UnixSeconds, anchor, signed_bytes};
use rusqlite::{Connection, params};

/// Name of the key that signs hints.
const HINT_KEY: &str = "hints";

/// What operators and sweeps know of it.
pub(crate) static TABLE: Table = Table {
    name: "hints",
    key: KeyColumn::Number("seq"),
    content: "0",
    beside: 220,
    moment: "created",
    lifetime: RowLifetime::Since,
    total: Some(Total::HINTS),
    may_go: None,
};

/// Tells where these blobs are, as far as clients can be told, signed.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn hints(
    store: &Store,
    names: Vec<BlobName>,
    now: UnixSeconds,
) -> Result<SignedHints, StoreError> {
    let read = move |sql: &Connection| Ok((find(sql, &names, now)?, keys::known_signing_key(sql, HINT_KEY)?));
    let (hints, known) = store.readers.run(read).await?;
    let key = match known {
        Some(key) => key,
        None => store.writer.run_one(|write| keys::signing_key(write.sql, HINT_KEY)).await?,
    };
    let signature = key.sign(&signed_bytes::hints(&hints)).to_bytes();
    let signing_key = anchor::public(&key).into();
    Ok(SignedHints { hints, signing_key, signature: Bytes::copy_from_slice(&signature) })
}

/// A hint as it is found by name.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) seq: i64,
    pub(crate) peer: [u8; PeerId::LENGTH],
    pub(crate) created: i64,
}

/// Finds a hint.
pub(crate) fn locate(sql: &Connection, name: &BlobName) -> Result<Option<Located>, StoreError> {
    sql.find(
        "SELECT seq, peer, created FROM hints WHERE mailbox = ?1 AND id = ?2",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes()],
        |row| Ok(Located { seq: row.get(0)?, peer: row.get(1)?, created: row.get(2)? }),
    )
}

/// Whether a blob lies at a peer and is not over.
pub(crate) fn is_alive(write: &Write<'_>, name: &BlobName, now: UnixSeconds) -> Result<bool, StoreError> {
    let hint = if write.has(Total::HINTS) { locate(write.sql, name)? } else { None };
    Ok(hint.is_some_and(|hint| Position::from_sql(hint.seq).expires() > now))
}

/// Writes a hint. The caller deletes the blob in the same transaction.
pub(crate) fn put(
    write: &mut Write<'_>,
    seq: i64,
    name: &BlobName,
    size: i64,
    created: i64,
    peer: &PeerId,
) -> Result<(), StoreError> {
    // Of the same content: it expired at a peer, and was sent anew.
    take(write, name)?;
    write.insert(
        Total::HINTS,
        "INSERT INTO hints (seq, mailbox, id, size, created, peer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![seq, name.mailbox.as_bytes(), name.blob_id.as_bytes(), size, created, peer.as_bytes()],
    )?;
    Ok(())
}

/// Deletes a hint without a word to the peer.
pub(crate) fn take(write: &mut Write<'_>, name: &BlobName) -> Result<(), StoreError> {
    write.delete(
        Total::HINTS,
        "DELETE FROM hints WHERE mailbox = ?1 AND id = ?2",
        params![name.mailbox.as_bytes(), name.blob_id.as_bytes()],
    )?;
    Ok(())
}

/// Deletes the hint of a blob that was received; the peer hears of it. Answers when it would have expired.
pub(crate) fn ack(write: &mut Write<'_>, name: &BlobName) -> Result<Option<UnixSeconds>, StoreError> {
    let hint = if write.has(Total::HINTS) { locate(write.sql, name)? } else { None };
    let Some(hint) = hint else { return Ok(None) };
    let expires = Position::from_sql(hint.seq).expires();
    // In this order it needs no more room than it frees.
    take(write, name)?;
    outbox::put(write, &PeerId::from_bytes(hint.peer), name, expires)?;
    Ok(Some(expires))
}

/// One step of a purge: what it deletes and has deleted.
#[derive(Debug)]
pub(crate) struct Clearing {
    /// The last arrival that is deleted.
    pub(crate) arrivals: i64,
    pub(crate) room: StepRoom,
    /// Blobs deleted that a client could still have fetched.
    pub(crate) live: u64,
    pub(crate) now: Times,
}

/// Deletes what is noted here of a mailbox's blobs that lie with peers, and remembers that like acks, as far as there is
/// room; the peers are told. Returns whether none is left.
pub(crate) fn clear(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    clearing: &mut Clearing,
) -> Result<bool, StoreError> {
    let now = clearing.now;
    for (total, query, end) in [
        (
            Total::HINTS,
            "SELECT id FROM hints WHERE mailbox = ?1 AND (seq & ?2) <= ?3 LIMIT ?4",
            ack as fn(&mut Write<'_>, &BlobName) -> _,
        ),
        (
            Total::CLAIMS,
            "SELECT DISTINCT id FROM claims WHERE mailbox = ?1 AND (seq & ?2) <= ?3 LIMIT ?4",
            claims::ack,
        ),
    ] {
        if !write.has(total) {
            continue;
        }
        let ids: Vec<[u8; BlobId::LENGTH]> = write.sql.all(
            query,
            params![mailbox.as_bytes(), ARRIVALS, clearing.arrivals, clearing.room.limit()],
            |row| row.get(0),
        )?;
        for blob_id in ids.into_iter().map(BlobId::from_bytes) {
            if !clearing.room.take(0) {
                return Ok(false);
            }
            let is_counted = ack_tombstones::contains(write.sql, &blob_id, now.now)?;
            let expires = end(write, &BlobName { mailbox: *mailbox, blob_id })?;
            ack_tombstones::remember_deleted(write.sql, &blob_id, now.stamp)?;
            clearing.live += u64::from(expires.is_some_and(|expires| expires > now.now) && !is_counted);
        }
    }
    Ok(true)
}

/// Deletes hint and claim of a blob that a peer does not have. Returns whether there was a hint.
pub(crate) fn missing(write: &mut Write<'_>, peer: &PeerId, name: &BlobName) -> Result<bool, StoreError> {
    let is_noted = locate(write.sql, name)?.is_some_and(|hint| hint.peer == *peer.as_bytes());
    if is_noted {
        take(write, name)?;
    }
    claims::take(write, peer, name)?;
    Ok(is_noted)
}

/// Deletes the hints whose time has passed, and counts them.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds, swept: &IntCounter) -> Result<(), StoreError> {
    loop {
        let expired = store.step(None, move |write| TABLE.expire_placed(write, now, SWEEP_ROWS)).await?;
        swept.inc_by(expired);
        if expired < u64::from(SWEEP_ROWS) {
            return Ok(());
        }
    }
}

/// Blobs and bytes of a mailbox that lie at peers.
pub(crate) fn holding(
    write: &Write<'_>,
    mailbox: &MailboxHash,
    now: UnixSeconds,
) -> Result<(u64, u64), StoreError> {
    if !write.has(Total::HINTS) {
        return Ok((0, 0));
    }
    write.sql.only(
        "SELECT count(*), coalesce(sum(size), 0) FROM hints WHERE mailbox = ?1 AND seq >= ?2",
        params![mailbox.as_bytes(), Position::first_alive(now).sql()],
        |row| Ok((row.get::<_, i64>(0)?.max(0).unsigned_abs(), row.get::<_, i64>(1)?.max(0).unsigned_abs())),
    )
}

/// Where these blobs are, as far as clients can be told, sorted by name.
fn find(sql: &Connection, names: &[BlobName], now: UnixSeconds) -> Result<Vec<Hint>, StoreError> {
    let mut hints = Vec::new();
    for name in names {
        let known = match locate(sql, name)? {
            Some(Located { seq, peer, .. }) => Some((seq, peer)),
            None => claims::locate(sql, name)?,
        };
        let Some((seq, peer)) = known else { continue };
        let expires_at = Position::from_sql(seq).expires();
        let url = peers::client_url(sql, &peer)?;
        if let Some(relay_url) = url.filter(|_| expires_at > now) {
            let expires_at = expires_at.get();
            hints.push(Hint { blob_id: name.blob_id.into(), relay_url, expires_at });
        }
    }
    hints.sort_by(|one, other| one.blob_id.cmp(&other.blob_id));
    hints.dedup_by(|one, other| one.blob_id == other.blob_id);
    Ok(hints)
}
