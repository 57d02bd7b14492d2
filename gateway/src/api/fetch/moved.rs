//! The part of a page that lies with peers: brought back where that is possible in time, hinted at where it is not.

use super::hints::ForwardingHints;
use super::{HINT_PATIENCE, Page};
use crate::app::App;
use crate::recall::Brought;
use relay_proto::MailboxHash;
use relay_proto::federation::{CarriedBlob, Wanted};
use relay_proto::limits::MAX_HINTS;
use relay_proto::mail::{BlobName, MailPage, MovedBlob, StoredBlob};
use relay_proto::page::{BUDGET, PageRoom, wire_size};
use std::collections::{HashMap, HashSet};
use tokio::time::Instant;

/// A moved blob by its full name.
type Moved = (BlobName, MovedBlob);

/// Makes a whole page of what storage knows of one.
pub(super) async fn complete(
    app: &App,
    mailboxes: &[MailboxHash],
    page: MailPage,
    deadline: Instant,
) -> Page {
    let (here, moved) = belonging(page, mailboxes);
    let asked = moved.iter().filter(|(_, moved)| moved.reachable);
    let wanted = asked.map(|(name, moved)| Wanted { peer: moved.peer, name: *name }).collect();
    let for_peers = deadline.checked_sub(HINT_PATIENCE).unwrap_or(deadline);
    let brought = app.recall.bring(wanted, for_peers, app.clock.now()).await;
    let merged = merge(here, moved, brought);
    let hints = if merged.missing.is_empty() {
        None
    } else {
        // Blobs without hints are worth more than no answer.
        app.storage.hints(merged.missing.clone(), deadline).await.ok().and_then(ForwardingHints::of)
    };
    cut(merged, hints)
}

/// Names what moved, and leaves out what does not belong into this page after all: what also lies here, as a crash
/// in the middle of a move allows, and what is younger than mail that storage left for a later page.
fn belonging(page: MailPage, mailboxes: &[MailboxHash]) -> (Here, Vec<Moved>) {
    let MailPage { blobs, truncated, moved } = page;
    let name =
        |index: usize, blob_id| mailboxes.get(index).map(|mailbox| BlobName { mailbox: *mailbox, blob_id });
    let here: HashSet<_> = blobs.iter().filter_map(|blob| name(blob.mailbox_index, blob.blob_id)).collect();
    let last = blobs.last().filter(|_| truncated).map(|blob| (blob.created_at, blob.place));
    let belongs = |moved: &MovedBlob| last.is_none_or(|last| (moved.created_at, moved.place) < last);
    let named = moved
        .into_iter()
        .filter(belongs)
        .filter_map(|moved| Some((name(moved.mailbox_index, moved.blob_id)?, moved)))
        .filter(|(name, _)| !here.contains(name))
        .collect();
    (Here { blobs, truncated }, named)
}

/// What lies here.
struct Here {
    blobs: Vec<StoredBlob>,
    truncated: bool,
}

/// What is here and what came, in the order of arrival.
struct Merged {
    blobs: Vec<StoredBlob>,
    /// Whether asking again, after these are acked, brings more.
    truncated: bool,
    /// What did not come, oldest first, as far as it may be hinted at.
    missing: Vec<BlobName>,
    /// Whether some of it is lost, and so out of the way of what is behind it.
    is_clearer: bool,
}

/// Puts what came between what is here. Where and when a blob arrived is this relay's own word, not the peer's.
fn merge(here: Here, moved: Vec<Moved>, brought: Brought) -> Merged {
    let Here { mut blobs, mut truncated } = here;
    let (can_be_asked, came, lost) = match brought {
        Brought::Came { blobs, lost } => (true, blobs, lost),
        Brought::Nothing => (false, Vec::new(), HashSet::new()),
    };
    let mut came: HashMap<BlobName, CarriedBlob> = came.into_iter().map(|blob| (blob.name(), blob)).collect();
    let mut missing = Vec::new();
    for (name, moved) in moved {
        let MovedBlob { mailbox_index, blob_id, created_at, place, reachable, peer: _ } = moved;
        match came.remove(&name) {
            Some(CarriedBlob { ciphertext, origin_hint, .. }) => {
                blobs.push(StoredBlob { mailbox_index, blob_id, ciphertext, created_at, origin_hint, place });
            }
            None if lost.contains(&name) => truncated = true,
            None => {
                truncated |= reachable && can_be_asked;
                missing.push(name);
            }
        }
    }
    missing.truncate(MAX_HINTS);
    blobs.sort_by_key(|blob| (blob.created_at, blob.place));
    Merged { blobs, truncated, missing, is_clearer: !lost.is_empty() }
}

/// Ends the page where storage would have ended it, with room for the hints. They wait for the next page where they
/// would take the room of the first blob.
fn cut(merged: Merged, mut hints: Option<ForwardingHints>) -> Page {
    let Merged { mut blobs, mut truncated, missing: _, is_clearer } = merged;
    let size = |blob: &StoredBlob| (blob.ciphertext.as_bytes().len(), blob.origin_hint.is_some());
    let first = blobs.first().map(size).map_or(0, |(ciphertext, has_hint)| wire_size(ciphertext, has_hint));
    if hints.as_ref().is_some_and(|hints| first + hints.wire_size() > BUDGET) {
        hints = None;
        truncated = true;
    }
    let mut room = PageRoom::besides(hints.as_ref().map_or(0, ForwardingHints::wire_size));
    let fits = |blob: &&StoredBlob| {
        let (ciphertext, has_hint) = size(blob);
        room.take(ciphertext, has_hint)
    };
    let kept = blobs.iter().take_while(fits).count();
    truncated |= kept < blobs.len();
    blobs.truncate(kept);
    // A client acks a page and asks for the next one at once. With nothing to ack it would ask for ever, and each time
    // wait for the same peer; it had better come again when it comes anyway. What is lost is asked for once only.
    truncated &= !blobs.is_empty() || is_clearer;
    Page { blobs, truncated, hints }
}

#[cfg(test)]
mod tests;
