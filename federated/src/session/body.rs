//! What two relays ask one another and answer: messages that are written, and what is read of those that come.

use crate::link::Broken;
use relay_proto::field::required;
use relay_proto::mail::BlobName;
use relay_proto::messages::Listing;
use relay_proto::peer::{OfferedBlob, listing, names, offered_blobs, write_listing, write_names};
use relay_proto::peer_messages::message::Body;
use relay_proto::peer_messages::{
    Blob, Capacity, Drain, DrainAck, Forget, ForgetAck, Inventory, Offload, OffloadAck, Recall, RecallAck,
};
use relay_proto::transfer::{Direction, OfferResult, verdict};

/// What a peer wants of this relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// To hold blobs, or to take them back.
    Offload { direction: Direction, blobs: Vec<OfferedBlob> },
    /// To have blobs that it moved here.
    Recall(Vec<BlobName>),
    /// To delete blobs that it moved here.
    Forget(Vec<BlobName>),
    /// To know what is held for it, behind a name.
    Inventory { after: Option<BlobName>, names: bool },
}

impl Question {
    /// Reads a message.
    ///
    /// # Errors
    /// For what is no question, and for a field that is wrong.
    pub(crate) fn read(body: Body) -> Result<Self, Broken> {
        Ok(match body {
            Body::Offload(Offload { blobs, home }) => {
                Self::Offload { direction: Direction::from_home(home), blobs: offered_blobs(blobs)? }
            }
            Body::Recall(Recall { names: list }) => Self::Recall(names(list)?),
            Body::Forget(Forget { names: list }) => Self::Forget(names(list)?),
            Body::Inventory(Inventory { after, names }) => {
                Self::Inventory { after: after.map(BlobName::try_from).transpose()?, names }
            }
            _ => return Err(Broken),
        })
    }

    /// The answer to a question that is not looked at.
    pub(super) fn refusal(&self, capacity: Capacity) -> Body {
        match self {
            Self::Offload { blobs, .. } => offload_ack(&vec![OfferResult::NotNow; blobs.len()], capacity),
            Self::Recall(_) => recall_ack(Vec::new(), Vec::new()),
            Self::Forget(_) => forget_ack(false),
            Self::Inventory { .. } => inventory_ack(None),
        }
    }
}

/// What a peer answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// What becomes of blobs, in their order, and how much more the peer can hold.
    Offload { verdicts: Vec<OfferResult>, capacity: Capacity },
    /// Blobs that were found, and those that are certainly not there.
    Recall { blobs: Vec<OfferedBlob>, missing: Vec<BlobName> },
    /// Whether blobs are gone.
    Forget { done: bool },
    /// It knows that this relay leaves.
    Drain,
    /// A part of what it holds; `None` if it did not look.
    Inventory(Option<Listing>),
}

impl Answer {
    /// Reads a message.
    ///
    /// # Errors
    /// For what is no answer, and for a field that is wrong.
    pub(crate) fn read(body: Body) -> Result<Self, Broken> {
        Ok(match body {
            Body::OffloadAck(OffloadAck { verdicts, capacity }) => {
                let verdicts = verdicts.into_iter().map(|number| verdict("verdicts", number));
                let verdicts = verdicts.collect::<Result<_, _>>()?;
                Self::Offload { verdicts, capacity: required("capacity", capacity)? }
            }
            Body::RecallAck(RecallAck { blobs, missing }) => {
                Self::Recall { blobs: offered_blobs(blobs)?, missing: names(missing)? }
            }
            Body::ForgetAck(ForgetAck { done }) => Self::Forget { done },
            Body::DrainAck(DrainAck {}) => Self::Drain,
            Body::InventoryAck(part) => Self::Inventory(listing(part)?),
            _ => return Err(Broken),
        })
    }
}

pub(crate) fn offload(direction: Direction, blobs: Vec<OfferedBlob>) -> Body {
    let blobs = blobs.into_iter().map(Blob::from).collect();
    Body::Offload(Offload { blobs, home: direction.is_home() })
}

pub(crate) fn offload_ack(verdicts: &[OfferResult], capacity: Capacity) -> Body {
    let verdicts = verdicts.iter().map(|verdict| i32::from(*verdict)).collect();
    Body::OffloadAck(OffloadAck { verdicts, capacity: Some(capacity) })
}

pub(crate) fn recall(names: Vec<BlobName>) -> Body {
    Body::Recall(Recall { names: write_names(names) })
}

pub(crate) fn recall_ack(blobs: Vec<OfferedBlob>, missing: Vec<BlobName>) -> Body {
    let blobs = blobs.into_iter().map(Blob::from).collect();
    Body::RecallAck(RecallAck { blobs, missing: write_names(missing) })
}

pub(crate) fn forget(names: Vec<BlobName>) -> Body {
    Body::Forget(Forget { names: write_names(names) })
}

pub(crate) const fn forget_ack(done: bool) -> Body {
    Body::ForgetAck(ForgetAck { done })
}

/// This relay leaves.
pub(crate) const DRAIN: Body = Body::Drain(Drain {});

/// And the answer to that.
pub(crate) const DRAIN_ACK: Body = Body::DrainAck(DrainAck {});

pub(crate) fn inventory(after: Option<BlobName>, names: bool) -> Body {
    Body::Inventory(Inventory { after: after.map(Into::into), names })
}

pub(crate) fn inventory_ack(listing: Option<Listing>) -> Body {
    Body::InventoryAck(write_listing(listing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::blob;
    use proptest::prelude::*;
    use relay_proto::peer::{self, Hops};

    const CAPACITY: Capacity = Capacity { free_bytes: 9, accepting: false };

    fn offered() -> Vec<OfferedBlob> {
        [1, 2].map(|number| OfferedBlob::new(blob(number), Hops::said(1))).to_vec()
    }

    fn part() -> Listing {
        let mut sum = relay_proto::transfer::NameSum::default();
        sum.add(&blob(1).blob_id);
        Listing { count: 1, ids: sum.ids(), until: Some(blob(1).name().into()), ..Listing::default() }
    }

    fn questions() -> Vec<(Body, Question)> {
        let (name, blobs) = (blob(1).name(), offered());
        let direction = Direction::ToOrigin;
        vec![
            (offload(direction, blobs.clone()), Question::Offload { direction, blobs }),
            (recall(vec![name]), Question::Recall(vec![name])),
            (forget(vec![name, name]), Question::Forget(vec![name, name])),
            (inventory(Some(name), true), Question::Inventory { after: Some(name), names: true }),
            (inventory(None, false), Question::Inventory { after: None, names: false }),
        ]
    }

    fn answers() -> Vec<(Body, Answer)> {
        let (missing, blobs) = (vec![blob(1).name()], offered());
        let verdicts = vec![OfferResult::Accepted, OfferResult::Refused, OfferResult::NotNow];
        vec![
            (offload_ack(&verdicts, CAPACITY), Answer::Offload { verdicts, capacity: CAPACITY }),
            (recall_ack(blobs.clone(), missing.clone()), Answer::Recall { blobs, missing }),
            (forget_ack(true), Answer::Forget { done: true }),
            (DRAIN_ACK, Answer::Drain),
            (inventory_ack(None), Answer::Inventory(None)),
            (inventory_ack(Some(part())), Answer::Inventory(Some(part()))),
        ]
    }

    #[test]
    fn every_question_and_answer_survives_the_wire_and_is_read_as_what_it_is() {
        let sent = |body| peer::decode(peer::encode(&peer::message(3, body)).into()).unwrap().body.unwrap();
        for (body, question) in questions() {
            assert_eq!(Question::read(sent(body.clone())), Ok(question));
            assert_eq!(Answer::read(body), Err(Broken));
        }
        for (body, answer) in answers() {
            assert_eq!(Answer::read(sent(body.clone())), Ok(answer));
            assert_eq!(Question::read(body), Err(Broken));
        }
        assert!(Question::read(DRAIN).is_err() && Answer::read(DRAIN).is_err());
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let unknown = OffloadAck { verdicts: vec![0], capacity: Some(CAPACITY) };
        assert_eq!(Answer::read(Body::OffloadAck(unknown)), Err(Broken));
        let silent = OffloadAck { verdicts: Vec::new(), capacity: None };
        assert_eq!(Answer::read(Body::OffloadAck(silent)), Err(Broken));
        let nameless = Recall { names: vec![relay_proto::peer_messages::BlobName::default()] };
        assert_eq!(Question::read(Body::Recall(nameless)), Err(Broken));
        assert_eq!(Question::read(recall(vec![blob(1).name(); 129])), Err(Broken));
        assert_eq!(Question::read(forget(vec![blob(1).name(); 129])), Err(Broken));
    }

    proptest! {
        #[test]
        fn perturbed_messages_never_panic(pick: prop::sample::Index, at: prop::sample::Index, bit in 0_u8..8) {
            let mut bodies: Vec<_> = questions().into_iter().map(|(body, _)| body).collect();
            bodies.extend(answers().into_iter().map(|(body, _)| body));
            let body = bodies.swap_remove(pick.index(bodies.len()));
            let mut bytes = peer::encode(&peer::message(3, body));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            crate::fuzz::peer_message(&bytes);
        }
    }
}
