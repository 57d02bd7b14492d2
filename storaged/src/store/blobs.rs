//! The `blobs` table: mail from the moment it is durable to the moment it is acked, purged or expired.

use super::acked;
use super::batch::Write;
use super::error::StoreError;
use super::position::Position;
use super::sql::{count, moment, time};
use crate::config::Bounds;
use bytes::Bytes;
use relay_proto::mail::{MailPage, NewBlob, StoredBlob};
use relay_proto::page::PageRoom;
use relay_proto::{BlobId, Ciphertext, MailboxHash, OriginHint, Refusal, UnixSeconds};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// More than a page of the smallest blobs holds: candidates beyond this many can wait for the next page.
const CANDIDATES: usize = 1024;

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The blob's name.
    pub(crate) id: BlobId,
    /// Whether it was stored now: not a repetition, not acked before.
    pub(crate) is_new: bool,
}

/// Stores a blob, unless it is here already or was acked lately.
pub(crate) fn send(
    write: &mut Write<'_>,
    blob: &NewBlob,
    bounds: &Bounds,
    now: UnixSeconds,
) -> Result<Sent, StoreError> {
    let NewBlob { mailbox, ciphertext, origin_hint } = blob;
    let id = BlobId::derive(mailbox, ciphertext.as_bytes());
    let known = Sent { id, is_new: false };
    if acked::contains(write.sql, &id, now)? {
        return Ok(known);
    }
    let holding = Holding::of(write.sql, mailbox, &id, now)?;
    match holding.same_id_expires {
        Some(expires) if expires > now => return Ok(known),
        // The same content came before and has expired unswept: it starts anew.
        Some(_) => {
            remove(write, mailbox, &id)?;
        }
        None => {}
    }
    let size = ciphertext.as_bytes().len() + origin_hint.as_ref().map_or(0, |hint| hint.as_bytes().len());
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if write.gauges.is_full() {
        return Err(Refusal::StorageFull.into());
    }
    if holding.blobs >= bounds.mailbox_blobs || holding.bytes.saturating_add(size) > bounds.mailbox_bytes {
        return Err(Refusal::QuotaExceeded.into());
    }
    let position = Position::new(bounds.ttl.expiry(now), write.arrive());
    write
        .sql
        .prepare_cached(
            "INSERT INTO blobs (seq, mailbox, id, size, created, origin_hint, ciphertext)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            position.sql(),
            mailbox.as_bytes(),
            id.as_bytes(),
            count(size),
            moment(now.hour_floor()),
            origin_hint.as_ref().map(|hint| hint.as_bytes().as_ref()),
            ciphertext.as_bytes().as_ref(),
        ])?;
    write.change.blobs += 1;
    write.change.bytes += count(size);
    Ok(Sent { id, is_new: true })
}

/// What a mailbox holds, read from the index alone.
struct Holding {
    blobs: u64,
    bytes: u64,
    same_id_expires: Option<UnixSeconds>,
}

impl Holding {
    fn of(
        sql: &Connection,
        mailbox: &MailboxHash,
        id: &BlobId,
        now: UnixSeconds,
    ) -> Result<Self, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(Self {
                blobs: row.get::<_, i64>(0)?.max(0).unsigned_abs(),
                bytes: row.get::<_, i64>(1)?.max(0).unsigned_abs(),
                same_id_expires: row.get::<_, Option<i64>>(2)?.map(|seq| Position::from_sql(seq).expires()),
            })
        };
        Ok(sql
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE seq >= ?3),
                        coalesce(sum(size) FILTER (WHERE seq >= ?3), 0),
                        max(CASE WHEN id = ?2 THEN seq END)
                 FROM blobs WHERE mailbox = ?1",
            )?
            .query_row(params![mailbox.as_bytes(), id.as_bytes(), Position::first_alive(now).sql()], read)?)
    }
}

/// Removes a blob that was received, and remembers that. Answers whether it was here.
pub(crate) fn ack(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    id: &BlobId,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let Some(expires) = remove(write, mailbox, id)? else { return Ok(false) };
    match acked::remember(write.sql, id, now) {
        // On a full disk the deletion is worth more than the memory of it.
        Ok(()) | Err(StoreError::Full) => Ok(expires > now),
        Err(error) => Err(error),
    }
}

/// Deletes a blob. Answers when it would have expired.
fn remove(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    id: &BlobId,
) -> Result<Option<UnixSeconds>, StoreError> {
    let found = write
        .sql
        .prepare_cached("SELECT seq, size FROM blobs WHERE mailbox = ?1 AND id = ?2")?
        .query_row(params![mailbox.as_bytes(), id.as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let Some((seq, size)) = found else { return Ok(None) };
    write.sql.prepare_cached("DELETE FROM blobs WHERE seq = ?1")?.execute([seq])?;
    write.change.blobs -= 1;
    write.change.bytes -= size;
    Ok(Some(Position::from_sql(seq).expires()))
}

/// Deletes all mail of a mailbox. Answers how many blobs a client could still have fetched.
pub(crate) fn clear(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    now: UnixSeconds,
) -> Result<u64, StoreError> {
    let mut statement =
        write.sql.prepare_cached("DELETE FROM blobs WHERE mailbox = ?1 RETURNING size, seq")?;
    let mut rows = statement.query(params![mailbox.as_bytes()])?;
    let mut live = 0;
    while let Some(row) = rows.next()? {
        write.change.blobs -= 1;
        write.change.bytes -= row.get::<_, i64>(0)?;
        live += u64::from(Position::from_sql(row.get(1)?).expires() > now);
    }
    Ok(live)
}

/// Deletes up to `limit` blobs whose time has passed. Answers how many.
pub(crate) fn expire(write: &mut Write<'_>, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let mut statement = write.sql.prepare_cached(
        "DELETE FROM blobs WHERE seq IN (SELECT seq FROM blobs WHERE seq < ?1 ORDER BY seq LIMIT ?2)
         RETURNING size",
    )?;
    let mut rows = statement.query(params![Position::first_alive(now).sql(), limit])?;
    let mut expired = 0;
    while let Some(row) = rows.next()? {
        write.change.blobs -= 1;
        write.change.bytes -= row.get::<_, i64>(0)?;
        expired += 1;
    }
    Ok(expired)
}

/// Counts blobs whose time has passed, up to `limit`.
pub(crate) fn count_expired(sql: &Connection, now: UnixSeconds, limit: u64) -> Result<u64, StoreError> {
    let expired: i64 = sql.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM blobs WHERE seq < ?1 LIMIT ?2)",
        params![Position::first_alive(now).sql(), count(limit)],
        |row| row.get(0),
    )?;
    Ok(expired.max(0).unsigned_abs())
}

/// A page of mail and what was noticed on the way.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// The page.
    pub(crate) page: MailPage,
    /// Blobs whose content does not match their name. They are not served.
    pub(crate) damaged: u64,
    /// When to ask again, if every mailbox that holds something was refused.
    pub(crate) refused: Option<std::time::Duration>,
}

/// Reads the oldest mail of some mailboxes, in the order of arrival. `admit` is asked once for each mailbox
/// that holds something; one that it refuses is left for a later page.
pub(crate) fn fetch(
    sql: &Connection,
    mailboxes: &[MailboxHash],
    now: UnixSeconds,
    mut admit: impl FnMut(&MailboxHash) -> Result<(), std::time::Duration>,
) -> Result<Fetched, StoreError> {
    let mut fetched = Fetched::default();
    let mut candidates = Vec::new();
    let mut admitted = false;
    let first_alive = Position::first_alive(now).sql();
    let mut statement =
        sql.prepare_cached("SELECT created, seq FROM blobs WHERE mailbox = ?1 AND seq >= ?2")?;
    for (index, mailbox) in mailboxes.iter().enumerate() {
        let before = candidates.len();
        let mut rows = statement.query(params![mailbox.as_bytes(), first_alive])?;
        while let Some(row) = rows.next()? {
            candidates.push(Candidate { created: row.get(0)?, seq: row.get(1)?, mailbox_index: index });
        }
        if candidates.len() == before {
            continue;
        }
        match admit(mailbox) {
            Ok(()) => admitted = true,
            Err(wait) => {
                candidates.truncate(before);
                fetched.page.truncated = true;
                fetched.refused = fetched.refused.max(Some(wait));
            }
        }
        if candidates.len() > 16 * CANDIDATES {
            fetched.page.truncated |= keep_oldest(&mut candidates);
        }
    }
    if admitted {
        fetched.refused = None;
    }
    fetched.page.truncated |= keep_oldest(&mut candidates);
    candidates.sort_unstable();
    read_page(sql, &candidates, mailboxes, &mut fetched)?;
    Ok(fetched)
}

/// A blob that may go into a page. Ordered by arrival: by the hour, and within it by the place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    created: i64,
    seq: i64,
    mailbox_index: usize,
}

/// Drops all but the oldest candidates. Answers whether any was dropped.
fn keep_oldest(candidates: &mut Vec<Candidate>) -> bool {
    if candidates.len() <= CANDIDATES {
        return false;
    }
    candidates.select_nth_unstable(CANDIDATES);
    candidates.truncate(CANDIDATES);
    true
}

fn read_page(
    sql: &Connection,
    candidates: &[Candidate],
    mailboxes: &[MailboxHash],
    fetched: &mut Fetched,
) -> Result<(), StoreError> {
    let mut room = PageRoom::default();
    let mut statement =
        sql.prepare_cached("SELECT id, ciphertext, created, origin_hint FROM blobs WHERE seq = ?1")?;
    for Candidate { seq, mailbox_index, .. } in candidates.iter().copied() {
        let mut rows = statement.query([seq])?;
        let Some(row) = rows.next()? else { continue };
        let blob = mailboxes.get(mailbox_index).and_then(|mailbox| read_blob(row, mailbox, mailbox_index));
        let Some(blob) = blob else {
            fetched.damaged += 1;
            continue;
        };
        if !room.take(blob.ciphertext.as_bytes().len(), blob.origin_hint.is_some()) {
            fetched.page.truncated = true;
            break;
        }
        fetched.page.blobs.push(blob);
    }
    Ok(())
}

/// Reads a row, if its content still has the name it was stored under.
fn read_blob(row: &Row<'_>, mailbox: &MailboxHash, mailbox_index: usize) -> Option<StoredBlob> {
    let blob_id = BlobId::try_from(row.get_ref(0).ok()?.as_blob().ok()?).ok()?;
    let content = row.get_ref(1).ok()?.as_blob().ok()?;
    if BlobId::derive(mailbox, content) != blob_id {
        return None;
    }
    let hint = row.get_ref(3).ok()?.as_blob_or_null().ok()?;
    Some(StoredBlob {
        mailbox_index,
        blob_id,
        ciphertext: Ciphertext::try_from(Bytes::copy_from_slice(content)).ok()?,
        created_at: time(row.get(2).ok()?),
        origin_hint: hint.and_then(|bytes| OriginHint::try_from(Bytes::copy_from_slice(bytes)).ok()),
    })
}
