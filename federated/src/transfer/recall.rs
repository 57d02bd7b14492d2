//! Bringing mail back from peers while a fetch waits. Who waits for the same peer shares its messages: names queue
//! up while a message is on its way, and the next one takes all of them.

use crate::context::{Context, replied};
use crate::registry::Counts;
use crate::session::{Answer, body};
use crate::transfer::request_handler::sound;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use relay_proto::field::{identifier, required};
use relay_proto::limits::{MAX_CARRIED_BLOBS, MAX_MOVED_BLOBS};
use relay_proto::mail::BlobName;
use relay_proto::messages::{self, BringRequest, ReadReply, Wanted, recalls_server};
use relay_proto::peer::OfferedBlob;
use relay_proto::transfer::{TransferBlob, names_of};
use relay_proto::{PeerId, StorageError};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

/// Messages to one peer on their way at once.
const AT_ONCE: usize = 4;

/// Names that wait for one peer.
const QUEUE: usize = 4096;

/// How long a peer may take to answer before it is left alone for a while.
const PATIENCE: Duration = Duration::from_secs(5);

/// Brings mail back.
#[derive(Debug)]
pub(crate) struct Recalls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    context: Arc<Context>,
    queues: Mutex<HashMap<PeerId, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<PendingRecall>,
    messages: usize,
}

/// Somebody waits for a blob.
#[derive(Debug)]
struct PendingRecall {
    name: BlobName,
    reply: oneshot::Sender<RecallArrival>,
}

/// What becomes of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RecallArrival {
    /// The blob is here.
    Came(TransferBlob),
    /// The peer does not have it, and storage knows.
    Lost(BlobName),
}

impl Recalls {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self(Arc::new(Shared { context, queues: Mutex::default() }))
    }
}

impl Shared {
    /// Queues a name. Returns where its blob will arrive.
    fn queue(self: &Arc<Self>, peer: PeerId, name: BlobName) -> Option<oneshot::Receiver<RecallArrival>> {
        let (reply, arrival) = oneshot::channel();
        let mut queues = self.lock();
        let queue = queues.entry(peer).or_default();
        if queue.waiting.len() >= QUEUE {
            return None;
        }
        queue.waiting.push_back(PendingRecall { name, reply });
        if queue.messages < AT_ONCE {
            queue.messages += 1;
            let recalls = Arc::clone(self);
            tokio::spawn(async move { recalls.ask_all(peer).await });
        }
        Some(arrival)
    }

    /// Asks a peer until nobody waits any more.
    async fn ask_all(self: Arc<Self>, peer: PeerId) {
        while !self.is_done(&peer) {
            // The turn first: whoever comes meanwhile goes along.
            if self.context.registry.turn(&peer).await.is_err() {
                self.give_up(&peer);
                return;
            }
            let batch = self.take_batch(&peer);
            if !batch.is_empty() {
                self.ask(peer, batch).await;
            }
        }
    }

    /// Whether nobody waits; who comes later then has somebody else ask.
    fn is_done(&self, peer: &PeerId) -> bool {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(peer) else { return true };
        if !queue.waiting.is_empty() {
            return false;
        }
        queue.messages = queue.messages.saturating_sub(1);
        if queue.messages == 0 {
            queues.remove(peer);
        }
        true
    }

    /// The peer is gone: nobody need wait.
    fn give_up(&self, peer: &PeerId) {
        if let Some(queue) = self.lock().get_mut(peer) {
            queue.waiting.clear();
        }
        self.is_done(peer);
    }

    /// The oldest names that somebody still waits for.
    fn take_batch(&self, peer: &PeerId) -> HashMap<BlobName, Vec<PendingRecall>> {
        let mut queues = self.lock();
        let mut batch: HashMap<BlobName, Vec<PendingRecall>> = HashMap::new();
        let Some(queue) = queues.get_mut(peer) else { return batch };
        while let Some(waiting) = queue.waiting.pop_front() {
            if waiting.reply.is_closed() {
                continue;
            }
            if batch.len() >= MAX_CARRIED_BLOBS && !batch.contains_key(&waiting.name) {
                queue.waiting.push_front(waiting);
                break;
            }
            batch.entry(waiting.name).or_default().push(waiting);
        }
        batch
    }

    async fn ask(&self, peer: PeerId, mut batch: HashMap<BlobName, Vec<PendingRecall>>) {
        let names = batch.keys().copied().collect();
        let answer = self.context.registry.ask(&peer, body::recall(names), PATIENCE).await;
        self.context.registry.recall_answered(&peer, answer.is_ok());
        let Ok(Answer::Recall { blobs, missing }) = answer else {
            self.context.metrics.recalls_unanswered.inc();
            return;
        };
        let moves = !blobs.is_empty() || !missing.is_empty();
        let mut came = 0;
        for blob in blobs.into_iter().filter_map(|blob: OfferedBlob| sound(blob)) {
            let Some(waiting) = batch.remove(&blob.name()) else { continue };
            came += 1;
            for waiting in waiting {
                // Who does not wait any more finds it at the next fetch.
                drop(waiting.reply.send(RecallArrival::Came(blob.clone())));
            }
        }
        self.context.metrics.recalled.inc_by(came);
        self.context.registry.count(&peer, Counts { recalled: came, ..Counts::default() });
        self.lose(peer, missing.into_iter().filter_map(|name| batch.remove_entry(&name)).collect()).await;
        if moves {
            // What is left did not fit into the answer.
            let mut queues = self.lock();
            queues.entry(peer).or_default().waiting.extend(batch.into_values().flatten());
        }
    }

    /// Tells storage what a peer does not have, and then those who wait for it.
    async fn lose(&self, peer: PeerId, lost: Vec<(BlobName, Vec<PendingRecall>)>) {
        if lost.is_empty() {
            return;
        }
        let names = lost.iter().map(|(name, _)| *name).collect();
        if let Err(refusal) = replied(self.context.storage.offload().missing(names_of(peer, names)).await) {
            tracing::debug!(%refusal, "storage does not take that a peer has lost blobs; it hears it again");
            return;
        }
        for (name, waiting) in lost {
            for waiting in waiting {
                drop(waiting.reply.send(RecallArrival::Lost(name)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recalls {
    /// Returns as many blobs as come within a time, and the names of those that are certainly lost, once storage knows it.
    async fn bring_within(
        &self,
        wanted: Vec<(PeerId, BlobName)>,
        within: Duration,
    ) -> (Vec<TransferBlob>, Vec<BlobName>) {
        let deadline = Instant::now() + within;
        let mut arrivals: FuturesUnordered<_> = wanted
            .into_iter()
            .filter(|(peer, _)| self.0.context.registry.answers(peer))
            .filter_map(|(peer, name)| self.0.queue(peer, name))
            .collect();
        let (mut blobs, mut missing) = (Vec::new(), Vec::new());
        while let Ok(Some(arrival)) = timeout_at(deadline, arrivals.next()).await {
            match arrival {
                Ok(RecallArrival::Came(blob)) => blobs.push(blob),
                Ok(RecallArrival::Lost(name)) => missing.push(name),
                // The peer does not say.
                Err(_) => {}
            }
        }
        (blobs, missing)
    }
}

#[tonic::async_trait]
impl recalls_server::Recalls for Recalls {
    async fn bring(&self, request: Request<BringRequest>) -> Result<Response<ReadReply>, Status> {
        let BringRequest { wanted, millis } = request.into_inner();
        if wanted.len() > MAX_MOVED_BLOBS {
            return Err(StorageError::invalid("wanted").into());
        }
        let read = |wanted: Wanted| {
            let Wanted { peer, name } = wanted;
            Ok((identifier("peer", &peer)?, required("name", name)?.try_into()?))
        };
        let wanted = wanted.into_iter().map(read).collect::<Result<_, StorageError>>()?;
        let (blobs, missing) = self.bring_within(wanted, Duration::from_millis(millis.into())).await;
        Ok(Response::new(ReadReply {
            blobs: blobs.into_iter().map(messages::CarriedBlob::from).collect(),
            missing: missing.into_iter().map(messages::BlobName::from).collect(),
        }))
    }
}

#[cfg(test)]
mod tests;
