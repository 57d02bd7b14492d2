//! The `registrations` table: mailboxes that somebody made known, and who owns them.

use crate::clock::Times;
use crate::db::{
    KeyColumn, RowLifetime, SWEEP_ROWS, Sql as _, Store, StoreError, Table, Total, Write, count, moment,
};
use crate::mail::purges;
use relay_proto::{MailboxHash, OwnerHash, StorageError, Ttl, UnixSeconds};
use rusqlite::{Connection, params};

/// Registrations that fit beside the mail: one for each KiB of the database's ceiling.
pub(crate) const BYTES_EACH: u64 = 1024;

/// What operators and sweeps know of it. What a purge in progress reaches it forgets itself.
pub(crate) static TABLE: Table = Table {
    name: "registrations",
    key: KeyColumn::Bytes("mailbox"),
    content: "0",
    beside: 190,
    moment: "expires",
    lifetime: RowLifetime::UntilMailAnd(0),
    total: Some(Total::REGISTRATIONS),
    may_go: Some("owner IS NULL OR owner NOT IN (SELECT owner FROM purges)"),
};

/// How far a registration's end moves before a fetch writes it down again: once a day.
const RENEWAL_SECS: u64 = 86_400;

/// Mailboxes that one key may own: five times what one request registers, so that an owner who changes all tokens finds
/// room for the new ones beside the old, and that a purge of all of them is over within the time that a gateway waits.
const MAX_OWNED: u64 = 10_000;

/// How long whoever registered a mailbox without a key can object to a key that asks for it, in seconds: by registering
/// it again.
const OBJECTION_SECS: u64 = 30 * 86_400;

/// What stands in `binds` of a mailbox without an owner that was registered or renewed more than once.
const IN_USE: i64 = -1;

/// What a request asks for, besides names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestedMailboxes {
    pub(crate) owner: Option<OwnerHash>,
    pub(crate) ttl: Ttl,
    pub(crate) now: Times,
}

/// How the names of a request stand after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Other than the caller's key has them, or asks for them.
    pub(crate) elsewhere: u32,
    /// The caller's key has to wait for them.
    pub(crate) waiting: u32,
}

impl Tally {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self { elsewhere: self.elsewhere + other.elsewhere, waiting: self.waiting + other.waiting }
    }

    fn add(&mut self, standing: BindingState) {
        match standing {
            BindingState::Granted => {}
            BindingState::Waiting => self.waiting += 1,
            BindingState::Elsewhere => self.elsewhere += 1,
        }
    }
}

/// What a request finds.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Names that are to be written down.
    pub(crate) unsettled: Vec<MailboxHash>,
    /// How many of them are not in the table.
    pub(crate) new: u32,
    /// How all other names stand.
    pub(crate) settled: Tally,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Registration {
    owner: Option<OwnerHash>,
    binds: i64,
    expires: i64,
}

/// How a name stands for whoever registers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BindingState {
    Granted,
    Waiting,
    Elsewhere,
}

/// What becomes of a registration that is alive, or of none, when somebody asks for the name. The first key stays.
///
/// Everybody who sends to a mailbox knows its token, and must not take it from a client that has no key. So where somebody
/// registered it without one, a key has it until that somebody registers it again, and if it was in use that way already
/// it has to wait besides.
fn settle(alive: Option<Registration>, wanted: &RequestedMailboxes) -> (Registration, BindingState) {
    let expires = moment(wanted.ttl.expiry(wanted.now.stamp));
    let Some(before) = alive else {
        return (Registration { owner: wanted.owner, binds: 0, expires }, BindingState::Granted);
    };
    let kept = Registration { expires, ..before };
    let in_use = Registration { owner: None, binds: IN_USE, expires };
    match (before.owner, wanted.owner) {
        (None, None) => (in_use, BindingState::Granted),
        (None, Some(_)) => {
            let until = moment(wanted.now.stamp.plus(OBJECTION_SECS).hour_ceil());
            let waits = before.binds == IN_USE;
            let binds = if waits { until } else { -until };
            let standing = if waits { BindingState::Waiting } else { BindingState::Granted };
            (Registration { owner: wanted.owner, binds, expires }, standing)
        }
        (Some(_), None) if before.binds != 0 => (in_use, BindingState::Elsewhere),
        (Some(owner), Some(asks)) if owner == asks => {
            (kept, if before.binds > 0 { BindingState::Waiting } else { BindingState::Granted })
        }
        (Some(_), _) => (kept, BindingState::Elsewhere),
    }
}

fn find(sql: &Connection, mailbox: &MailboxHash) -> Result<Option<Registration>, StoreError> {
    sql.find(
        "SELECT owner, binds, expires FROM registrations WHERE mailbox = ?1",
        [mailbox.as_bytes()],
        |row| {
            let owner = row.get::<_, Option<[u8; OwnerHash::LENGTH]>>(0)?.map(OwnerHash::from_bytes);
            Ok(Registration { owner, binds: row.get(1)?, expires: row.get(2)? })
        },
    )
}

/// Looks which names a request changes something about, so that only those are the writer's work. A name is written down
/// once an hour at most, because its end is a full hour.
pub(crate) fn compare(
    sql: &Connection,
    mailboxes: &[MailboxHash],
    wanted: &RequestedMailboxes,
) -> Result<Comparison, StoreError> {
    let mut comparison = Comparison { unsettled: Vec::new(), new: 0, settled: Tally::default() };
    let mut bound = 0;
    for mailbox in mailboxes {
        let before = find(sql, mailbox)?;
        let alive = before.filter(|before| before.expires > moment(wanted.now.now));
        let (after, standing) = settle(alive, wanted);
        if before == Some(after) {
            comparison.settled.add(standing);
            continue;
        }
        comparison.unsettled.push(*mailbox);
        comparison.new += u32::from(before.is_none());
        bound += u64::from(after.owner.is_some() && before.and_then(|before| before.owner) != after.owner);
    }
    if let Some(owner) = wanted.owner.filter(|_| bound > 0) {
        expect_few(sql, &owner, bound)?;
    }
    Ok(comparison)
}

/// Refuses more mailboxes than a key may own.
fn expect_few(sql: &Connection, owner: &OwnerHash, more: u64) -> Result<(), StoreError> {
    let owned: i64 = sql.only(
        "SELECT count(*) FROM (SELECT 1 FROM registrations WHERE owner = ?1 LIMIT ?2)",
        params![owner.as_bytes(), count(MAX_OWNED)],
        |row| row.get(0),
    )?;
    if owned.max(0).unsigned_abs() + more > MAX_OWNED {
        Err(StorageError::QuotaExceeded.into())
    } else {
        Ok(())
    }
}

/// Registers mailboxes or renews them. Returns how they stand.
pub(crate) fn register(
    write: &mut Write<'_>,
    mailboxes: &[MailboxHash],
    wanted: &RequestedMailboxes,
) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    let mut bound = 0;
    for mailbox in mailboxes {
        let before = find(write.sql, mailbox)?;
        let is_purged = match before.and_then(|before| before.owner) {
            // What a purge in progress reaches stays its owner's until that is over.
            Some(owner) => purges::runs(write, &owner)?,
            None => false,
        };
        let alive = before.filter(|before| before.expires > moment(wanted.now.now));
        let (after, standing) = match before {
            Some(before) if is_purged => (before, BindingState::Elsewhere),
            _ => settle(alive, wanted),
        };
        tally.add(standing);
        if before != Some(after) {
            put(write, mailbox, before.is_none(), &after)?;
            bound +=
                u64::from(after.owner.is_some() && before.and_then(|before| before.owner) != after.owner);
        }
    }
    if let Some(owner) = wanted.owner.filter(|_| bound > 0) {
        // They are counted already.
        expect_few(write.sql, &owner, 0)?;
    }
    Ok(tally)
}

fn put(
    write: &mut Write<'_>,
    mailbox: &MailboxHash,
    is_new: bool,
    after: &Registration,
) -> Result<(), StoreError> {
    let row = params![
        mailbox.as_bytes(),
        after.owner.as_ref().map(OwnerHash::as_bytes),
        after.binds,
        after.expires
    ];
    if !is_new {
        write
            .sql
            .run("UPDATE registrations SET owner = ?2, binds = ?3, expires = ?4 WHERE mailbox = ?1", row)?;
        return Ok(());
    }
    write.expect_place(Total::REGISTRATIONS, BYTES_EACH)?;
    write.insert(
        Total::REGISTRATIONS,
        "INSERT INTO registrations (mailbox, owner, binds, expires) VALUES (?1, ?2, ?3, ?4)",
        row,
    )?;
    Ok(())
}

/// Makes up to `limit` mailboxes their owners' for good, to which nobody objected in time. Returns how many.
fn grant(sql: &Connection, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    sql.run("UPDATE registrations SET binds = 0 WHERE mailbox IN
                 (SELECT mailbox FROM registrations WHERE owner IS NOT NULL AND binds != 0 AND abs(binds) <= ?1
                  ORDER BY abs(binds) LIMIT ?2)", params![moment(now), limit])
}

/// Whether somebody registered the mailbox.
pub(crate) fn contains(
    sql: &Connection,
    mailbox: &MailboxHash,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let found = sql.find(
        "SELECT 1 FROM registrations WHERE mailbox = ?1 AND expires > ?2",
        params![mailbox.as_bytes(), moment(now)],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Some of the mailboxes that are an owner's to purge. Those whose time has just passed are among them until they are
/// swept out, so that a purge reaches the same ones from its first step to its last.
pub(crate) fn of_owner(
    sql: &Connection,
    owner: &OwnerHash,
    limit: i64,
) -> Result<Vec<MailboxHash>, StoreError> {
    sql.all(
        "SELECT mailbox FROM registrations WHERE owner = ?1 AND binds <= 0 LIMIT ?2",
        params![owner.as_bytes(), limit],
        |row| Ok(MailboxHash::from_bytes(row.get(0)?)),
    )
}

/// Whether a mailbox is an owner's to purge.
pub(crate) fn is_of(
    sql: &Connection,
    owner: &OwnerHash,
    mailbox: &MailboxHash,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    sql.has(
        "SELECT 1 FROM registrations WHERE mailbox = ?1 AND owner = ?2 AND binds <= 0 AND expires > ?3",
        params![mailbox.as_bytes(), owner.as_bytes(), moment(now)],
    )
}

/// Deletes a registration that has served a purge.
pub(crate) fn forget(write: &mut Write<'_>, mailbox: &MailboxHash) -> Result<(), StoreError> {
    write.delete(
        Total::REGISTRATIONS,
        "DELETE FROM registrations WHERE mailbox = ?1",
        [mailbox.as_bytes()],
    )?;
    Ok(())
}

/// Deletes the registration of a mailbox if it is no key's.
pub(crate) fn forget_unowned(write: &mut Write<'_>, mailbox: &MailboxHash) -> Result<(), StoreError> {
    write.delete(
        Total::REGISTRATIONS,
        "DELETE FROM registrations WHERE mailbox = ?1 AND owner IS NULL",
        [mailbox.as_bytes()],
    )?;
    Ok(())
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
    let mut statement = write.sql.prepare_cached(
        "UPDATE registrations SET expires = ?2, binds = CASE WHEN owner IS NULL THEN ?4 ELSE binds END
             WHERE mailbox = ?1 AND expires > ?3",
    )?;
    for mailbox in mailboxes {
        statement.execute(params![
            mailbox.as_bytes(),
            moment(ttl.expiry(now.stamp)),
            moment(now.now),
            IN_USE
        ])?;
    }
    Ok(())
}

/// Deletes the registrations whose time has passed, and makes those final to which nobody objected in time.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds) -> Result<(), StoreError> {
    TABLE.sweep(store, now, SWEEP_ROWS).await?;
    store.in_batches(SWEEP_ROWS, move |write, limit| grant(write.sql, now, limit)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
    const FIRST: OwnerHash = OwnerHash::from_bytes([1; 32]);
    const SECOND: OwnerHash = OwnerHash::from_bytes([2; 32]);

    #[test]
    fn who_gets_a_mailbox() {
        let until = moment(NOW.plus(OBJECTION_SECS));
        let (once, in_use) = (Some((None, 0)), Some((None, IN_USE)));
        let [first, for_now, waits] = [0, -until, until].map(|binds| Some((Some(FIRST), binds)));
        let (granted, waiting, elsewhere) =
            (BindingState::Granted, BindingState::Waiting, BindingState::Elsewhere);
        for (before, asks, after, standing) in [
            (None, None, once, granted),
            (None, Some(FIRST), first, granted),
            (once, None, in_use, granted),
            (in_use, None, in_use, granted),
            (once, Some(FIRST), for_now, granted),
            (in_use, Some(FIRST), waits, waiting),
            (first, Some(FIRST), first, granted),
            (first, Some(SECOND), first, elsewhere),
            (first, None, first, elsewhere),
            (for_now, Some(FIRST), for_now, granted),
            (for_now, Some(SECOND), for_now, elsewhere),
            (for_now, None, in_use, elsewhere),
            (waits, Some(FIRST), waits, waiting),
            (waits, Some(SECOND), waits, elsewhere),
            (waits, None, in_use, elsewhere),
        ] {
            let before = before.map(|(owner, binds)| Registration { owner, binds, expires: 1 });
            let wanted =
                RequestedMailboxes { owner: asks, ttl: Ttl::from_secs(86_400), now: Times::trusted(NOW) };
            let (settled, told) = settle(before, &wanted);
            assert_eq!((Some((settled.owner, settled.binds)), told), (after, standing));
            assert_eq!(settled.expires, moment(NOW.plus(86_400)), "everybody renews");
        }
    }
}
