//! What belongs into a page of mail and lies at peers.

use super::error::StoreError;
use super::hints;
use super::sql::time;
use relay_proto::limits::{MAX_HINTS, MAX_MOVED_BLOBS};
use relay_proto::mail::MovedBlob;
use relay_proto::page::{self, wire_size};
use relay_proto::{BlobId, MailboxHash, PeerId};
use rusqlite::{Connection, params};

/// Most blobs of a page that peers can be asked for.
const MAX_ASKED: usize = MAX_MOVED_BLOBS - MAX_HINTS;

/// Candidates that are collected before all but the oldest are dropped.
const COLLECTED: usize = 64 * MAX_MOVED_BLOBS;

/// A hint that may belong into a page. Ordered by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    created: i64,
    seq: i64,
    size: i64,
    mailbox_index: usize,
    id: [u8; BlobId::LENGTH],
    peer: [u8; PeerId::LENGTH],
}

/// Collects what lies at peers, mailbox by mailbox.
#[derive(Debug)]
pub(super) struct Moved {
    /// Peers that can be asked.
    reachable: Vec<PeerId>,
    asked: Vec<Candidate>,
    hinted: Vec<Candidate>,
    left_out: bool,
}

impl Moved {
    /// Begins, if anything lies at peers at the moment that the reader sees. `reachable` tells which peers can be
    /// asked.
    pub(super) fn begin(
        sql: &Connection,
        reachable: impl FnOnce() -> Vec<PeerId>,
    ) -> Result<Option<Self>, StoreError> {
        Ok(hints::any(sql)?.then(|| Self {
            reachable: reachable(),
            asked: Vec::new(),
            hinted: Vec::new(),
            left_out: false,
        }))
    }

    /// Collects those of a mailbox. Answers what [`Moved::undo`] needs.
    pub(super) fn collect(
        &mut self,
        sql: &Connection,
        mailbox: &MailboxHash,
        mailbox_index: usize,
        first_alive: i64,
    ) -> Result<Collected, StoreError> {
        let before = Collected { asked: self.asked.len(), hinted: self.hinted.len(), any: false };
        let mut statement = sql.prepare_cached(
            "SELECT created, seq, size, id, peer FROM hints WHERE mailbox = ?1 AND seq >= ?2",
        )?;
        let mut rows = statement.query(params![mailbox.as_bytes(), first_alive])?;
        while let Some(row) = rows.next()? {
            let candidate = Candidate {
                created: row.get(0)?,
                seq: row.get(1)?,
                size: row.get(2)?,
                mailbox_index,
                id: row.get(3)?,
                peer: row.get(4)?,
            };
            let can_be_asked = self.reachable.iter().any(|peer| *peer.as_bytes() == candidate.peer);
            if can_be_asked { &mut self.asked } else { &mut self.hinted }.push(candidate);
        }
        Ok(Collected { any: self.asked.len() + self.hinted.len() > before.asked + before.hinted, ..before })
    }

    /// Takes back what was collected last.
    pub(super) fn undo(&mut self, collected: &Collected) {
        self.asked.truncate(collected.asked);
        self.hinted.truncate(collected.hinted);
    }

    /// Drops what has no chance any more, when there is much of it.
    pub(super) fn shorten(&mut self) {
        if self.asked.len() > COLLECTED {
            self.left_out = true;
            keep_oldest(&mut self.asked, MAX_ASKED);
        }
        if self.hinted.len() > COLLECTED {
            keep_oldest(&mut self.hinted, MAX_HINTS);
        }
    }

    /// What belongs into a page, oldest first: of what can be asked for as much as a page holds, and of the rest as
    /// many as there may be hints. Answers besides whether something that can be asked for was left out.
    pub(super) fn choose(mut self) -> (Vec<MovedBlob>, bool) {
        let all = self.asked.len();
        keep_oldest(&mut self.asked, MAX_ASKED);
        keep_oldest(&mut self.hinted, MAX_HINTS);
        let mut bytes = 0;
        let fitting = self.asked.iter().take_while(|candidate| {
            bytes += wire_size(usize::try_from(candidate.size).unwrap_or(usize::MAX), false);
            bytes <= page::BUDGET
        });
        // A single larger one comes alone.
        let fitting = fitting.count().max(1).min(self.asked.len());
        self.asked.truncate(fitting);
        let left_out = self.left_out || fitting < all;
        let asked = self.asked.into_iter().map(|candidate| (candidate, true));
        let hinted = self.hinted.into_iter().map(|candidate| (candidate, false));
        let mut chosen: Vec<_> = asked.chain(hinted).collect();
        chosen.sort_unstable();
        (chosen.into_iter().map(moved_blob).collect(), left_out)
    }
}

/// What was there before a mailbox was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collected {
    asked: usize,
    hinted: usize,
    /// Whether something was found.
    pub(super) any: bool,
}

fn keep_oldest(candidates: &mut Vec<Candidate>, most: usize) {
    candidates.sort_unstable();
    candidates.truncate(most);
}

fn moved_blob((candidate, reachable): (Candidate, bool)) -> MovedBlob {
    MovedBlob {
        mailbox_index: candidate.mailbox_index,
        blob_id: BlobId::from_bytes(candidate.id),
        created_at: time(candidate.created),
        place: candidate.seq.max(0).unsigned_abs(),
        peer: PeerId::from_bytes(candidate.peer),
        reachable,
    }
}
