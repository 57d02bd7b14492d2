//! The `purges` table: purges that have begun and are not over.
//!
//! A purge deletes step by step. It begins with a row that says what it deletes, committed together with the use of its
//! token; from then on nobody is shown any of that, so that a purge is whole for everybody but the disk. Each step is
//! found again by what is left, so that whoever comes after a crash goes on: the next start, or the gateway that asks again.
//! What arrives after the beginning stays.

use crate::auth::idempotency;
use crate::clock::Times;
use crate::db::{Sql as _, StepRoom, StoreError, Total, Write, count};
use crate::mail::{blobs, registrations};
use crate::transfer::foreign_blobs;
use crate::transfer::remote_blobs::Clearing;
use relay_proto::{MailboxHash, OwnerHash, RequestId};
use rusqlite::{Connection, params};

/// What a step of a purge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to delete.
    More,
    /// This was the last one. So many blobs were deleted that a client could still have fetched.
    Last(u64),
    /// There is no such purge, or it is over.
    Over,
}

/// Begins a purge.
pub(crate) fn begin(
    write: &mut Write<'_>,
    owner: &OwnerHash,
    mailbox: &MailboxHash,
    request: &RequestId,
) -> Result<(), StoreError> {
    let arrivals = count(write.last_arrival());
    write.insert(
        Total::PURGES,
        "INSERT INTO purges (owner, mailbox, request_id, arrivals, deleted) VALUES (?1, ?2, ?3, ?4, 0)",
        params![owner.as_bytes(), mailbox.as_bytes(), request.as_bytes(), arrivals],
    )?;
    Ok(())
}

/// Whether a purge of this owner has begun and is not over.
pub(crate) fn runs(write: &Write<'_>, owner: &OwnerHash) -> Result<bool, StoreError> {
    if !write.has(Total::PURGES) {
        return Ok(false);
    }
    write.sql.has("SELECT 1 FROM purges WHERE owner = ?1", [owner.as_bytes()])
}

/// Whether this request began a purge that is not over.
pub(crate) fn is_of(write: &Write<'_>, request: &RequestId) -> Result<bool, StoreError> {
    if !write.has(Total::PURGES) {
        return Ok(false);
    }
    write.sql.has("SELECT 1 FROM purges WHERE request_id = ?1", [request.as_bytes()])
}

/// Whether this request was answered, or began a purge that is not over, at the moment that a reader sees.
pub(crate) fn is_known(sql: &Connection, request: &RequestId) -> Result<bool, StoreError> {
    Ok(idempotency::find(sql, request)?.is_some()
        || sql.has("SELECT 1 FROM purges WHERE request_id = ?1", [request.as_bytes()])?)
}

/// Some owners whose purges are not over.
pub(crate) fn unfinished(sql: &Connection, limit: u32) -> Result<Vec<OwnerHash>, StoreError> {
    sql.all("SELECT owner FROM purges LIMIT ?1", [limit], |row| Ok(OwnerHash::from_bytes(row.get(0)?)))
}

/// Deletes as much of what a purge deletes as there is room for in one transaction. The last step notes the answer, and
/// its own waits until nothing of it all is left in the log.
pub(crate) fn step(
    write: &mut Write<'_>,
    owner: &OwnerHash,
    room: StepRoom,
    now: Times,
) -> Result<Step, StoreError> {
    let purge = write.sql.find(
        "SELECT mailbox, request_id, arrivals, deleted FROM purges WHERE owner = ?1",
        [owner.as_bytes()],
        |row| {
            Ok(Purge {
                mailbox: MailboxHash::from_bytes(row.get(0)?),
                request: RequestId::from_bytes(row.get(1)?),
                arrivals: row.get(2)?,
                deleted: row.get(3)?,
            })
        },
    )?;
    let Some(purge) = purge else { return Ok(Step::Over) };
    let mut clearing = Clearing { arrivals: purge.arrivals, room, live: 0, now };
    let is_over = clear(write, owner, &purge.mailbox, &mut clearing)?;
    let deleted = purge.deleted + count(clearing.live);
    if !is_over {
        write
            .sql
            .run("UPDATE purges SET deleted = ?2 WHERE owner = ?1", params![owner.as_bytes(), deleted])?;
        return Ok(Step::More);
    }
    write.delete(Total::PURGES, "DELETE FROM purges WHERE owner = ?1", [owner.as_bytes()])?;
    let deleted = deleted.max(0).unsigned_abs();
    idempotency::remember(write.sql, &purge.request, deleted, now.stamp)?;
    write.answer_after_erasure();
    Ok(Step::Last(deleted))
}

/// A purge in progress.
struct Purge {
    mailbox: MailboxHash,
    request: RequestId,
    arrivals: i64,
    deleted: i64,
}

/// Deletes what there is room for. Returns whether all is deleted.
fn clear(
    write: &mut Write<'_>,
    owner: &OwnerHash,
    own: &MailboxHash,
    clearing: &mut Clearing,
) -> Result<bool, StoreError> {
    if !blobs::clear(write, own, clearing)? {
        return Ok(false);
    }
    for mailbox in registrations::of_owner(write.sql, owner, clearing.room.limit())? {
        if !blobs::clear(write, &mailbox, clearing)? || !clearing.room.take(0) {
            return Ok(false);
        }
        registrations::forget(write, &mailbox)?;
    }
    if !foreign_blobs::clear(write, owner, clearing)? {
        return Ok(false);
    }
    registrations::forget_unowned(write, own)?;
    Ok(true)
}
