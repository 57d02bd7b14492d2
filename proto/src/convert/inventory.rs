//! Messages about what relays hold for one another.

use super::{bytes_of, identifier, required};
use crate::inventory::{HeldBlob, List, Listing, NameSum, Reconcile, Reconciled};
use crate::limits::MAX_LISTED_BLOBS;
use crate::mail::BlobName;
use crate::{Refusal, UnixSeconds, wire};
use bytes::Bytes;

impl TryFrom<wire::ListRequest> for List {
    type Error = Refusal;

    fn try_from(message: wire::ListRequest) -> Result<Self, Refusal> {
        let wire::ListRequest { peer, after, names } = message;
        Ok(Self {
            peer: identifier("peer", &peer)?,
            after: after.map(BlobName::try_from).transpose()?,
            names,
        })
    }
}

impl From<List> for wire::ListRequest {
    fn from(list: List) -> Self {
        let List { peer, after, names } = list;
        Self { peer: bytes_of(peer.as_bytes()), after: after.map(wire::BlobName::from), names }
    }
}

impl TryFrom<wire::HeldBlob> for HeldBlob {
    type Error = Refusal;

    fn try_from(message: wire::HeldBlob) -> Result<Self, Refusal> {
        let wire::HeldBlob { name, size, created_at, expires_at } = message;
        Ok(Self {
            name: required("name", name)?.try_into()?,
            size,
            created_at: UnixSeconds::new(created_at),
            expires_at: UnixSeconds::new(expires_at),
        })
    }
}

impl From<HeldBlob> for wire::HeldBlob {
    fn from(blob: HeldBlob) -> Self {
        let HeldBlob { name, size, created_at, expires_at } = blob;
        Self { name: Some(name.into()), size, created_at: created_at.get(), expires_at: expires_at.get() }
    }
}

impl TryFrom<wire::Listing> for Listing {
    type Error = Refusal;

    fn try_from(message: wire::Listing) -> Result<Self, Refusal> {
        let wire::Listing { count, ids, blobs, until } = message;
        if blobs.len() > MAX_LISTED_BLOBS {
            return Err(Refusal::invalid("blobs"));
        }
        Ok(Self {
            sum: name_sum(count, &ids)?,
            blobs: blobs.into_iter().map(HeldBlob::try_from).collect::<Result<_, _>>()?,
            until: until.map(BlobName::try_from).transpose()?,
        })
    }
}

impl From<Listing> for wire::Listing {
    fn from(listing: Listing) -> Self {
        let Listing { sum: NameSum { count, ids }, blobs, until } = listing;
        Self {
            count,
            ids: bytes_of(&ids),
            blobs: blobs.into_iter().map(wire::HeldBlob::from).collect(),
            until: until.map(wire::BlobName::from),
        }
    }
}

/// Reads number and sum of names.
pub(super) fn name_sum(count: u64, ids: &Bytes) -> Result<NameSum, Refusal> {
    Ok(NameSum { count, ids: ids.as_ref().try_into().map_err(|_| Refusal::invalid("ids"))? })
}

impl TryFrom<wire::ReconcileRequest> for Reconcile {
    type Error = Refusal;

    fn try_from(message: wire::ReconcileRequest) -> Result<Self, Refusal> {
        let wire::ReconcileRequest { peer, after, names, listing } = message;
        Ok(Self {
            peer: identifier("peer", &peer)?,
            after: after.map(BlobName::try_from).transpose()?,
            names,
            listing: required("listing", listing)?.try_into()?,
        })
    }
}

impl From<Reconcile> for wire::ReconcileRequest {
    fn from(part: Reconcile) -> Self {
        let Reconcile { peer, after, names, listing } = part;
        Self {
            peer: bytes_of(peer.as_bytes()),
            after: after.map(wire::BlobName::from),
            names,
            listing: Some(listing.into()),
        }
    }
}

impl From<wire::ReconcileReply> for Reconciled {
    fn from(message: wire::ReconcileReply) -> Self {
        let wire::ReconcileReply { needs_names, claimed, told } = message;
        Self { needs_names, claimed, told }
    }
}

impl From<Reconciled> for wire::ReconcileReply {
    fn from(reconciled: Reconciled) -> Self {
        let Reconciled { needs_names, claimed, told } = reconciled;
        Self { needs_names, claimed, told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlobId, MailboxHash, PeerId};

    const NAME: BlobName =
        BlobName { mailbox: MailboxHash::from_bytes([1; 32]), blob_id: BlobId::from_bytes([2; 16]) };

    fn held() -> HeldBlob {
        HeldBlob {
            name: NAME,
            size: 3,
            created_at: UnixSeconds::new(3600),
            expires_at: UnixSeconds::new(7200),
        }
    }

    fn listing(blobs: usize) -> Listing {
        let mut sum = NameSum::default();
        sum.add(&NAME.blob_id);
        Listing { sum, blobs: vec![held(); blobs], until: Some(NAME) }
    }

    #[test]
    fn parts_and_questions_survive_the_wire() {
        assert_eq!(Listing::try_from(wire::Listing::from(listing(2))), Ok(listing(2)));
        for after in [None, Some(NAME)] {
            let list = List { peer: PeerId::from_bytes([4; 32]), after, names: true };
            let read = List::try_from(wire::ListRequest::from(list)).unwrap();
            assert_eq!((read.peer, read.after, read.names), (list.peer, after, true));
            let part = Reconcile { peer: list.peer, after, names: false, listing: listing(0) };
            let read = Reconcile::try_from(wire::ReconcileRequest::from(part)).unwrap();
            assert_eq!(
                (read.peer, read.after, read.names, read.listing),
                (list.peer, after, false, listing(0))
            );
        }
        let reconciled = Reconciled { needs_names: true, claimed: 5, told: 6 };
        assert_eq!(Reconciled::from(wire::ReconcileReply::from(reconciled)), reconciled);
    }

    #[test]
    fn a_part_is_bounded_and_whole() {
        assert!(Listing::try_from(wire::Listing::from(listing(MAX_LISTED_BLOBS))).is_ok());
        assert!(Listing::try_from(wire::Listing::from(listing(MAX_LISTED_BLOBS + 1))).is_err());
        let short = wire::Listing { ids: Bytes::from_static(&[1; 15]), ..listing(1).into() };
        assert!(Listing::try_from(short).is_err());
        let nameless = wire::HeldBlob { name: None, ..held().into() };
        assert!(HeldBlob::try_from(nameless).is_err());
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
    }
}
