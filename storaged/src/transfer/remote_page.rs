//! What belongs into a page of mail and lies at peers.

use crate::db::{ARRIVALS, StoreError, time};
use bytes::Bytes;
use relay_proto::field::position;
use relay_proto::limits::{MAX_HINTS, MAX_MOVED_BLOBS};
use relay_proto::messages::MovedBlob;
use relay_proto::page::{self, PageRoom};
use relay_proto::{BlobId, MailboxHash, PeerId};
use rusqlite::{Connection, params};

/// Most blobs of a page that peers can be asked for.
const MAX_ASKED: usize = MAX_MOVED_BLOBS - MAX_HINTS;

/// Candidates that are collected before all but the oldest are dropped.
const COLLECTED: usize = 64 * MAX_MOVED_BLOBS;

/// What may belong into a page. Ordered by arrival, behind all hints what peers merely claim to hold, so that no claim takes
/// the place of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RemoteCandidate {
    claimed: bool,
    created: i64,
    seq: i64,
    size: i64,
    mailbox_index: usize,
    id: [u8; BlobId::LENGTH],
    peer: [u8; PeerId::LENGTH],
}

impl RemoteCandidate {
    fn bytes(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }
}

/// Collects what lies at peers, mailbox by mailbox.
#[derive(Debug)]
pub(crate) struct Moved {
    /// Peers that can be asked.
    reachable: Vec<PeerId>,
    sealed: bool,
    /// What peers can be asked for and fits a page.
    asked: Vec<RemoteCandidate>,
    /// What they can be asked for and fits none, where such a blob may come alone.
    larger: Vec<RemoteCandidate>,
    hinted: Vec<RemoteCandidate>,
    /// How many fit none, where they are left out.
    oversized: u64,
    left_out: bool,
}

impl Moved {
    /// Begins; these peers can be asked.
    pub(crate) const fn begin(sealed: bool, reachable: Vec<PeerId>) -> Self {
        Self {
            reachable,
            sealed,
            asked: Vec::new(),
            larger: Vec::new(),
            hinted: Vec::new(),
            oversized: 0,
            left_out: false,
        }
    }

    /// Collects those of a mailbox that are alive and arrived after what a purge deletes. Answers what [`Moved::undo`] needs.
    pub(crate) fn collect(
        &mut self,
        sql: &Connection,
        mailbox: &MailboxHash,
        mailbox_index: usize,
        (first_alive, purged): (i64, i64),
    ) -> Result<Collected, StoreError> {
        let before = self.mark();
        let mut statement = sql.prepare_cached(
            "SELECT created, seq, size, id, peer, FALSE FROM hints
             WHERE mailbox = ?1 AND seq >= ?2 AND (seq & ?3) > ?4
             UNION ALL
             SELECT created, seq, size, id, peer, TRUE FROM claims
             WHERE mailbox = ?1 AND seq >= ?2 AND (seq & ?3) > ?4
                 AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.mailbox = ?1 AND blobs.id = claims.id)",
        )?;
        let mut rows = statement.query(params![mailbox.as_bytes(), first_alive, ARRIVALS, purged])?;
        while let Some(row) = rows.next()? {
            let candidate = RemoteCandidate {
                created: row.get(0)?,
                seq: row.get(1)?,
                size: row.get(2)?,
                mailbox_index,
                id: row.get(3)?,
                peer: row.get(4)?,
                claimed: row.get(5)?,
            };
            self.add(candidate);
        }
        Ok(Collected { any: self.mark() != before, ..before })
    }

    fn add(&mut self, candidate: RemoteCandidate) {
        let fits = page::fits(candidate.bytes());
        if !fits && self.sealed {
            self.oversized += 1;
            return;
        }
        let can_be_asked = self.reachable.iter().any(|peer| *peer.as_bytes() == candidate.peer);
        let list = match (can_be_asked, fits) {
            (true, true) => &mut self.asked,
            (true, false) => &mut self.larger,
            (false, _) => &mut self.hinted,
        };
        list.push(candidate);
    }

    const fn mark(&self) -> Collected {
        Collected {
            asked: self.asked.len(),
            larger: self.larger.len(),
            hinted: self.hinted.len(),
            oversized: self.oversized,
            any: false,
        }
    }

    /// Takes back what was collected last.
    pub(crate) fn undo(&mut self, collected: &Collected) {
        self.asked.truncate(collected.asked);
        self.larger.truncate(collected.larger);
        self.oversized = collected.oversized;
        self.hinted.truncate(collected.hinted);
    }

    /// Drops what has no chance any more, when there is much of it.
    pub(crate) fn shorten(&mut self) {
        if self.asked.len() > COLLECTED {
            self.left_out = true;
            keep_oldest(&mut self.asked, MAX_ASKED);
        }
        if self.larger.len() > COLLECTED {
            self.left_out = true;
            keep_oldest(&mut self.larger, 1);
        }
        if self.hinted.len() > COLLECTED {
            keep_oldest(&mut self.hinted, MAX_HINTS);
        }
    }

    /// What belongs into a page, oldest first: of what can be asked for as much as a page holds, and of the rest as
    /// many as there may be hints. A larger blob is asked for when nothing waits that fits, which for what lies here
    /// `is_any_small` says. Answers besides whether something that can be asked for was left out, and how many blobs
    /// fit no page where that leaves them out.
    pub(crate) fn choose(mut self, is_any_small: bool) -> (Vec<MovedBlob>, bool, u64) {
        let all = self.asked.len() + self.larger.len();
        keep_oldest(&mut self.asked, MAX_ASKED);
        keep_oldest(&mut self.hinted, MAX_HINTS);
        let mut room = PageRoom::default();
        self.asked.retain(|candidate| room.take(candidate.bytes(), false));
        if self.asked.is_empty() && !is_any_small {
            keep_oldest(&mut self.larger, 1);
            self.asked = self.larger;
        }
        let left_out = self.left_out || self.asked.len() < all;
        let asked = self.asked.into_iter().map(|candidate| (candidate, true));
        let hinted = self.hinted.into_iter().map(|candidate| (candidate, false));
        let mut chosen: Vec<_> = asked.chain(hinted).collect();
        chosen.sort_unstable_by_key(|(candidate, _)| (candidate.created, candidate.seq));
        (chosen.into_iter().map(moved_blob).collect(), left_out, self.oversized)
    }
}

/// What was there before a mailbox was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Collected {
    asked: usize,
    larger: usize,
    hinted: usize,
    oversized: u64,
    /// Whether something was found.
    pub(crate) any: bool,
}

fn keep_oldest(candidates: &mut Vec<RemoteCandidate>, most: usize) {
    candidates.sort_unstable();
    candidates.truncate(most);
}

fn moved_blob((candidate, reachable): (RemoteCandidate, bool)) -> MovedBlob {
    MovedBlob {
        mailbox_index: position(candidate.mailbox_index),
        blob_id: Bytes::copy_from_slice(&candidate.id),
        created_at: time(candidate.created).get(),
        place: candidate.seq.max(0).unsigned_abs(),
        peer: Bytes::copy_from_slice(&candidate.peer),
        reachable,
    }
}
