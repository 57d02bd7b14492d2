//! The part of a page that lies with peers: brought back where that is possible in time, hinted at where it is not.

use super::HINT_PATIENCE;
use super::cut::Found;
use super::hints::ForwardingHints;
use crate::app::App;
use crate::peers::recall::RecallOutcome;
use bytes::Bytes;
use relay_proto::client::StorageClient;
use relay_proto::limits::MAX_HINTS;
use relay_proto::mail::BlobName;
use relay_proto::messages::{Blob, FetchReply, HintsRequest, MovedBlob};
use relay_proto::transfer::TransferBlob;
use relay_proto::{BlobId, MailboxHash, PeerId};
use std::collections::{HashMap, HashSet};
use tokio::time::Instant;

/// A moved blob by its full name.
type Moved = (BlobName, MovedBlob);

/// Finds all that belongs into a page of which storage knows a part, with hints for what does not come.
pub(super) async fn complete(
    app: &App,
    mailboxes: &[MailboxHash],
    page: FetchReply,
    deadline: Instant,
) -> (Found, Option<ForwardingHints>) {
    let (here, moved) = belonging(page, mailboxes);
    let asked = moved.iter().filter(|(_, moved)| moved.reachable);
    let wanted =
        asked.filter_map(|(name, moved)| Some((PeerId::try_from(&moved.peer[..]).ok()?, *name))).collect();
    let for_peers = deadline.checked_sub(HINT_PATIENCE).unwrap_or(deadline);
    let brought = app.recall.bring(wanted, for_peers, app.clock.now()).await;
    let (found, missing) = merge(here, moved, brought);
    let hints = if missing.is_empty() {
        None
    } else {
        // Blobs without hints are worth more than no reply.
        let request = HintsRequest { blobs: missing.into_iter().map(Into::into).collect() };
        let hints = |client: StorageClient, request| async move { client.mailbox().hints(request).await };
        let signed = app.storage.call(deadline, request, hints).await;
        signed.and_then(ForwardingHints::read).unwrap_or_default()
    };
    (found, hints)
}

/// Names what moved, and leaves out what does not belong into this page after all: what also lies here, as a crash
/// in the middle of a move allows, and what is younger than mail that storage left for a later page.
fn belonging(page: FetchReply, mailboxes: &[MailboxHash]) -> (Here, Vec<Moved>) {
    let FetchReply { blobs, truncated, moved, oversized, larger: _ } = page;
    let name = |index: u32, blob_id: &Bytes| {
        let mailbox = *mailboxes.get(usize::try_from(index).ok()?)?;
        Some(BlobName { mailbox, blob_id: BlobId::try_from(&blob_id[..]).ok()? })
    };
    let here: HashSet<_> = blobs.iter().filter_map(|blob| name(blob.mailbox_index, &blob.blob_id)).collect();
    // A blob that comes alone goes behind all that fits.
    let last = blobs.last().filter(|blob| truncated && blob.fits_page());
    let last = last.map(|blob| (blob.created_at, blob.place));
    let belongs = |moved: &MovedBlob| last.is_none_or(|last| (moved.created_at, moved.place) < last);
    let named = moved
        .into_iter()
        .filter(belongs)
        .filter_map(|moved| Some((name(moved.mailbox_index, &moved.blob_id)?, moved)))
        .filter(|(name, _)| !here.contains(name))
        .collect();
    (Here { blobs, truncated, oversized }, named)
}

/// What lies here.
struct Here {
    blobs: Vec<Blob>,
    truncated: bool,
    oversized: u64,
}

/// Merges what came with what is here, ordered by arrival. Where and when a blob arrived is this relay's own word, not
/// the peer's. Returns also what did not come, oldest first, as far as it may be hinted at.
fn merge(here: Here, moved: Vec<Moved>, brought: RecallOutcome) -> (Found, Vec<BlobName>) {
    let Here { mut blobs, mut truncated, oversized } = here;
    let (can_be_asked, came, lost) = match brought {
        RecallOutcome::Came { blobs, lost } => (true, blobs, lost),
        RecallOutcome::Nothing => (false, Vec::new(), HashSet::new()),
    };
    let mut came: HashMap<BlobName, TransferBlob> =
        came.into_iter().map(|blob| (blob.name(), blob)).collect();
    let mut missing = Vec::new();
    for (name, moved) in moved {
        let MovedBlob { mailbox_index, blob_id, created_at, place, reachable, peer: _ } = moved;
        match came.remove(&name) {
            Some(TransferBlob { ciphertext, origin_hint, .. }) => {
                let (ciphertext, origin_hint) = (ciphertext.into(), origin_hint.map(Bytes::from));
                blobs.push(Blob { mailbox_index, blob_id, ciphertext, created_at, origin_hint, place });
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
    (Found { blobs, truncated, oversized, is_clearer: !lost.is_empty() }, missing)
}

#[cfg(test)]
mod tests;
