//! A page of mail: the oldest blobs of some mailboxes that fit one answer.
//!
//! No blob stands in the way of another. One that is larger than a page is not among the candidates for it: where the
//! answer will be sealed it is counted and left out, else it is told of, when nothing smaller waits, and read by itself:
//! how much memory a page takes is known before it is read.

use crate::clock::Times;
use crate::db::{ARRIVALS, Position, Sql as _, Store, StoreError, Total, blob_rows, count, time};
use crate::mail::registrations;
use crate::transfer::remote_page::Moved;
use bytes::Bytes;
use relay_proto::field::position;
use relay_proto::messages::{Blob, FetchReply, LargerBlob};
use relay_proto::page::{self, PageRoom};
use relay_proto::{BlobId, Ciphertext, MailboxHash, OriginHint, PeerId, Ttl, UnixSeconds};
use rusqlite::{CachedStatement, Connection, Row, params};
use std::time::Duration;

/// More than a page of the smallest blobs holds: candidates beyond this many can wait for the next page.
const CANDIDATES: usize = 1024;

/// A page of mail and what was noticed on the way.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// The page.
    pub(crate) page: FetchReply,
    /// Blobs whose content does not match their name. They are not served.
    pub(crate) damaged: u64,
    /// When to ask again, if the page shows nothing and a mailbox that holds something was refused.
    pub(crate) refused: Option<Duration>,
    /// Which of the mailboxes are registered and were last renewed a day ago or longer.
    pub(crate) due: Vec<MailboxHash>,
}

/// Reads a page of the mail of some mailboxes, in the order of arrival. `admit` is asked once for each mailbox
/// that holds something; one that it refuses is left for a later page. `reachable` tells which peers can be asked for
/// what they hold.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn fetch(
    store: &Store,
    mailboxes: Vec<MailboxHash>,
    sealed: bool,
    (ttl, now): (Ttl, Times),
    admit: impl FnMut(&MailboxHash) -> Result<(), Duration> + Send + 'static,
    reachable: impl FnOnce() -> Vec<PeerId> + Send + 'static,
) -> Result<Fetched, StoreError> {
    let has_registrations = store.gauges.of(Total::REGISTRATIONS) > 0;
    let read = move |sql: &Connection| {
        let mut fetched = find(sql, &mailboxes, sealed, now.now, admit, reachable)?;
        if has_registrations {
            fetched.due = registrations::due_for_renewal(sql, &mailboxes, ttl, now)?;
        }
        Ok(fetched)
    };
    store.readers.run(read).await
}

/// Returns a blob that a page told of, unless it has gone.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn larger(
    store: &Store,
    mailbox: MailboxHash,
    place: u64,
    now: UnixSeconds,
) -> Result<Option<Blob>, StoreError> {
    store.readers.run(move |sql| find_larger(sql, &mailbox, place, now)).await
}

fn find(
    sql: &Connection,
    mailboxes: &[MailboxHash],
    sealed: bool,
    now: UnixSeconds,
    admit: impl FnMut(&MailboxHash) -> Result<(), Duration>,
    reachable: impl FnOnce() -> Vec<PeerId>,
) -> Result<Fetched, StoreError> {
    let mut fetched = Fetched::default();
    let mut waiting = Waiting::new(sealed);
    let Besides { at_peers, purging } = Besides::read(sql)?;
    let mut moved = at_peers.then(|| Moved::begin(sealed, reachable()));
    let first_alive = Position::first_alive(now).sql();
    collect(sql, mailboxes, (first_alive, purging), admit, &mut waiting, &mut moved, &mut fetched)?;
    read_page(sql, waiting, mailboxes, &mut fetched)?;
    if let Some(moved) = moved {
        let is_any_small = !fetched.page.blobs.is_empty();
        let (chosen, left_out, oversized) = moved.choose(is_any_small);
        fetched.page.moved = chosen;
        fetched.page.truncated |= left_out;
        fetched.page.oversized += oversized;
    }
    // A page without anything to ack must not send a client round and round until the mailbox may be read again.
    let FetchReply { blobs, moved, larger, .. } = &fetched.page;
    if !blobs.is_empty() || !moved.is_empty() || larger.is_some() {
        fetched.refused = None;
    }
    Ok(fetched)
}

/// What there is besides mail, at the moment that the reader sees.
struct Besides {
    /// Mail at peers.
    at_peers: bool,
    /// Purges that are not over.
    purging: bool,
}

impl Besides {
    fn read(sql: &Connection) -> Result<Self, StoreError> {
        sql.only("SELECT hints > 0 OR claims > 0, purges > 0 FROM totals", [], |row| {
            Ok(Self { at_peers: row.get(0)?, purging: row.get(1)? })
        })
    }
}

/// Collects what waits, here and with peers.
fn collect(
    sql: &Connection,
    mailboxes: &[MailboxHash],
    (first_alive, purging): (i64, bool),
    mut admit: impl FnMut(&MailboxHash) -> Result<(), Duration>,
    waiting: &mut Waiting,
    moved: &mut Option<Moved>,
    fetched: &mut Fetched,
) -> Result<(), StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT created, seq, size FROM blobs WHERE mailbox = ?1 AND seq >= ?2 AND (seq & ?3) > ?4",
    )?;
    for (mailbox_index, mailbox) in mailboxes.iter().enumerate() {
        let before = waiting.mark();
        // What is being deleted is deleted, for whoever asks.
        let purged = if purging { blob_rows::reaches(sql, mailbox)? } else { None }.unwrap_or(-1);
        let mut rows = statement.query(params![mailbox.as_bytes(), first_alive, ARRIVALS, purged])?;
        while let Some(row) = rows.next()? {
            let (created, seq, size) = (row.get(0)?, row.get(1)?, row.get(2)?);
            waiting.add(Candidate { created, seq, size, mailbox_index });
        }
        let collected = match moved {
            Some(moved) => Some(moved.collect(sql, mailbox, mailbox_index, (first_alive, purged))?),
            None => None,
        };
        if waiting.mark() == before && !collected.is_some_and(|collected| collected.any) {
            continue;
        }
        if let Err(wait) = admit(mailbox) {
            waiting.go_back(before);
            if let (Some(moved), Some(collected)) = (&mut *moved, &collected) {
                moved.undo(collected);
            }
            fetched.page.truncated = true;
            fetched.refused = fetched.refused.max(Some(wait));
        }
        waiting.shorten();
        if let Some(moved) = &mut *moved {
            moved.shorten();
        }
    }
    Ok(())
}

/// A blob that may go into a page. Ordered by arrival: by the hour, and within it by the place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    created: i64,
    seq: i64,
    size: i64,
    mailbox_index: usize,
}

impl Candidate {
    fn bytes(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }
}

/// What waits in the store.
#[derive(Debug)]
struct Waiting {
    sealed: bool,
    /// What fits a page.
    fitting: Candidates,
    /// What fits none, where such a blob may come alone.
    larger: Candidates,
    /// How many fit none, where they are left out.
    oversized: u64,
}

/// How much of [`Waiting`] there was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    fitting: usize,
    larger: usize,
    oversized: u64,
}

impl Waiting {
    fn new(sealed: bool) -> Self {
        Self { sealed, fitting: Candidates::default(), larger: Candidates::default(), oversized: 0 }
    }

    fn add(&mut self, candidate: Candidate) {
        if page::fits(candidate.bytes()) {
            self.fitting.list.push(candidate);
        } else if self.sealed {
            self.oversized += 1;
        } else {
            self.larger.list.push(candidate);
        }
    }

    const fn mark(&self) -> Mark {
        Mark { fitting: self.fitting.list.len(), larger: self.larger.list.len(), oversized: self.oversized }
    }

    fn go_back(&mut self, mark: Mark) {
        self.fitting.list.truncate(mark.fitting);
        self.larger.list.truncate(mark.larger);
        self.oversized = mark.oversized;
    }

    /// Drops what has no chance any more, when there is much of it.
    fn shorten(&mut self) {
        for candidates in [&mut self.fitting, &mut self.larger] {
            if candidates.list.len() > 16 * CANDIDATES {
                candidates.keep_oldest();
            }
        }
    }
}

#[derive(Debug, Default)]
struct Candidates {
    list: Vec<Candidate>,
    /// Whether some were dropped, to be found again for a later page.
    left_out: bool,
}

impl Candidates {
    /// Drops all but the oldest.
    fn keep_oldest(&mut self) {
        if self.list.len() > CANDIDATES {
            self.list.select_nth_unstable(CANDIDATES);
            self.list.truncate(CANDIDATES);
            self.left_out = true;
        }
    }

    /// The oldest, in order.
    fn in_order(mut self) -> (Vec<Candidate>, bool) {
        self.keep_oldest();
        self.list.sort_unstable();
        (self.list, self.left_out)
    }
}

fn read_page(
    sql: &Connection,
    waiting: Waiting,
    mailboxes: &[MailboxHash],
    fetched: &mut Fetched,
) -> Result<(), StoreError> {
    let statement =
        sql.prepare_cached("SELECT id, ciphertext, created, origin_hint FROM blobs WHERE seq = ?1")?;
    let mut rows = Rows { statement, mailboxes, damaged: 0 };
    let Waiting { sealed: _, fitting, larger, oversized } = waiting;
    let page = &mut fetched.page;
    page.oversized = oversized;
    let mut room = PageRoom::default();
    let (fitting, mut left_out) = fitting.in_order();
    for candidate in fitting {
        // With an origin hint in it, a blob of this size takes still more.
        if !room.has_room(candidate.bytes(), false) {
            left_out = true;
            continue;
        }
        let Some(blob) = rows.read(candidate)? else { continue };
        if room.take(blob.ciphertext.len(), blob.origin_hint.is_some()) {
            page.blobs.push(blob);
        } else {
            left_out = true;
        }
    }
    let (larger, more) = larger.in_order();
    left_out |= more;
    for candidate in larger {
        if page.blobs.is_empty() && page.larger.is_none() {
            // Read, to tell of none that is damaged: it would stand in the way of those behind it.
            page.larger = rows.read(candidate)?.map(|blob| named(&blob));
        } else {
            left_out = true;
        }
    }
    page.truncated |= left_out;
    fetched.damaged += rows.damaged;
    Ok(())
}

fn named(blob: &Blob) -> LargerBlob {
    let bytes = blob.ciphertext.len() as u64;
    LargerBlob { mailbox_index: blob.mailbox_index, place: blob.place, bytes }
}

fn find_larger(
    sql: &Connection,
    mailbox: &MailboxHash,
    place: u64,
    now: UnixSeconds,
) -> Result<Option<Blob>, StoreError> {
    let (seq, purged) = (count(place), blob_rows::reaches(sql, mailbox)?.unwrap_or(-1));
    let mut statement = sql.prepare_cached(
        "SELECT id, ciphertext, created, origin_hint FROM blobs
         WHERE seq = ?1 AND mailbox = ?2 AND seq >= ?3 AND (seq & ?4) > ?5",
    )?;
    let first_alive = Position::first_alive(now).sql();
    let mut rows = statement.query(params![seq, mailbox.as_bytes(), first_alive, ARRIVALS, purged])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(read_blob(row, mailbox, 0, seq))
}

/// Reads blobs.
struct Rows<'a> {
    statement: CachedStatement<'a>,
    mailboxes: &'a [MailboxHash],
    damaged: u64,
}

impl Rows<'_> {
    /// Reads a candidate, unless it has gone or is damaged.
    fn read(&mut self, candidate: Candidate) -> Result<Option<Blob>, StoreError> {
        let Candidate { seq, mailbox_index, .. } = candidate;
        let mut rows = self.statement.query([seq])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mailbox = self.mailboxes.get(mailbox_index);
        let blob = mailbox.and_then(|mailbox| read_blob(row, mailbox, mailbox_index, seq));
        self.damaged += u64::from(blob.is_none());
        Ok(blob)
    }
}

/// Reads a row, if its content still has the name it was stored under.
fn read_blob(row: &Row<'_>, mailbox: &MailboxHash, mailbox_index: usize, seq: i64) -> Option<Blob> {
    let blob_id = BlobId::try_from(row.get_ref(0).ok()?.as_blob().ok()?).ok()?;
    let content = row.get_ref(1).ok()?.as_blob().ok()?;
    if BlobId::derive(mailbox, content) != blob_id {
        return None;
    }
    let hint = row.get_ref(3).ok()?.as_blob_or_null().ok()?;
    let hint = hint.and_then(|bytes| OriginHint::try_from(Bytes::copy_from_slice(bytes)).ok());
    Some(Blob {
        mailbox_index: position(mailbox_index),
        blob_id: blob_id.into(),
        ciphertext: Ciphertext::try_from(Bytes::copy_from_slice(content)).ok()?.into(),
        created_at: time(row.get(2).ok()?).get(),
        origin_hint: hint.map(Bytes::from),
        place: seq.max(0).unsigned_abs(),
    })
}
