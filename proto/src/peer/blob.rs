//! Blobs, their names, and lists of them, as relays say them to one another.

use crate::StorageError;
use crate::field::list;
use crate::limits::{MAX_CARRIED_BLOBS, MAX_LISTED_BLOBS};
use crate::mail::BlobName;
use crate::messages::{self, Listing};
use crate::peer_messages::{self, InventoryAck};
use crate::transfer::{NameSum, TransferBlob};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// A blob as it is offered: with the checks of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedBlob {
    /// The blob.
    pub blob: TransferBlob,
    /// SHA-256 of the ciphertext, as its sender computed it.
    pub content_hash: [u8; 32],
    /// How often it has moved, this time included.
    pub hops: Hops,
}

impl OfferedBlob {
    /// Offers a blob.
    pub fn new(blob: TransferBlob, hops: Hops) -> Self {
        let content_hash = Sha256::digest(blob.ciphertext.as_bytes()).into();
        Self { blob, content_hash, hops }
    }

    /// Returns the blob, if it arrived whole and is what it is named after.
    pub fn checked(self) -> Option<TransferBlob> {
        let found: [u8; 32] = Sha256::digest(self.blob.ciphertext.as_bytes()).into();
        (found == self.content_hash && self.blob.is_sound()).then_some(self.blob)
    }
}

/// How often a blob has moved between relays. It moves once, so that it is always where its origin says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hops(u32);

impl Hops {
    /// Most moves.
    pub const LIMIT: u32 = 1;

    /// At its origin.
    pub const fn origin() -> Self {
        Self(0)
    }

    /// One move more, where one is allowed.
    pub const fn next(self) -> Option<Self> {
        if self.0 < Self::LIMIT { Some(Self(self.0 + 1)) } else { None }
    }

    /// What a peer says.
    pub const fn said(hops: u32) -> Self {
        Self(hops)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether a blob may have moved that often.
    pub const fn is_allowed(self) -> bool {
        self.0 <= Self::LIMIT
    }
}

/// A blob has the same fields between relays as between the processes of one, and two more.
impl From<OfferedBlob> for peer_messages::Blob {
    fn from(offered: OfferedBlob) -> Self {
        let OfferedBlob { blob, content_hash, hops } = offered;
        let messages::CarriedBlob {
            mailbox,
            blob_id,
            ciphertext,
            origin_hint,
            created_at,
            expires_at,
            owner,
        } = blob.into();
        let (content_hash, hop_count) = (Bytes::copy_from_slice(&content_hash), hops.get());
        Self {
            mailbox,
            blob_id,
            ciphertext,
            origin_hint,
            created_at,
            expires_at,
            owner,
            content_hash,
            hop_count,
        }
    }
}

impl TryFrom<peer_messages::Blob> for OfferedBlob {
    type Error = StorageError;

    fn try_from(message: peer_messages::Blob) -> Result<Self, StorageError> {
        let peer_messages::Blob {
            mailbox,
            blob_id,
            ciphertext,
            origin_hint,
            created_at,
            expires_at,
            owner,
            content_hash,
            hop_count,
        } = message;
        let blob = messages::CarriedBlob {
            mailbox,
            blob_id,
            ciphertext,
            origin_hint,
            created_at,
            expires_at,
            owner,
        };
        let content_hash =
            content_hash.as_ref().try_into().map_err(|_| StorageError::invalid("content_hash"))?;
        Ok(Self { blob: blob.try_into()?, content_hash, hops: Hops::said(hop_count) })
    }
}

/// Reads the blobs of one message.
///
/// # Errors
/// [`StorageError::Invalid`] for more than [`MAX_CARRIED_BLOBS`], or for one with a field that is wrong.
pub fn offered_blobs(blobs: Vec<peer_messages::Blob>) -> Result<Vec<OfferedBlob>, StorageError> {
    list("blobs", blobs, MAX_CARRIED_BLOBS)
}

/// Reads the names of one message.
///
/// # Errors
/// [`StorageError::Invalid`] for more than [`MAX_CARRIED_BLOBS`], or for one that is wrong.
pub fn names(names: Vec<peer_messages::BlobName>) -> Result<Vec<BlobName>, StorageError> {
    list("names", names, MAX_CARRIED_BLOBS)
}

/// Writes names.
#[must_use]
pub fn write_names(names: Vec<BlobName>) -> Vec<peer_messages::BlobName> {
    names.into_iter().map(peer_messages::BlobName::from).collect()
}

/// Reads a part of what a peer holds, for storage to settle; `None` if the peer did not look.
///
/// # Errors
/// [`StorageError::Invalid`] for more than [`MAX_LISTED_BLOBS`], or for a field that is wrong.
pub fn listing(message: InventoryAck) -> Result<Option<Listing>, StorageError> {
    let InventoryAck { looked, count, ids, blobs, until } = message;
    if !looked {
        return Ok(None);
    }
    if blobs.len() > MAX_LISTED_BLOBS {
        return Err(StorageError::invalid("blobs"));
    }
    NameSum::read(count, &ids)?;
    let checked = |name: peer_messages::BlobName| BlobName::try_from(name).map(messages::BlobName::from);
    let read = |blob: peer_messages::HeldBlob| {
        let peer_messages::HeldBlob { mailbox, blob_id, size, created_at, expires_at } = blob;
        let name = Some(checked(peer_messages::BlobName { mailbox, blob_id })?);
        Ok(messages::HeldBlob { name, size, created_at, expires_at })
    };
    let blobs = blobs.into_iter().map(read).collect::<Result<_, StorageError>>()?;
    Ok(Some(Listing { count, ids, blobs, until: until.map(checked).transpose()? }))
}

/// Writes a part of what is held for a peer. `None`, and a part that storage did not list whole, say that nobody looked.
#[must_use]
pub fn write_listing(listing: Option<Listing>) -> InventoryAck {
    let Some(Listing { count, ids, blobs, until }) = listing else { return InventoryAck::default() };
    let write = |blob: messages::HeldBlob| {
        let messages::HeldBlob { name, size, created_at, expires_at } = blob;
        let messages::BlobName { mailbox, blob_id } = name.unwrap_or_default();
        peer_messages::HeldBlob { mailbox, blob_id, size, created_at, expires_at }
    };
    let blobs = blobs.into_iter().map(write).collect();
    let until =
        until.map(|messages::BlobName { mailbox, blob_id }| peer_messages::BlobName { mailbox, blob_id });
    let written = InventoryAck { looked: true, count, ids, blobs, until };
    // The peer would end the connection.
    if self::listing(written.clone()).is_ok() { written } else { InventoryAck::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlobId, Ciphertext, MailboxHash, OriginHint, OwnerHash, UnixSeconds};

    fn offered(content: &'static [u8]) -> OfferedBlob {
        let mailbox = MailboxHash::from_bytes([1; 32]);
        let blob = TransferBlob {
            mailbox,
            blob_id: BlobId::derive(&mailbox, content),
            ciphertext: Ciphertext::try_from(Bytes::from_static(content)).unwrap(),
            origin_hint: Some(OriginHint::try_from(Bytes::from(vec![3; 74])).unwrap()),
            created_at: UnixSeconds::new(3600),
            expires_at: UnixSeconds::new(7200),
            owner: Some(OwnerHash::from_bytes([4; 32])),
        };
        OfferedBlob::new(blob, Hops::origin().next().unwrap())
    }

    fn part(blobs: usize) -> Listing {
        let name = offered(b"one").blob.name();
        let mut sum = NameSum::default();
        sum.add(&name.blob_id);
        let held =
            messages::HeldBlob { name: Some(name.into()), size: 3, created_at: 3600, expires_at: 7200 };
        Listing { count: 1, ids: sum.ids(), blobs: vec![held; blobs], until: Some(name.into()) }
    }

    #[test]
    fn blobs_names_and_lists_survive_the_wire() {
        assert_eq!(OfferedBlob::try_from(peer_messages::Blob::from(offered(b"one"))), Ok(offered(b"one")));
        let two = vec![offered(b"one").blob.name(), offered(b"two").blob.name()];
        assert_eq!(names(write_names(two.clone())), Ok(two));
        for listed in [None, Some(part(0)), Some(part(2))] {
            assert_eq!(listing(write_listing(listed.clone())), Ok(listed));
        }
    }

    #[test]
    fn lists_are_bounded_and_whole() {
        let name = offered(b"one").blob.name();
        for (count, good) in [(MAX_CARRIED_BLOBS, true), (MAX_CARRIED_BLOBS + 1, false)] {
            assert_eq!(names(write_names(vec![name; count])).is_ok(), good);
            assert_eq!(offered_blobs(vec![offered(b"one").into(); count]).is_ok(), good);
        }
        for (count, good) in [(MAX_LISTED_BLOBS, true), (MAX_LISTED_BLOBS + 1, false)] {
            let one = write_listing(Some(part(1)));
            let many = InventoryAck { blobs: vec![one.blobs[0].clone(); count], ..one };
            assert_eq!(listing(many).is_ok(), good);
            let passed_on = write_listing(Some(part(count)));
            assert_eq!(passed_on.looked, good, "what would end the connection is not passed on");
        }
        let short = InventoryAck { ids: Bytes::from_static(&[1; 15]), ..write_listing(Some(part(1))) };
        assert_eq!(listing(short), Err(StorageError::invalid("ids")));
        let mut nameless = write_listing(Some(part(1)));
        nameless.blobs[0].mailbox = Bytes::new();
        assert_eq!(listing(nameless), Err(StorageError::invalid("mailbox")));
        let mut nameless = part(1);
        nameless.blobs[0].name = None;
        assert!(!write_listing(Some(nameless)).looked);
    }

    #[test]
    fn a_blob_that_changed_on_the_way_is_noticed() {
        assert!(offered(b"one").checked().is_some());
        let mut bent = offered(b"one");
        bent.content_hash[0] ^= 1;
        assert!(bent.checked().is_none());
        let mut renamed = offered(b"one");
        renamed.blob.blob_id = offered(b"two").blob.blob_id;
        assert!(renamed.checked().is_none());
    }

    #[test]
    fn a_blob_moves_once() {
        let once = Hops::origin().next().unwrap();
        assert_eq!((once.get(), once.next()), (1, None));
        assert!(once.is_allowed() && !Hops::said(2).is_allowed());
    }
}
