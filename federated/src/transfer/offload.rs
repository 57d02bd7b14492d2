//! Moving the oldest mail to peers while the store is too full, and all of it while the relay is being emptied.
//!
//! A blob moves in two phases, and storage keeps both: it is leased for a peer, durably and still served here; the
//! peer answers after its own commit; only its acceptance deletes the blob here, in the transaction that writes the
//! hint. What happens in between, whoever dies, leaves it on one relay at least.

pub(crate) mod plan;
mod window;

use crate::context::{Context, capacity, replied};
use crate::registry::{Counts, PeerCapacity};
use crate::session::{Answer, body};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use plan::Ratios;
use relay_daemon::Shutdown;
use relay_proto::limits::{MAX_CARRIED_BLOBS, MAX_CARRIED_BYTES};
use relay_proto::mail::BlobName;
use relay_proto::messages::{
    CapacityReply, LeaseRequest, ResumeReply, ResumeRequest, SettleRequest, Settlement,
};
use relay_proto::peer::{Hops, OfferedBlob};
use relay_proto::transfer::{Direction, OfferResult, TransferBlob, carried_blobs};
use relay_proto::{PeerId, StorageError, Ttl, UnixSeconds};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use window::Window;

/// Between two looks at how full the store is while nothing moves.
const LOOK: Duration = Duration::from_secs(1);

/// Messages with blobs on their way at once, to all peers.
const IN_FLIGHT: usize = 8;

/// How long a lease lasts, in seconds: longer than the largest blob takes to a peer that is just not given up. Leases of
/// which nothing is to be expected are ended before.
const LEASE_SECS: u32 = 7200;

/// Moves mail.
pub(crate) struct Offloader {
    pub(crate) context: Arc<Context>,
    pub(crate) ratios: Ratios,
    /// Whether the operator wants the relay emptied.
    pub(crate) draining: Arc<AtomicBool>,
}

/// Whose turn is over.
#[derive(Debug, Default)]
struct Turns {
    /// Mail of peers is going home: this relay's own needs the room.
    is_homing: bool,
    /// Peers that were offered all they may be, and took nothing more: the next ones are asked first.
    sated: HashSet<PeerId>,
    /// Peers that nothing more can be brought home to.
    at_home: HashSet<PeerId>,
}

impl Turns {
    fn set_homing(&mut self, is_homing: bool) {
        if !is_homing {
            self.at_home.clear();
        }
        self.is_homing = is_homing;
    }

    /// A job came to nothing.
    fn over(&mut self, job: OffloadJob) {
        let turns = match job.direction {
            Direction::ToOrigin => &mut self.at_home,
            Direction::ToHolder => &mut self.sated,
        };
        turns.insert(job.peer);
    }

    /// The peers of whom something may be here.
    fn with_mail_here(&self, places: &[PeerCapacity]) -> Vec<PeerCapacity> {
        places.iter().filter(|place| !self.at_home.contains(&place.peer)).copied().collect()
    }

    /// The peers that may take more.
    fn unsated(&mut self, mut places: Vec<PeerCapacity>) -> Vec<PeerCapacity> {
        places.retain(|place| !self.sated.contains(&place.peer));
        if places.is_empty() {
            // Everybody has had a turn.
            self.sated.clear();
        }
        places
    }
}

/// What is to be asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OffloadJob {
    peer: PeerId,
    direction: Direction,
    bytes: u64,
}

/// How a job went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Blobs moved, or at least some were decided on.
    Moved,
    /// There is nothing to be offered.
    Nothing,
    /// The peer or storage did not answer.
    Failed,
}

type Moves = FuturesUnordered<Pin<Box<dyn Future<Output = (OffloadJob, Outcome, Duration)> + Send>>>;

impl Offloader {
    /// Moves mail until the process stops.
    pub(crate) async fn run(self, shutdown: &Shutdown) {
        let offloader = Arc::new(self);
        let mut moves = Moves::new();
        let mut windows: HashMap<PeerId, Window> = HashMap::new();
        let mut failed = false;
        let mut turns = Turns::default();
        while !shutdown.has_begun() {
            if failed && moves.is_empty() {
                // Nothing is on its way, so nothing is to be expected of what was leased.
                failed = !offloader.free_leases().await;
            }
            let looking = capacity(&offloader.context.storage);
            let Some(capacity) = shutdown.unless_begun(looking).await else { return };
            match capacity {
                Ok(capacity) => {
                    turns.set_homing(offloader.ratios.homing(capacity, turns.is_homing, 0) > 0);
                    offloader.look(capacity, turns.is_homing);
                    while moves.len() < IN_FLIGHT
                        && let Some(job) = offloader.next(capacity, &windows, &mut turns)
                    {
                        windows.entry(job.peer).or_default().begin(job.bytes);
                        moves.push(Box::pin(Arc::clone(&offloader).run_job(job)));
                    }
                }
                Err(refusal) => tracing::debug!(%refusal, "storage does not say how full it is"),
            }
            let mut rests = true;
            while rests {
                tokio::select! {
                    Some((job, outcome, took)) = moves.next() => {
                        let answered = (outcome != Outcome::Failed).then_some(took);
                        windows.entry(job.peer).or_default().end(job.bytes, answered);
                        failed |= outcome == Outcome::Failed;
                        if outcome == Outcome::Nothing {
                            turns.over(job);
                        }
                        // A peer or a store that has nothing to say is not asked again at once.
                        rests = outcome != Outcome::Moved;
                    }
                    () = tokio::time::sleep(LOOK) => rests = false,
                    () = shutdown.begun() => rests = false,
                }
            }
        }
    }

    /// Ends leases that came to nothing, so that what was leased is offered again. Returns whether they are.
    async fn free_leases(&self) -> bool {
        let freed = replied(self.context.storage.offload().resume(ResumeRequest {}).await);
        if let Err(refusal) = &freed {
            tracing::debug!(%refusal, "storage does not end leases that came to nothing");
        }
        // It took that for a new beginning.
        self.context.registry.tell_again();
        matches!(freed, Ok(ResumeReply {}))
    }

    fn look(&self, capacity: CapacityReply, is_homing: bool) {
        self.context.metrics.saw(capacity);
        let closed = is_homing || self.draining.load(Relaxed);
        self.context.registry.set_own_capacity(self.ratios.room(capacity, closed));
    }

    /// What to do next, if anything.
    fn next(
        &self,
        capacity: CapacityReply,
        windows: &HashMap<PeerId, Window>,
        turns: &mut Turns,
    ) -> Option<OffloadJob> {
        let registry = &self.context.registry;
        let job = |direction, (peer, bytes)| OffloadJob { peer, direction, bytes };
        let window = |peer: &PeerId| windows.get(peer).copied().unwrap_or_default();
        if self.draining.load(Relaxed) {
            // What belongs to others goes home first: they need not be told where it is.
            let may_move = |peer: &PeerId| window(peer).in_flight() == 0 && registry.agrees_on_time(peer);
            if let Some(peer) = registry.connected().into_iter().find(may_move) {
                return Some(job(Direction::ToOrigin, (peer, window(&peer).message())));
            }
            let chosen = plan::choose(&registry.places(), windows, capacity.live_bytes)?;
            return Some(job(Direction::ToHolder, chosen));
        }
        let in_flight = windows.values().map(Window::in_flight).sum();
        let places = registry.places();
        // What belongs to others makes room first, where its origin has some.
        let homing = self.ratios.homing(capacity, turns.is_homing, in_flight);
        if let Some(chosen) = plan::choose(&turns.with_mail_here(&places), windows, homing) {
            return Some(job(Direction::ToOrigin, chosen));
        }
        let excess = self.ratios.excess(capacity, in_flight);
        plan::choose(&turns.unsated(places), windows, excess).map(|chosen| job(Direction::ToHolder, chosen))
    }

    async fn run_job(self: Arc<Self>, job: OffloadJob) -> (OffloadJob, Outcome, Duration) {
        let mut took = Duration::ZERO;
        let mut outcome = self.offer(job, &mut took).await;
        let gives_away = self.draining.load(Relaxed) && self.takes_mail(&job.peer);
        if job.direction == Direction::ToOrigin && outcome == Outcome::Nothing && gives_away {
            // Nothing of the peer's is here: it may have some of this relay's own.
            outcome = self.offer(OffloadJob { direction: Direction::ToHolder, ..job }, &mut took).await;
        }
        (job, outcome, took)
    }

    fn takes_mail(&self, peer: &PeerId) -> bool {
        self.context.registry.places().iter().any(|place| place.peer == *peer)
    }

    /// Offers blobs to a peer, and does what it says of them. `took` becomes the time from the offer to the answer.
    async fn offer(&self, job: OffloadJob, took: &mut Duration) -> Outcome {
        let OffloadJob { peer, direction, .. } = job;
        let blobs = match self.lease(job).await {
            Ok(blobs) if blobs.is_empty() => return Outcome::Nothing,
            Ok(blobs) => blobs,
            Err(refusal) => {
                tracing::debug!(%refusal, "storage has nothing to move now");
                return Outcome::Failed;
            }
        };
        let names: Vec<BlobName> = blobs.iter().map(TransferBlob::name).collect();
        let Some(hops) = Hops::origin().next() else { return Outcome::Failed };
        if self.context.registry.turn(&peer).await.is_err() {
            return Outcome::Failed;
        }
        let blobs = blobs.into_iter().map(|blob| OfferedBlob::new(blob, hops)).collect();
        let began = Instant::now();
        let answer =
            self.context.registry.offer(&peer, body::offload(direction, blobs), self.context.patience).await;
        *took = began.elapsed();
        let Ok(Answer::Offload { verdicts, capacity }) = answer else {
            // It may have them, and nobody knows. They stay leased until that is certain, and are offered again then.
            return Outcome::Failed;
        };
        self.context.registry.set_capacity(&peer, capacity);
        let refused_for_now = verdicts.contains(&OfferResult::NotNow);
        if refused_for_now {
            self.context.registry.is_full(&peer);
        }
        let accepted = verdicts.iter().filter(|verdict| **verdict == OfferResult::Accepted).count() as u64;
        self.context.metrics.offloads_declined.inc_by(verdicts.len() as u64 - accepted);
        match self.settle(peer, direction, names.into_iter().zip(verdicts)).await {
            Ok(moved) => {
                self.context.metrics.offloads_sent.inc_by(moved.into());
                self.context.registry.count(&peer, Counts { sent: moved.into(), ..Counts::default() });
                if refused_for_now { Outcome::Nothing } else { Outcome::Moved }
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "storage does not take what a peer said; it is asked again");
                Outcome::Failed
            }
        }
    }

    async fn lease(&self, job: OffloadJob) -> Result<Vec<TransferBlob>, StorageError> {
        let OffloadJob { peer, direction, bytes } = job;
        // What would outlast the peer's own mail it refuses. What is returned to it it has promised that time itself.
        let latest_expiry = self
            .context
            .registry
            .keeps(&peer)
            .filter(|_| direction == Direction::ToHolder)
            .map(|seconds| Ttl::from_secs(seconds).expiry(self.context.clock.now()));
        let request = LeaseRequest {
            peer: peer.into(),
            home: direction.is_home(),
            max_blobs: MAX_CARRIED_BLOBS as u32,
            max_bytes: bytes.min(MAX_CARRIED_BYTES as u64),
            lease_secs: LEASE_SECS,
            latest_expiry: latest_expiry.map_or(0, UnixSeconds::get),
        };
        carried_blobs(replied(self.context.storage.offload().lease(request).await)?.blobs)
    }

    /// Returns how many blobs have moved.
    async fn settle(
        &self,
        peer: PeerId,
        direction: Direction,
        said: impl Iterator<Item = (BlobName, OfferResult)>,
    ) -> Result<u32, StorageError> {
        let settlements = said
            .map(|(name, verdict)| Settlement { name: Some(name.into()), verdict: verdict.into() })
            .collect();
        let request = SettleRequest { peer: peer.into(), home: direction.is_home(), settlements };
        Ok(replied(self.context.storage.offload().settle(request).await)?.moved)
    }
}

#[cfg(test)]
mod tests;
