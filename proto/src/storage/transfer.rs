//! Mail that moves between relays: what the messages about it are read into, those between the processes of a relay and
//! those between relays.

use crate::field::{enumerated, identifier, list, sealed};
use crate::limits::MAX_CARRIED_BLOBS;
use crate::mail::BlobName;
use crate::{
    BlobId, Ciphertext, MailboxHash, OriginHint, OwnerHash, PeerId, StorageError, UnixSeconds, messages,
};
use bytes::Bytes;

/// Where blobs move to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From their origin to a relay that holds them.
    ToHolder,
    /// Back to their origin.
    ToOrigin,
}

impl Direction {
    /// Reads the field `home` of a message.
    #[must_use]
    pub const fn from_home(home: bool) -> Self {
        if home { Self::ToOrigin } else { Self::ToHolder }
    }

    /// Writes that field.
    #[must_use]
    pub const fn is_home(self) -> bool {
        matches!(self, Self::ToOrigin)
    }
}

/// A blob on its way between relays: everything about it that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferBlob {
    /// Its mailbox, at every relay.
    pub mailbox: MailboxHash,
    /// Its name, at every relay.
    pub blob_id: BlobId,
    /// Its content.
    pub ciphertext: Ciphertext,
    /// The sender's sealed note, if there was one.
    pub origin_hint: Option<OriginHint>,
    /// The hour it arrived in, at its origin.
    pub created_at: UnixSeconds,
    /// When it expires.
    pub expires_at: UnixSeconds,
    /// Who may purge it besides whoever holds the mailbox's own key.
    pub owner: Option<OwnerHash>,
}

impl TransferBlob {
    /// Returns its name.
    pub const fn name(&self) -> BlobName {
        BlobName { mailbox: self.mailbox, blob_id: self.blob_id }
    }

    /// Whether it has the content that it is named after.
    pub fn is_sound(&self) -> bool {
        BlobId::derive(&self.mailbox, self.ciphertext.as_bytes()) == self.blob_id
    }
}

impl TryFrom<messages::CarriedBlob> for TransferBlob {
    type Error = StorageError;

    fn try_from(message: messages::CarriedBlob) -> Result<Self, StorageError> {
        let messages::CarriedBlob {
            mailbox,
            blob_id,
            ciphertext,
            origin_hint,
            created_at,
            expires_at,
            owner,
        } = message;
        Ok(Self {
            mailbox: identifier("mailbox", &mailbox)?,
            blob_id: identifier("blob_id", &blob_id)?,
            ciphertext: sealed("ciphertext", ciphertext)?,
            origin_hint: origin_hint.map(|hint| sealed("origin_hint", hint)).transpose()?,
            created_at: UnixSeconds::new(created_at),
            expires_at: UnixSeconds::new(expires_at),
            owner: owner.map(|owner| identifier("owner", &owner)).transpose()?,
        })
    }
}

impl From<TransferBlob> for messages::CarriedBlob {
    fn from(blob: TransferBlob) -> Self {
        let TransferBlob { mailbox, blob_id, ciphertext, origin_hint, created_at, expires_at, owner } = blob;
        Self {
            mailbox: mailbox.into(),
            blob_id: blob_id.into(),
            ciphertext: ciphertext.into(),
            origin_hint: origin_hint.map(Bytes::from),
            created_at: created_at.get(),
            expires_at: expires_at.get(),
            owner: owner.map(Bytes::from),
        }
    }
}

/// Reads the blobs of one message.
///
/// # Errors
/// [`StorageError::Invalid`] for more than [`MAX_CARRIED_BLOBS`], or for one with a field that is wrong.
pub fn carried_blobs(blobs: Vec<messages::CarriedBlob>) -> Result<Vec<TransferBlob>, StorageError> {
    list("blobs", blobs, MAX_CARRIED_BLOBS)
}

/// Reads the names of one message.
///
/// # Errors
/// [`StorageError::Invalid`] for more than [`MAX_CARRIED_BLOBS`], or for one that is wrong.
pub fn blob_names(names: Vec<messages::BlobName>) -> Result<Vec<BlobName>, StorageError> {
    list("names", names, MAX_CARRIED_BLOBS)
}

/// Writes a message about some blobs of a peer.
#[must_use]
pub fn names_of(peer: PeerId, names: Vec<BlobName>) -> messages::BlobNames {
    let names = names.into_iter().map(messages::BlobName::from).collect();
    messages::BlobNames { peer: peer.into(), names }
}

/// What becomes of a blob that was offered to a relay. Both protocols have the same numbers for it.
pub use messages::OfferResult;

/// Reads a verdict.
///
/// # Errors
/// [`StorageError::Invalid`] for a number that is none.
pub fn verdict(field: &'static str, number: i32) -> Result<OfferResult, StorageError> {
    enumerated(field, number)
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

    /// Reads the two fields of a message.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] unless the sum has the length of an id.
    pub fn read(count: u64, ids: &[u8]) -> Result<Self, StorageError> {
        Ok(Self { count, ids: ids.try_into().map_err(|_| StorageError::invalid("ids"))? })
    }

    /// Writes the sum.
    #[must_use]
    pub fn ids(&self) -> Bytes {
        Bytes::copy_from_slice(&self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_messages;

    fn blob() -> TransferBlob {
        let mailbox = MailboxHash::from_bytes([1; 32]);
        TransferBlob {
            mailbox,
            blob_id: BlobId::derive(&mailbox, b"sealed"),
            ciphertext: Ciphertext::try_from(Bytes::from_static(b"sealed")).unwrap(),
            origin_hint: Some(OriginHint::try_from(Bytes::from(vec![3; 74])).unwrap()),
            created_at: UnixSeconds::new(3600),
            expires_at: UnixSeconds::new(7200),
            owner: Some(OwnerHash::from_bytes([4; 32])),
        }
    }

    #[test]
    fn a_blob_survives_the_wire_whole() {
        assert_eq!(TransferBlob::try_from(messages::CarriedBlob::from(blob())), Ok(blob()));
        let bare = TransferBlob { origin_hint: None, owner: None, ..blob() };
        assert_eq!(TransferBlob::try_from(messages::CarriedBlob::from(bare.clone())), Ok(bare));
        assert!(blob().is_sound());
        assert!(!TransferBlob { mailbox: MailboxHash::from_bytes([2; 32]), ..blob() }.is_sound());
    }

    #[test]
    fn names_and_blobs_of_one_message_are_bounded() {
        let name = messages::BlobName::from(blob().name());
        assert_eq!(blob_names(vec![name.clone(); 2]), Ok(vec![blob().name(); 2]));
        assert_eq!(blob_names(vec![name; MAX_CARRIED_BLOBS + 1]), Err(StorageError::invalid("names")));
        let carried = messages::CarriedBlob::from(blob());
        assert_eq!(carried_blobs(vec![carried.clone(); 2]), Ok(vec![blob(); 2]));
        assert_eq!(carried_blobs(vec![carried; MAX_CARRIED_BLOBS + 1]), Err(StorageError::invalid("blobs")));
    }

    #[test]
    fn a_verdict_has_one_number_in_both_protocols_and_nothing_is_none() {
        for known in [OfferResult::Accepted, OfferResult::Refused, OfferResult::NotNow] {
            assert_eq!(verdict("verdict", known.into()), Ok(known));
            let between_relays = peer_messages::OfferResult::try_from(i32::from(known)).unwrap();
            assert_eq!(between_relays.as_str_name(), known.as_str_name());
        }
        for unknown in [0, 4, -1] {
            assert_eq!(verdict("verdict", unknown), Err(StorageError::invalid("verdict")));
        }
    }

    #[test]
    fn the_sum_tells_other_names_and_is_the_same_in_any_order() {
        let sum = |ids: &[u8]| {
            let mut sum = NameSum::default();
            ids.iter().for_each(|id| sum.add(&BlobId::from_bytes([*id; 16])));
            sum
        };
        assert_eq!(sum(&[1, 2, 3]), sum(&[3, 1, 2]));
        assert_ne!(sum(&[1, 2]), sum(&[1, 4]));
        assert_ne!(sum(&[1, 1]), sum(&[]), "the number differs");
        assert_eq!(NameSum::read(3, &sum(&[1, 2, 3]).ids()), Ok(sum(&[1, 2, 3])));
        assert_eq!(NameSum::read(1, &[0; 15]), Err(StorageError::invalid("ids")));
    }
}
