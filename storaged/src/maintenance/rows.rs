//! The rows of each kind that an operator may count or delete. They are read in slices, so that no reader is kept for
//! long; nothing that is read goes further than its size and age.

use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::sql::{count, moment};
use crate::db::steps::StepRoom;
use crate::db::totals::Change;
use crate::mail::blobs;
use crate::transfer::foreign_blobs;
use relay_proto::mail::BlobName;
use relay_proto::messages::RowKind;
use relay_proto::{BlobId, MailboxHash, Ttl, UnixSeconds};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

/// Rows that one look reads: a few milliseconds.
const SLICE: u32 = 2000;

const DAY: u64 = 86_400;

/// From what the age of a row is told.
#[derive(Debug, Clone, Copy)]
enum Born {
    /// It is noted.
    Then,
    /// It ends so long after it was stored or renewed.
    Before(u64),
    /// As long after it as mail does.
    BeforeMail(u64),
}

/// A table whose rows have a key of one column.
struct Table {
    /// Selects key, bytes of content and a moment of the rows behind a key, in the order of keys.
    look: &'static str,
    /// Deletes the row with a key and a moment.
    delete: &'static str,
    /// Whether keys are numbers.
    numbered: bool,
    born: Born,
    /// About what a row takes besides its content.
    beside: u64,
    /// Where its rows are counted.
    sum: fn(&mut Change) -> Option<&mut i64>,
}

/// About what a blob takes besides its content.
const BESIDE_BLOB: u64 = 160;

const MOVED: [Table; 2] = [
    Table {
        look: "SELECT seq, 0, created FROM hints WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        delete: "",
        numbered: true,
        born: Born::Then,
        beside: 220,
        sum: |_| None,
    },
    Table {
        look: "SELECT seq, 0, created FROM claims WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        delete: "",
        numbered: true,
        born: Born::Then,
        beside: 280,
        sum: |_| None,
    },
];
const OUTBOX: [Table; 1] = [Table {
    look: "SELECT number, 0, expires FROM outbox WHERE number > ?1 ORDER BY number LIMIT ?2",
    delete: "DELETE FROM outbox WHERE number = ?1 AND expires = ?2",
    numbered: true,
    born: Born::BeforeMail(2 * DAY),
    beside: 220,
    sum: |change| Some(&mut change.outbox),
}];
const REGISTRATIONS: [Table; 1] = [Table {
    look: "SELECT mailbox, 0, expires FROM registrations WHERE mailbox > ?1 ORDER BY mailbox LIMIT ?2",
    delete: "DELETE FROM registrations WHERE mailbox = ?1 AND expires = ?2
                 AND (owner IS NULL OR owner NOT IN (SELECT owner FROM purges))",
    numbered: false,
    born: Born::BeforeMail(0),
    beside: 190,
    sum: |change| Some(&mut change.registrations),
}];
const OFFERS: [Table; 1] = [Table {
    look: "SELECT name, octet_length(payload) + coalesce(octet_length(response), 0), expires
           FROM exchanges WHERE name > ?1 ORDER BY name LIMIT ?2",
    delete: "DELETE FROM exchanges WHERE name = ?1 AND expires = ?2",
    numbered: false,
    born: Born::Before(3600),
    beside: 250,
    sum: |change| Some(&mut change.exchange_offers),
}];
const PROOFS: [Table; 1] = [Table {
    look: "SELECT name, octet_length(proof), created FROM recovery_proofs WHERE name > ?1 ORDER BY name LIMIT ?2",
    delete: "DELETE FROM recovery_proofs WHERE name = ?1 AND created = ?2",
    numbered: false,
    born: Born::Then,
    beside: 140,
    sum: |change| Some(&mut change.recovery_proofs),
}];
const GUARDIANS: [Table; 1] = [Table {
    look: "SELECT name, octet_length(entries), expires FROM guardian_sets WHERE name > ?1 ORDER BY name LIMIT ?2",
    delete: "DELETE FROM guardian_sets WHERE name = ?1 AND expires = ?2",
    numbered: false,
    born: Born::Before(365 * DAY),
    beside: 140,
    sum: |change| Some(&mut change.guardian_sets),
}];
const ESCROW: [Table; 1] = [Table {
    look: "SELECT name, (SELECT coalesce(sum(octet_length(blob)), 0) FROM escrow_slots WHERE gate = name), expires
           FROM escrow_gates WHERE name > ?1 ORDER BY name LIMIT ?2",
    delete: "DELETE FROM escrow_gates WHERE name = ?1 AND expires = ?2",
    numbered: false,
    born: Born::Before(7 * DAY),
    beside: 350,
    sum: |change| Some(&mut change.escrow_gates),
}];
const TOMBSTONES: [Table; 2] = [
    Table {
        look: "SELECT seq, 0, hour FROM acked WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        delete: "DELETE FROM acked WHERE seq = ?1 AND hour = ?2",
        numbered: true,
        born: Born::Then,
        beside: 60,
        sum: |_| None,
    },
    Table {
        look: "SELECT seq, 0, hour FROM forgotten WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        delete: "DELETE FROM forgotten WHERE seq = ?1 AND hour = ?2",
        numbered: true,
        born: Born::Then,
        beside: 60,
        sum: |_| None,
    },
];
const USED: [Table; 2] = [
    Table {
        look: "SELECT digest, 0, hour FROM used WHERE digest > ?1 ORDER BY digest LIMIT ?2",
        delete: "",
        numbered: false,
        born: Born::Then,
        beside: 90,
        sum: |_| None,
    },
    Table {
        look: "SELECT request_id, 0, expires FROM answers WHERE request_id > ?1 ORDER BY request_id LIMIT ?2",
        delete: "",
        numbered: false,
        born: Born::Before(360),
        beside: 80,
        sum: |_| None,
    },
];

/// The tables of a kind; mail has none, because its names have two columns.
const fn tables(kind: RowKind) -> &'static [Table] {
    match kind {
        RowKind::Unspecified | RowKind::Mail | RowKind::Held => &[],
        RowKind::Moved => &MOVED,
        RowKind::Outbox => &OUTBOX,
        RowKind::Registrations => &REGISTRATIONS,
        RowKind::Offers => &OFFERS,
        RowKind::Proofs => &PROOFS,
        RowKind::Guardians => &GUARDIANS,
        RowKind::Escrow => &ESCROW,
        RowKind::Tombstones => &TOMBSTONES,
        RowKind::Used => &USED,
    }
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
    let Some(table) = tables(kind).get(index) else { return Ok((Vec::new(), None)) };
    let first = if table.numbered { Value::Integer(i64::MIN) } else { Value::Blob(Vec::new()) };
    let mut statement = sql.prepare_cached(table.look)?;
    let mut rows = statement.query(params![after.unwrap_or_else(|| first.clone()), SLICE])?;
    let mut entries = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (key, content, then): (Value, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let content = content.max(0).unsigned_abs();
        let life = match table.born {
            Born::Then => 0,
            Born::Before(life) => life,
            Born::BeforeMail(more) => ttl.as_secs() + more,
        };
        let age = moment(now).saturating_add(count(life)).saturating_sub(then).max(0).unsigned_abs();
        last = Some(key.clone());
        let row = RowName::Key { table: index, key, moment: then };
        entries.push(Entry { row, content, bytes: content + table.beside, age });
    }
    let next = match last {
        Some(key) if entries.len() >= SLICE as usize => Some(Cursor::Key { table: index, key }),
        _ => tables(kind).get(index + 1).map(|table| Cursor::Key {
            table: index + 1,
            key: if table.numbered { Value::Integer(i64::MIN) } else { Value::Blob(Vec::new()) },
        }),
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
    if of_peers && !foreign_blobs::any(sql)? {
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
        let name = BlobName {
            mailbox: MailboxHash::from_bytes(row.get(0)?),
            blob_id: BlobId::from_bytes(row.get(1)?),
        };
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
            RowName::Blob(name) => blobs::remove(write, name)?.is_some(),
            RowName::Key { table, key, moment } => match tables(kind).get(*table) {
                Some(table) => {
                    let gone = write.sql.prepare_cached(table.delete)?.execute(params![key, moment])? > 0;
                    if let Some(sum) = (table.sum)(write.change).filter(|_| gone) {
                        *sum -= 1;
                    }
                    write.free(count(entry.content));
                    gone
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
