//! The `registrations` table: mailboxes that somebody made known, and who owns them.

use super::batch::Write;
use super::error::StoreError;
use super::sql::{count, moment};
use crate::trusted_time::Times;
use relay_proto::{MailboxHash, OwnerHash, Refusal, Ttl, UnixSeconds};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Registrations that fit beside the mail: one for each KiB of the database's ceiling.
const BYTES_EACH: u64 = 1024;

/// How far a registration's end moves before a fetch writes it down again: once a day.
const RENEWAL_SECS: u64 = 86_400;

/// Registers a mailbox or renews it. The first owner stays for as long as the registration lives.
pub(crate) fn register(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    owner: Option<&OwnerHash>,
    ttl: Ttl,
    now: Times,
) -> Result<(), StoreError> {
    let owner = owner.map(OwnerHash::as_bytes);
    let (expires, now) = (moment(ttl.expiry(now.stamp)), moment(now.now));
    let renewed = write
        .sql
        .prepare_cached(
            "UPDATE registrations
             SET owner = CASE WHEN expires <= ?4 THEN ?2 ELSE coalesce(owner, ?2) END, expires = ?3
             WHERE mailbox = ?1",
        )?
        .execute(params![mailbox.as_bytes(), owner, expires, now])?;
    if renewed > 0 {
        return Ok(());
    }
    let held = write.gauges.registrations().saturating_add_signed(write.change.registrations);
    if write.gauges.is_full() || held >= write.gauges.ceiling_bytes() / BYTES_EACH {
        return Err(Refusal::StorageFull.into());
    }
    write
        .sql
        .prepare_cached("INSERT INTO registrations (mailbox, owner, expires) VALUES (?1, ?2, ?3)")?
        .execute(params![mailbox.as_bytes(), owner, expires])?;
    write.change.registrations += 1;
    Ok(())
}

/// Whether somebody registered the mailbox.
pub(crate) fn contains(
    sql: &Connection,
    mailbox: &MailboxHash,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let found = sql
        .prepare_cached("SELECT 1 FROM registrations WHERE mailbox = ?1 AND expires > ?2")?
        .query_row(params![mailbox.as_bytes(), moment(now)], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// The mailboxes registered to an owner.
pub(crate) fn of_owner(
    sql: &Connection,
    owner: &OwnerHash,
    now: UnixSeconds,
) -> Result<Vec<MailboxHash>, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT mailbox FROM registrations WHERE owner = ?1 AND expires > ?2")?;
    let mut rows = statement.query(params![owner.as_bytes(), moment(now)])?;
    let mut mailboxes = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
        mailboxes.push(MailboxHash::try_from(bytes).map_err(|_| StoreError::Corrupt(0))?);
    }
    Ok(mailboxes)
}

/// Which of these mailboxes are registered and were last renewed a day ago or longer.
pub(crate) fn due_for_renewal(
    sql: &Connection,
    mailboxes: &[MailboxHash],
    ttl: Ttl,
    now: Times,
) -> Result<Vec<MailboxHash>, StoreError> {
    let latest = moment(ttl.expiry(now.stamp).minus(RENEWAL_SECS));
    let mut statement = sql.prepare_cached(
        "SELECT 1 FROM registrations WHERE mailbox = ?1 AND expires > ?2 AND expires <= ?3",
    )?;
    let mut due = Vec::new();
    for mailbox in mailboxes {
        if statement.exists(params![mailbox.as_bytes(), moment(now.now), latest])? {
            due.push(*mailbox);
        }
    }
    Ok(due)
}

/// Renews registrations that are still there.
pub(crate) fn renew(
    write: &mut Write<'_>,
    mailboxes: &[MailboxHash],
    ttl: Ttl,
    now: Times,
) -> Result<(), StoreError> {
    let mut statement = write
        .sql
        .prepare_cached("UPDATE registrations SET expires = ?2 WHERE mailbox = ?1 AND expires > ?3")?;
    for mailbox in mailboxes {
        statement.execute(params![mailbox.as_bytes(), moment(ttl.expiry(now.stamp)), moment(now.now)])?;
    }
    Ok(())
}

/// Deletes up to `limit` registrations whose time has passed. Answers how many.
pub(crate) fn expire(write: &mut Write<'_>, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let expired = write
        .sql
        .prepare_cached(
            "DELETE FROM registrations WHERE mailbox IN
                 (SELECT mailbox FROM registrations WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![moment(now), limit])? as u64;
    write.change.registrations -= count(expired);
    Ok(expired)
}
