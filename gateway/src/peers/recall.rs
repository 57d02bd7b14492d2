//! Bringing mail back that lies with peers, for a fetch that waits. Nothing that comes is believed: it was asked for,
//! it has the content that it is named after, and its time is not over, or it is passed over.

use relay_proto::client::PeeringClient;
use relay_proto::mail::BlobName;
use relay_proto::messages::{BringRequest, ReadReply, Wanted};
use relay_proto::transfer::{TransferBlob, carried_blobs};
use relay_proto::{PeerId, StorageError, UnixSeconds, refusal_of};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The part of the time that is left for what has come to be handed over: one in so many.
const HAND_OVER: u32 = 8;

/// The way to what peers hold.
#[derive(Debug)]
pub(crate) struct Recall {
    client: PeeringClient,
    within: Duration,
}

/// What became of an attempt to bring mail back.
#[derive(Debug)]
pub(crate) enum RecallOutcome {
    /// Peers were asked, and this came in time. What is in neither list may come another time.
    Came {
        /// The blobs.
        blobs: Vec<TransferBlob>,
        /// What is certainly lost. It is not there any more when storage is asked again.
        lost: HashSet<BlobName>,
    },
    /// Nobody could be asked.
    Nothing,
}

impl Recall {
    /// Waits for up to `within`; not at all where that is zero.
    pub(crate) const fn new(client: PeeringClient, within: Duration) -> Self {
        Self { client, within }
    }

    /// Brings back what comes in time, and before `deadline`. Never fails: a peer that does not reply costs a client
    /// nothing but the wait.
    pub(crate) async fn bring(
        &self,
        wanted: Vec<(PeerId, BlobName)>,
        deadline: Instant,
        now: UnixSeconds,
    ) -> RecallOutcome {
        let within = self.within.min(deadline.saturating_duration_since(Instant::now()));
        if wanted.is_empty() || within.is_zero() {
            return RecallOutcome::Nothing;
        }
        let mut names: HashSet<BlobName> = wanted.iter().map(|(_, name)| *name).collect();
        match timeout(within, self.ask(wanted, within - within / HAND_OVER)).await {
            Ok(Ok((mut blobs, missing))) => {
                let lost = missing.into_iter().filter(|name| names.remove(name)).collect();
                blobs.retain(|blob| {
                    blob.expires_at > now
                        && names.contains(&blob.name())
                        && blob.is_sound()
                        && names.remove(&blob.name())
                });
                RecallOutcome::Came { blobs, lost }
            }
            Ok(Err(refusal)) => {
                tracing::debug!(%refusal, "federation cannot be asked for mail");
                RecallOutcome::Nothing
            }
            Err(_) => RecallOutcome::Came { blobs: Vec::new(), lost: HashSet::new() },
        }
    }

    /// Returns the blobs that came within a time, and the names of those that are lost.
    async fn ask(
        &self,
        wanted: Vec<(PeerId, BlobName)>,
        within: Duration,
    ) -> Result<(Vec<TransferBlob>, Vec<BlobName>), StorageError> {
        let write = |(peer, name): (PeerId, BlobName)| Wanted { peer: peer.into(), name: Some(name.into()) };
        let wanted = wanted.into_iter().map(write).collect();
        let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let answered = self.client.recalls().bring(BringRequest { wanted, millis }).await;
        let ReadReply { blobs, missing } = answered.map_err(|status| refusal_of(&status))?.into_inner();
        Ok((carried_blobs(blobs)?, missing.into_iter().map(BlobName::try_from).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::peering::FakePeers;
    use relay_proto::{BlobId, MailboxHash};
    use std::path::PathBuf;
    use std::sync::Arc;
    use tokio::task::JoinSet;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(3600);

    fn wanted() -> Vec<(PeerId, BlobName)> {
        let name =
            BlobName { mailbox: MailboxHash::from_bytes([1; 32]), blob_id: BlobId::from_bytes([1; 16]) };
        vec![(PeerId::from_bytes([1; 32]), name)]
    }

    /// Peers that never reply, and the way to them.
    fn silent(tasks: &mut JoinSet<()>) -> (Arc<FakePeers>, PathBuf, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recall.sock");
        let peers = Arc::new(FakePeers::default());
        peers.fall_silent();
        peers.serve(&path, tasks);
        (peers, path, directory)
    }

    #[tokio::test]
    async fn silence_costs_the_time_that_is_given_and_no_more() {
        let mut tasks = JoinSet::new();
        let (peers, path, _directory) = silent(&mut tasks);
        for (within, patience) in [(SHORT, LONG), (LONG, SHORT)] {
            let recall = Recall::new(PeeringClient::new(path.clone()), within);
            let began = Instant::now();
            let brought = recall.bring(wanted(), began + patience, UnixSeconds::new(0)).await;
            assert!(
                matches!(brought, RecallOutcome::Came { blobs, .. } if blobs.is_empty()),
                "it may come another time"
            );
            assert!(began.elapsed() >= SHORT && began.elapsed() < LONG / 2);
        }
        assert!(
            peers.asked().iter().all(|(_, within)| *within < SHORT),
            "what has come needs time to be handed over"
        );
    }

    #[tokio::test]
    async fn nobody_is_asked_for_nothing_or_without_time() {
        let mut tasks = JoinSet::new();
        let (peers, path, _directory) = silent(&mut tasks);
        let now = Instant::now();
        for (within, wanted, deadline) in
            [(LONG, Vec::new(), now + LONG), (Duration::ZERO, wanted(), now + LONG), (LONG, wanted(), now)]
        {
            let recall = Recall::new(PeeringClient::new(path.clone()), within);
            assert!(matches!(
                recall.bring(wanted, deadline, UnixSeconds::new(0)).await,
                RecallOutcome::Nothing
            ));
        }
        assert!(peers.asked().is_empty());
    }
}
