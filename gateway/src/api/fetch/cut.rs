//! Where a page ends: what goes into a reply of what was found, here and with peers.

use super::Page;
use super::hints::ForwardingHints;
use relay_proto::messages::{Blob, FetchReply};
use relay_proto::page::{BUDGET, PageRoom, wire_size};

/// What was found for a page, in the order of arrival.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) blobs: Vec<Blob>,
    /// Whether asking again, after these are acked, brings more.
    pub(super) truncated: bool,
    /// How many blobs storage left out because they fit no sealed reply.
    pub(super) oversized: u64,
    /// Whether something is lost, and so out of the way of what is behind it.
    pub(super) is_clearer: bool,
}

impl Found {
    /// Of a page that lies here, all of it.
    pub(super) fn here(page: FetchReply) -> Self {
        let FetchReply { blobs, truncated, oversized, moved: _, larger: _ } = page;
        Self { blobs, truncated, oversized, is_clearer: false }
    }
}

/// Ends the page where storage would have ended it, with room for the hints. They wait for the next page where they
/// would take the room of the first blob. A blob that fits no page is left out of a sealed one and counted; a direct
/// one holds it alone, when nothing else is to go first.
pub(super) fn cut(found: Found, mut hints: Option<ForwardingHints>, sealed: bool) -> Page {
    let Found { blobs, mut truncated, mut oversized, is_clearer } = found;
    let (mut blobs, mut larger): (Vec<_>, Vec<_>) = blobs.into_iter().partition(Blob::fits_page);
    if sealed {
        oversized += larger.len() as u64;
        larger.clear();
    }
    let size = |blob: &Blob| (blob.ciphertext.len(), blob.origin_hint.is_some());
    let first = blobs.first().or(larger.first()).map(size);
    let first = first.map_or(0, |(ciphertext, has_hint)| wire_size(ciphertext, has_hint));
    if hints.as_ref().is_some_and(|hints| first + hints.wire_size() > BUDGET) {
        hints = None;
        truncated = true;
    }
    let found = blobs.len() + larger.len();
    let mut room = PageRoom::besides(hints.as_ref().map_or(0, ForwardingHints::wire_size));
    blobs.retain(|blob| {
        let (ciphertext, has_hint) = size(blob);
        room.take(ciphertext, has_hint)
    });
    if blobs.is_empty() {
        larger.truncate(1);
        blobs = larger;
    }
    truncated |= blobs.len() < found;
    // A client acks a page and asks for the next one at once. With nothing to ack it would ask for ever, and each time
    // wait for the same peer; it had better come again when it comes anyway. What is lost is asked for once only.
    truncated &= !blobs.is_empty() || is_clearer;
    Page { blobs, truncated, oversized, hints }
}

#[cfg(test)]
pub(super) mod tests;
