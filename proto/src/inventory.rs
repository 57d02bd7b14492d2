//! What one relay holds for another, so that both can find out whether they agree.

use crate::mail::BlobName;
use crate::{BlobId, PeerId, UnixSeconds};

/// A blob that a relay says it holds for the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBlob {
    /// Which.
    pub name: BlobName,
    /// Bytes of ciphertext and origin hint.
    pub size: u64,
    /// The hour it arrived in, at its origin.
    pub created_at: UnixSeconds,
    /// When it is over.
    pub expires_at: UnixSeconds,
}

/// Number and sum of some names, by which two relays see that they mean the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameSum {
    /// How many.
    pub count: u64,
    /// Exclusive or of their ids, which are hashes of mailbox and content.
    pub ids: [u8; BlobId::LENGTH],
}

impl NameSum {
    /// Adds a name.
    pub fn add(&mut self, id: &BlobId) {
        self.count += 1;
        for (sum, byte) in self.ids.iter_mut().zip(id.as_bytes()) {
            *sum ^= byte;
        }
    }
}

/// A part of what is held, in the order of mailboxes and ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Number and sum of all names of the part.
    pub sum: NameSum,
    /// The blobs, if they were asked for; at most [`crate::limits::MAX_LISTED_BLOBS`].
    pub blobs: Vec<HeldBlob>,
    /// The part ends with this name; without one it goes to the end of everything.
    pub until: Option<BlobName>,
}

/// Asks for a part of what is held for a peer.
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// For whom.
    pub peer: PeerId,
    /// The part begins behind this name; without one, with the first.
    pub after: Option<BlobName>,
    /// Whether the blobs are wanted, or only their number and sum.
    pub names: bool,
}

/// A part of what a peer holds, to be settled with what this relay knows.
#[derive(Debug, Clone)]
pub struct Reconcile {
    /// Who holds it.
    pub peer: PeerId,
    /// Where the part begins, as in [`List`].
    pub after: Option<BlobName>,
    /// Whether the blobs were asked for.
    pub names: bool,
    /// What the peer says.
    pub listing: Listing,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Whether the names of the part are needed: number and sum differ from what this relay knows.
    pub needs_names: bool,
    /// Blobs that can be fetched here from now on.
    pub claimed: u32,
    /// Blobs that are over here, and which the peer is told to forget.
    pub told: u32,
}
