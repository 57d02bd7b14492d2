//! The rows of each kind that an operator may count or delete. They are read in slices, so that no reader is kept for
//! long; nothing that is read goes further than its size and age.

use crate::auth::{ack_tombstones, idempotency, nonces};
use crate::db::{RowLifetime, StepRoom, StoreError, Table, Total, Write, blob_name, count, moment, totals};
use crate::mail::registrations;
use crate::records;
use crate::transfer::{claims, foreign_blobs, leases, outbox, remote_blobs, tombstones};
use relay_proto::mail::BlobName;
use relay_proto::messages::RowKind;
use relay_proto::{Ttl, UnixSeconds};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

/// Rows that one look reads: a few milliseconds.
const SLICE: u32 = 2000;

/// About what a blob takes besides its content.
const BESIDE_BLOB: u64 = 160;

/// Tables besides mail, which has names of two columns, and besides records.
static TABLES: [(RowKind, &Table); 8] = [
    (RowKind::Moved, &remote_blobs::TABLE),
    (RowKind::Moved, &claims::TABLE),
    (RowKind::Outbox, &outbox::TABLE),
    (RowKind::Registrations, &registrations::TABLE),
    (RowKind::Tombstones, &ack_tombstones::TABLE),
    (RowKind::Tombstones, &tombstones::TABLE),
    (RowKind::Used, &nonces::TABLE),
    (RowKind::Used, &idempotency::TABLE),
];

/// One of the tables of a kind.
fn table(kind: RowKind, index: usize) -> Option<&'static Table> {
    let records = records::KINDS.iter().map(|record| (record.shown_as, &record.table));
    TABLES
        .into_iter()
        .chain(records)
        .filter(|(shown_as, _)| *shown_as == kind)
        .map(|(_, table)| table)
        .nth(index)
}

/// Whether an operator may delete rows of a kind. What was used must stay used, and a note of mail at a peer is all that
/// finds it.
pub(crate) const fn may_go(kind: RowKind) -> bool {
    !matches!(kind, RowKind::Used | RowKind::Moved)
}

/// Where the next look begins.
#[derive(Debug, Clone)]
pub(crate) enum Cursor {
    Start,
    Behind(BlobName),
    Key { table: usize, key: Value },
}

/// A row, as far as it matters.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    row: RowName,
    /// Its content.
    pub(crate) content: u64,
    /// That and what else it takes.
    pub(crate) bytes: u64,
    /// Since it was stored or renewed, in seconds, as far as its row tells.
    pub(crate) age: u64,
}

#[derive(Debug, Clone)]
enum RowName {
    Blob(BlobName),
    Key { table: usize, key: Value, moment: i64 },
}

/// Reads the rows of a kind behind a cursor. Returns where the next look begins, if there is more.
pub(crate) fn look(
    sql: &Connection,
    kind: RowKind,
    cursor: &Cursor,
    ttl: Ttl,
    now: UnixSeconds,
) -> Result<(Vec<Entry>, Option<Cursor>), StoreError> {
    if matches!(kind, RowKind::Mail | RowKind::Held) {
        return look_at_mail(sql, kind == RowKind::Held, cursor, now);
    }
    let (index, after) = match cursor {
        Cursor::Key { table, key } => (*table, Some(key.clone())),
        Cursor::Start | Cursor::Behind(_) => (0, None),
    };
    let Some(table) = table(kind, index) else { return Ok((Vec::new(), None)) };
    let mut statement = sql.prepare_cached(&table.look())?;
    let mut rows = statement.query(params![after.unwrap_or_else(|| table.key.first()), SLICE])?;
    let mut entries = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (key, content, then): (Value, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let content = content.max(0).unsigned_abs();
        let life = match table.lifetime {
            RowLifetime::Since => 0,
            RowLifetime::Until(life) => life,
            RowLifetime::UntilMailAnd(more) => ttl.as_secs() + more,
        };
        let age = moment(now).saturating_add(count(life)).saturating_sub(then).max(0).unsigned_abs();
        last = Some(key.clone());
        let row = RowName::Key { table: index, key, moment: then };
        entries.push(Entry { row, content, bytes: content + table.beside, age });
    }
    let next = match last {
        Some(key) if entries.len() >= SLICE as usize => Some(Cursor::Key { table: index, key }),
        _ => self::table(kind, index + 1).map(|next| Cursor::Key { table: index + 1, key: next.key.first() }),
    };
    Ok((entries, next))
}

/// Reads the names in the order of the index, which has all that is needed, so that no content is read.
fn look_at_mail(
    sql: &Connection,
    of_peers: bool,
    cursor: &Cursor,
    now: UnixSeconds,
) -> Result<(Vec<Entry>, Option<Cursor>), StoreError> {
    if of_peers && !totals::any(sql, Total::HELD)? {
        return Ok((Vec::new(), None));
    }
    let mut statement = sql.prepare_cached(
        "SELECT blobs.mailbox, blobs.id, blobs.size, blobs.created, coalesce(held.shared != ?4, FALSE)
         FROM blobs INDEXED BY blobs_by_mailbox LEFT JOIN held ON held.seq = blobs.seq
         WHERE (blobs.mailbox, blobs.id) > (?1, ?2) ORDER BY blobs.mailbox, blobs.id LIMIT ?3",
    )?;
    let (mailbox, id): (&[u8], &[u8]) = match cursor {
        Cursor::Behind(name) => (name.mailbox.as_bytes(), name.blob_id.as_bytes()),
        Cursor::Start | Cursor::Key { .. } => (&[], &[]),
    };
    let mut rows = statement.query(params![mailbox, id, SLICE, foreign_blobs::SHARED])?;
    let (mut entries, mut seen, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let name = blob_name(row, 0)?;
        seen += 1;
        last = Some(name);
        if row.get::<_, bool>(4)? != of_peers {
            continue;
        }
        let content = row.get::<_, i64>(2)?.max(0).unsigned_abs();
        let age = moment(now).saturating_sub(row.get(3)?).max(0).unsigned_abs();
        entries.push(Entry { row: RowName::Blob(name), content, bytes: content + BESIDE_BLOB, age });
    }
    Ok((entries, last.filter(|_| seen >= SLICE).map(Cursor::Behind)))
}

/// Deletes rows that were read before, as many as belong into one transaction. One that has changed since stays. Returns how
/// many were decided on, and how many rows and bytes went.
pub(crate) fn evict(
    write: &mut Write<'_>,
    kind: RowKind,
    entries: &[Entry],
) -> Result<(usize, u64, u64), StoreError> {
    let mut room = StepRoom::WHOLE;
    let (mut rows, mut bytes) = (0, 0);
    for (decided, entry) in entries.iter().enumerate() {
        if !room.take(count(entry.content)) {
            return Ok((decided, rows, bytes));
        }
        let gone = match &entry.row {
            RowName::Blob(name) => leases::remove(write, name)?.is_some(),
            RowName::Key { table: index, key, moment } => match table(kind, *index) {
                Some(table) => {
                    write.free(count(entry.content));
                    table.delete(write, key, *moment)?
                }
                None => false,
            },
        };
        if gone {
            rows += 1;
            bytes += entry.bytes;
        }
    }
    Ok((entries.len(), rows, bytes))
}
