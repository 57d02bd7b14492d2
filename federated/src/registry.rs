//! Who is there: peers with their connections, what they said of their room, and how much may be asked of them.

mod peer;
pub(crate) mod peer_clock;

pub(crate) use peer::Counts;

use crate::link::Reason;
use crate::metrics::Metrics;
use crate::session::Answer;
use peer::{Dialled, Peer};
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::PeerId;
use relay_proto::messages::PeerState;
use relay_proto::peer::Hello;
use relay_proto::peer_messages::Capacity;
use relay_proto::peer_messages::message::Body;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// Connections that one peer may have at once: one each way, and their successors.
const LINKS_EACH: usize = 4;

/// Peers that may be known at once.
const MAX_PEERS: usize = 256;

/// Commands that wait for a connection to take them.
const QUEUE: usize = 64;

/// For how long a peer that left a recall unanswered is not asked by others who have no time.
const AVOIDED: Duration = Duration::from_secs(30);

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Ask the peer, and pass on its answer.
    Ask(Box<Body>, Duration, oneshot::Sender<Answer>),
    /// Tell the peer how much room there is.
    Tell(Capacity),
    /// Close once what was asked is answered.
    Close(Reason),
}

/// There is no answer: no connection, one that broke, or a peer that does not say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not answer")]
pub(crate) struct Unanswered;

/// A connection was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

/// What is known of the peers that are or were connected in the life of this process.
#[derive(Debug)]
pub(crate) struct PeerRegistry {
    inner: Mutex<Inner>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// What each peer may send.
    rate: Rate,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    peers: BTreeMap<PeerId, Peer>,
    dialled: Vec<Dialled>,
    room: Capacity,
    links: u64,
    /// What peers sent, and what they were sent.
    received: BucketTable,
    sent: BucketTable,
}

/// A peer's place for mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerCapacity {
    pub(crate) peer: PeerId,
    pub(crate) free_bytes: u64,
}

impl PeerRegistry {
    /// Nobody is there yet. `urls` are the peers to dial, `per_minute` is what each peer may send.
    pub(crate) fn new(urls: Vec<String>, per_minute: u32, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let inner = Inner {
            peers: BTreeMap::new(),
            dialled: urls.into_iter().map(Dialled::new).collect(),
            room: Capacity::default(),
            links: 0,
            received: BucketTable::new(MAX_PEERS),
            sent: BucketTable::new(MAX_PEERS),
        };
        Self {
            inner: Mutex::new(inner),
            clock,
            metrics,
            rate: Rate::per_minute(per_minute),
            changed: Notify::new(),
        }
    }

    /// Takes a connection in. It leaves with the guard.
    ///
    /// # Errors
    /// [`Crowded`] when the peer has too many connections, or there are too many peers.
    pub(crate) fn join(
        self: &Arc<Self>,
        hello: &Hello,
    ) -> Result<(Joined, mpsc::Receiver<Command>), Crowded> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut inner = self.lock();
        let is_crowded = match inner.peers.get(&hello.identity) {
            Some(known) => known.links.len() >= LINKS_EACH,
            None => inner.peers.len() >= MAX_PEERS,
        };
        if is_crowded {
            return Err(Crowded);
        }
        inner.links += 1;
        let number = inner.links;
        let mut peer = Peer::greeted(hello, &self.clock, inner.peers.remove(&hello.identity));
        if !peer.is_connected() {
            self.metrics.peers_connected.inc();
            self.changed.notify_one();
        }
        peer.links.push((number, sender));
        if peer.is_clock_apart(&self.clock) {
            tracing::warn!(
                "the clocks of a peer and of this relay are more than 5 minutes apart: no mail moves"
            );
        }
        inner.peers.insert(hello.identity, peer);
        Ok((Joined { registry: Arc::clone(self), peer: hello.identity, number }, receiver))
    }

    /// Whether a peer may send one more message now.
    pub(crate) fn admits(&self, peer: &PeerId) -> bool {
        let now = self.clock.monotonic();
        self.lock().received.take(peer.as_bytes(), self.rate, now).is_ok()
    }

    /// Waits until a peer takes another message.
    pub(crate) async fn turn(&self, peer: &PeerId) -> Result<(), Unanswered> {
        loop {
            let taken = {
                let mut inner = self.lock();
                let known = inner.peers.get(peer).filter(|known| known.is_connected());
                let allowance = known.ok_or(Unanswered)?.allowance;
                inner.sent.take(peer.as_bytes(), allowance, self.clock.monotonic())
            };
            match taken {
                Ok(()) => return Ok(()),
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Asks a peer over its newest connection, in turn or out of it. Returns its answer if that comes within the time.
    pub(crate) async fn ask(
        &self,
        peer: &PeerId,
        question: Body,
        within: Duration,
    ) -> Result<Answer, Unanswered> {
        timeout(within, self.offer(peer, question, within)).await.unwrap_or(Err(Unanswered))
    }

    /// The same for what takes time to be sent: the peer has its time from when the question is on its way.
    pub(crate) async fn offer(
        &self,
        peer: &PeerId,
        question: Body,
        within: Duration,
    ) -> Result<Answer, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let link = self.newest_link(peer).ok_or(Unanswered)?;
        link.send(Command::Ask(Box::new(question), within, reply)).await.map_err(|_| Unanswered)?;
        drop(link);
        answer.await.map_err(|_| Unanswered)
    }

    fn newest_link(&self, peer: &PeerId) -> Option<mpsc::Sender<Command>> {
        self.of(peer, |known| known.links.last().map(|(_, link)| link.clone())).flatten()
    }

    /// Peers that are connected.
    pub(crate) fn connected(&self) -> Vec<PeerId> {
        let inner = self.lock();
        inner.peers.iter().filter(|(_, peer)| peer.is_connected()).map(|(id, _)| *id).collect()
    }

    /// Connected peers that can be asked what they hold, each with the number of its latest hello.
    pub(crate) fn listing(&self) -> Vec<(PeerId, u64)> {
        let inner = self.lock();
        let peers = inner.peers.iter().filter(|(_, peer)| peer.lists);
        peers.filter_map(|(id, peer)| Some((*id, peer.links.last()?.0))).collect()
    }

    /// Peers that take mail, with the room they say they have.
    pub(crate) fn places(&self) -> Vec<PeerCapacity> {
        let inner = self.lock();
        let taking = inner.peers.iter().filter(|(_, peer)| peer.takes_mail(&self.clock));
        taking.map(|(id, peer)| PeerCapacity { peer: *id, free_bytes: peer.room.free_bytes }).collect()
    }

    /// Whether a peer's clock and this relay's agree, as far as is known: only then mail moves.
    pub(crate) fn agrees_on_time(&self, peer: &PeerId) -> bool {
        self.of(peer, |known| !known.is_clock_apart(&self.clock)).unwrap_or(true)
    }

    /// For how long a peer keeps mail, in seconds, if it says so.
    pub(crate) fn keeps(&self, id: &PeerId) -> Option<u64> {
        self.of(id, |peer| peer.keeps_secs).filter(|seconds| *seconds > 0)
    }

    /// Returns how much room this relay has for mail of peers.
    pub(crate) fn own_capacity(&self) -> Capacity {
        self.lock().room
    }

    /// Notes that, and sends it to all peers when this relay begins or ends to take mail.
    pub(crate) fn set_own_capacity(&self, room: Capacity) {
        let mut inner = self.lock();
        let turned = inner.room.accepting != room.accepting;
        inner.room = room;
        drop(inner);
        if turned {
            self.tell_all(room);
        }
    }

    /// Tells all peers how much room there is.
    pub(crate) fn tell_all(&self, room: Capacity) {
        for link in self.all_links() {
            // A connection whose queue is full has more urgent things to do.
            drop(link.try_send(Command::Tell(room)));
        }
    }

    /// Has all connections closed.
    pub(crate) async fn close_all(&self, reason: Reason) {
        for link in self.all_links() {
            // One that is gone is closed.
            drop(link.send(Command::Close(reason)).await);
        }
    }

    fn all_links(&self) -> Vec<mpsc::Sender<Command>> {
        let inner = self.lock();
        inner.peers.values().flat_map(|peer| &peer.links).map(|(_, link)| link.clone()).collect()
    }

    /// A peer said how much room it has. One that takes mail again does not leave after all.
    pub(crate) fn set_capacity(&self, id: &PeerId, room: Capacity) {
        self.with(id, |peer| {
            peer.room = room;
            peer.leaving &= !room.accepting;
        });
    }

    /// A peer had no room when it was asked: it is not asked again before it says that it has some.
    pub(crate) fn is_full(&self, id: &PeerId) {
        self.with(id, |peer| peer.room.accepting = false);
    }

    /// A peer is about to be away.
    pub(crate) fn leaves(&self, id: &PeerId) {
        self.metrics.drain_notices.inc();
        self.with(id, |peer| peer.leaving = true);
        self.changed.notify_one();
    }

    /// A peer gave a sign of life.
    pub(crate) fn seen(&self, id: &PeerId) {
        let now = self.clock.now();
        self.with(id, |peer| peer.last_seen = now);
    }

    /// Counts what went between the two.
    pub(crate) fn count(&self, id: &PeerId, add: Counts) {
        self.with(id, |peer| {
            peer.counts.sent += add.sent;
            peer.counts.received += add.received;
            peer.counts.recalled += add.recalled;
        });
    }

    /// Notes whether a peer answered a recall.
    pub(crate) fn recall_answered(&self, id: &PeerId, answered: bool) {
        let until = self.clock.monotonic() + AVOIDED;
        self.with(id, |peer| peer.avoided_until = (!answered).then_some(until));
        if !answered {
            self.changed.notify_one();
        }
    }

    /// Whether it is worth a client's time to ask a peer.
    pub(crate) fn answers(&self, id: &PeerId) -> bool {
        self.of(id, |peer| peer.is_connected() && !peer.is_avoided(&self.clock)).unwrap_or(false)
    }

    /// Notes whom a dialled address belongs to, and what is wrong, in a few fixed words.
    pub(crate) fn dialled(
        &self,
        position: usize,
        identity: Option<PeerId>,
        pin_changed: bool,
        trouble: &'static str,
    ) {
        let mut inner = self.lock();
        if let Some(dialled) = inner.dialled.get_mut(position) {
            dialled.identity = identity.or(dialled.identity);
            dialled.pin_changed = pin_changed;
            dialled.trouble = trouble;
        }
        self.changed.notify_one();
    }

    /// Has storage told at once how it stands with peers.
    pub(crate) fn tell_again(&self) {
        self.changed.notify_one();
    }

    /// Waits until it stands otherwise with a peer than when this was asked last.
    pub(crate) async fn changes(&self) {
        self.changed.notified().await;
    }

    /// What operators are shown: configured peers in their order, then those that dialled.
    pub(crate) fn states(&self) -> Vec<PeerState> {
        let inner = self.lock();
        let behind = |dialled: &Dialled| inner.peers.get(&dialled.identity?);
        let dialled = inner.dialled.iter().map(|dialled| dialled.state(behind(dialled), &self.clock));
        let is_dialled = |id: &PeerId| inner.dialled.iter().any(|dialled| dialled.identity == Some(*id));
        let others = inner.peers.iter().filter(|(id, _)| !is_dialled(id));
        let others = others.map(|(id, peer)| peer.state(*id, &self.clock));
        let states = dialled.chain(others).collect();
        let apart = inner.peers.values().filter(|peer| peer.is_clock_apart(&self.clock)).count();
        self.metrics.clocks_apart.set(i64::try_from(apart).unwrap_or(i64::MAX));
        states
    }

    fn of<T>(&self, id: &PeerId, read: impl FnOnce(&Peer) -> T) -> Option<T> {
        self.lock().peers.get(id).map(read)
    }

    fn with(&self, id: &PeerId, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.lock().peers.get_mut(id) {
            change(peer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the peers.
#[derive(Debug)]
pub(crate) struct Joined {
    registry: Arc<PeerRegistry>,
    pub(crate) peer: PeerId,
    number: u64,
}

impl Joined {
    pub(crate) fn registry(&self) -> &Arc<PeerRegistry> {
        &self.registry
    }

    /// Has this one connection closed.
    pub(crate) fn closer(&self) -> Option<mpsc::Sender<Command>> {
        let inner = self.registry.lock();
        let links = &inner.peers.get(&self.peer)?.links;
        links.iter().find(|(number, _)| *number == self.number).map(|(_, link)| link.clone())
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        let Some(peer) = inner.peers.get_mut(&self.peer) else { return };
        peer.links.retain(|(number, _)| *number != self.number);
        if peer.links.is_empty() {
            self.registry.metrics.peers_connected.dec();
            self.registry.changed.notify_one();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
