//! What peers ask of this relay, carried out. Storage decides; here is checked what only the wire shows.

use crate::context::{Context, replied};
use crate::registry::Counts;
use crate::session::{Question, body};
use relay_proto::mail::BlobName;
use relay_proto::messages::{self, AcceptReply, AcceptRequest, ListRequest, ReadReply};
use relay_proto::peer::{Hops, OfferedBlob};
use relay_proto::peer_messages::message::Body;
use relay_proto::transfer::{
    Direction, OfferResult, TransferBlob, blob_names, carried_blobs, names_of, verdict,
};
use relay_proto::{PeerId, StorageError};

/// The answer to a question, once what it says is durable.
pub(crate) async fn answer(context: &Context, peer: PeerId, question: Question) -> Body {
    match question {
        Question::Offload { direction, blobs } => {
            let verdicts = take(context, peer, direction, blobs).await;
            body::offload_ack(&verdicts, context.registry.own_capacity())
        }
        Question::Recall(names) => give(context, peer, names).await,
        Question::Forget(names) => {
            let forgotten = replied(context.storage.offload().forget(names_of(peer, names)).await);
            if let Err(refusal) = &forgotten {
                tracing::debug!(%refusal, "storage does not carry out a peer's deletions; it tells them again");
            }
            body::forget_ack(forgotten.is_ok())
        }
        Question::Inventory { after, names } => {
            let request = ListRequest { peer: peer.into(), after: after.map(Into::into), names };
            let listing = replied(context.storage.offload().list(request).await);
            if let Err(refusal) = &listing {
                tracing::debug!(%refusal, "storage does not list what is held for a peer");
            }
            body::inventory_ack(listing.ok())
        }
    }
}

async fn take(
    context: &Context,
    peer: PeerId,
    direction: Direction,
    offered: Vec<OfferedBlob>,
) -> Vec<OfferResult> {
    if !context.registry.agrees_on_time(&peer) {
        context.metrics.offloads_rejected.inc_by(offered.len() as u64);
        return vec![OfferResult::NotNow; offered.len()];
    }
    let offered: Vec<Option<TransferBlob>> = offered.into_iter().map(sound).collect();
    let is_sound: Vec<bool> = offered.iter().map(Option::is_some).collect();
    let blobs: Vec<TransferBlob> = offered.into_iter().flatten().collect();
    let count = blobs.len();
    let said = if blobs.is_empty() { Ok(Vec::new()) } else { accept(context, peer, direction, blobs).await };
    let said = said.unwrap_or_else(|refusal| {
        tracing::debug!(%refusal, "storage does not take a peer's blobs now");
        vec![OfferResult::NotNow; count]
    });
    let mut said = said.into_iter();
    let verdict = |is_sound: bool| if is_sound { said.next() } else { None };
    let verdicts: Vec<OfferResult> =
        is_sound.into_iter().map(verdict).map(|said| said.unwrap_or(OfferResult::Refused)).collect();
    let accepted = verdicts.iter().filter(|verdict| **verdict == OfferResult::Accepted).count() as u64;
    context.metrics.offloads_received.inc_by(accepted);
    context.metrics.offloads_rejected.inc_by(verdicts.len() as u64 - accepted);
    context.registry.count(&peer, Counts { received: accepted, ..Counts::default() });
    verdicts
}

/// Has storage take blobs in. Returns one verdict for each.
async fn accept(
    context: &Context,
    peer: PeerId,
    direction: Direction,
    blobs: Vec<TransferBlob>,
) -> Result<Vec<OfferResult>, StorageError> {
    let expected = blobs.len();
    let blobs = blobs.into_iter().map(messages::CarriedBlob::from).collect();
    let request = AcceptRequest { peer: peer.into(), home: direction.is_home(), blobs };
    let AcceptReply { verdicts } = replied(context.storage.offload().accept(request).await)?;
    if verdicts.len() != expected {
        return Err(StorageError::invalid("verdicts"));
    }
    verdicts.into_iter().map(|number| verdict("verdicts", number)).collect()
}

/// Reads what is held for a peer: what was found, and what is not there.
async fn read(
    context: &Context,
    peer: PeerId,
    names: Vec<BlobName>,
) -> Result<(Vec<TransferBlob>, Vec<BlobName>), StorageError> {
    let found = replied(context.storage.offload().read(names_of(peer, names)).await)?;
    let ReadReply { blobs, missing } = found;
    Ok((carried_blobs(blobs)?, blob_names(missing)?))
}

async fn give(context: &Context, peer: PeerId, names: Vec<BlobName>) -> Body {
    match read(context, peer, names).await {
        Ok((blobs, missing)) => {
            let offered = |blob| Some(OfferedBlob::new(blob, Hops::origin().next()?));
            body::recall_ack(blobs.into_iter().filter_map(offered).collect(), missing)
        }
        // In neither list: not looked at.
        Err(refusal) => {
            tracing::debug!(%refusal, "storage does not read what a peer asks for");
            body::recall_ack(Vec::new(), Vec::new())
        }
    }
}

/// A blob that arrived whole and has not moved too often.
pub(crate) fn sound(offered: OfferedBlob) -> Option<TransferBlob> {
    let moved = offered.hops.get() > Hops::origin().get() && offered.hops.is_allowed();
    if moved { offered.checked() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scene;
    use crate::registry::tests::hello;
    use crate::session::Answer;
    use bytes::Bytes;
    use relay_daemon::Clock;
    use relay_proto::peer::Hello;
    use relay_proto::{BlobId, Ciphertext, MailboxHash, UnixSeconds};

    fn offered(hops: u32) -> OfferedBlob {
        let mailbox = MailboxHash::from_bytes([1; 32]);
        let blob = TransferBlob {
            mailbox,
            blob_id: BlobId::derive(&mailbox, b"sealed"),
            ciphertext: Ciphertext::try_from(Bytes::from_static(b"sealed")).unwrap(),
            origin_hint: None,
            created_at: UnixSeconds::new(0),
            expires_at: UnixSeconds::new(3600),
            owner: None,
        };
        OfferedBlob::new(blob, Hops::said(hops))
    }

    #[test]
    fn only_what_moved_once_and_arrived_whole_is_sound() {
        assert!(sound(offered(1)).is_some());
        assert!(sound(offered(0)).is_none(), "it did not move");
        assert!(sound(offered(2)).is_none() && sound(offered(u32::MAX)).is_none(), "it moved too often");
        let mut changed = offered(1);
        changed.blob.ciphertext = Ciphertext::try_from(Bytes::from_static(b"Sealed")).unwrap();
        assert!(sound(changed).is_none());
        let mut renamed = offered(1);
        renamed.blob.blob_id = BlobId::from_bytes([0; 16]);
        assert!(sound(renamed).is_none());
        let mut misheard = offered(1);
        misheard.content_hash = [0; 32];
        assert!(sound(misheard).is_none());
    }

    #[tokio::test]
    async fn nothing_is_taken_from_a_peer_whose_clock_is_apart_and_what_it_deletes_is_deleted() {
        let scene = Scene::set();
        let context = scene.context(std::time::Duration::from_secs(5));
        let time = Some(Clock::system().now().plus(6 * 3600));
        let (joined, _commands) = scene.registry.join(&Hello { time, ..hello(1) }).unwrap();
        for direction in [Direction::ToHolder, Direction::ToOrigin] {
            let question = Question::Offload { direction, blobs: vec![offered(1), offered(1)] };
            let answer = Answer::read(answer(&context, joined.peer, question).await);
            let Ok(Answer::Offload { verdicts, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(verdicts, [OfferResult::NotNow; 2]);
        }
        assert!(scene.store.inside().accepted.is_empty());
        assert_eq!(scene.metrics.offloads_rejected.get(), 4);
        let forget = Question::Forget(vec![offered(1).blob.name()]);
        assert_eq!(answer(&context, joined.peer, forget).await, body::forget_ack(true));
        let recall = Question::Recall(vec![offered(1).blob.name()]);
        assert!(matches!(answer(&context, joined.peer, recall).await, Body::RecallAck(_)));
    }
}
