//! Moving the oldest mail to peers while the store is too full, and all of it while the relay is being emptied.
//!
//! A blob moves in two phases, and storage keeps both: it is leased for a peer, durably and still served here; the
//! peer answers after its own commit; only its acceptance deletes the blob here, in the transaction that writes the
//! hint. What happens in between, whoever dies, leaves it on one relay at least.

pub(crate) mod plan;

use crate::metrics::Metrics;
use crate::roster::{Counts, Roster};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use plan::Ratios;
use relay_daemon::Shutdown;
use relay_proto::PeerId;
use relay_proto::admin::Capacity;
use relay_proto::client::StorageClient;
use relay_proto::federation::{CarriedBlob, Lease, Settle, Verdict};
use relay_proto::limits::{MAX_CARRIED_BLOBS, MAX_CARRIED_BYTES};
use relay_proto::mail::BlobName;
use relay_proto::peer::{Body, Hops, OfferedBlob};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Between two looks at how full the store is while nothing moves.
const LOOK: Duration = Duration::from_secs(1);

/// Messages with blobs on their way at once.
const IN_FLIGHT: usize = 4;

/// How much longer a lease lasts than an answer may take, in seconds: settling it takes a moment.
const SETTLING_SECS: u64 = 5;

/// Moves mail.
pub(crate) struct Offloader {
    pub(crate) storage: StorageClient,
    pub(crate) roster: Arc<Roster>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ratios: Ratios,
    /// Whether the operator wants the relay emptied.
    pub(crate) draining: Arc<AtomicBool>,
    /// How long a peer may take to answer.
    pub(crate) patience: Duration,
}

/// What is to be asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Errand {
    peer: PeerId,
    home: bool,
    bytes: u64,
}

/// How an errand went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Blobs moved, or at least some were decided on.
    Moved,
    /// There is nothing to be offered.
    Nothing,
    /// The peer or storage did not answer.
    Failed,
}

type Moves = FuturesUnordered<Pin<Box<dyn Future<Output = (Errand, Outcome)> + Send>>>;

impl Offloader {
    /// Moves mail until the process stops.
    pub(crate) async fn run(self, shutdown: &Shutdown) {
        let offloader = Arc::new(self);
        let mut moves = Moves::new();
        let mut in_flight = HashMap::new();
        while !shutdown.has_begun() {
            let capacity = tokio::select! {
                capacity = offloader.storage.capacity() => capacity,
                () = shutdown.begun() => break,
            };
            let mut rests = true;
            match capacity {
                Ok(capacity) => {
                    offloader.look(capacity);
                    while moves.len() < IN_FLIGHT
                        && let Some(errand) = offloader.next(capacity, &in_flight)
                    {
                        *in_flight.entry(errand.peer).or_insert(0) += errand.bytes;
                        moves.push(Box::pin(Arc::clone(&offloader).run_errand(errand)));
                    }
                }
                Err(refusal) => tracing::debug!(%refusal, "storage does not say how full it is"),
            }
            while rests {
                tokio::select! {
                    Some((errand, outcome)) = moves.next() => {
                        settle(&mut in_flight, errand);
                        // A peer or a store that has nothing to say is not asked again at once.
                        rests = outcome != Outcome::Moved;
                    }
                    () = tokio::time::sleep(LOOK) => rests = false,
                    () = shutdown.begun() => rests = false,
                }
            }
        }
    }

    fn look(&self, capacity: Capacity) {
        self.metrics.saw(capacity);
        self.roster.set_own_room(self.ratios.room(capacity, self.draining.load(Relaxed)));
    }

    /// What to do next, if anything.
    fn next(&self, capacity: Capacity, in_flight: &HashMap<PeerId, u64>) -> Option<Errand> {
        let on_its_way = |peer: &PeerId| in_flight.get(peer).copied().unwrap_or(0);
        if self.draining.load(Relaxed) {
            // What belongs to others goes home first: they need not be told where it is.
            let idle = self.roster.connected().into_iter().find(|peer| on_its_way(peer) == 0);
            if let Some(peer) = idle {
                return Some(Errand { peer, home: true, bytes: plan::MESSAGE });
            }
            let (peer, bytes) = plan::choose(&self.roster.places(), on_its_way, capacity.live_bytes)?;
            return Some(Errand { peer, home: false, bytes });
        }
        let excess = self.ratios.excess(capacity, in_flight.values().sum());
        let (peer, bytes) = plan::choose(&self.roster.places(), on_its_way, excess)?;
        Some(Errand { peer, home: false, bytes })
    }

    async fn run_errand(self: Arc<Self>, errand: Errand) -> (Errand, Outcome) {
        let mut outcome = self.offer(errand).await;
        if errand.home && outcome == Outcome::Nothing && self.takes_mail(&errand.peer) {
            // Nothing of the peer's is here: it may have some of this relay's own.
            outcome = self.offer(Errand { home: false, ..errand }).await;
        }
        (errand, outcome)
    }

    fn takes_mail(&self, peer: &PeerId) -> bool {
        self.roster.places().iter().any(|place| place.peer == *peer)
    }

    /// Offers blobs to a peer, and does what it says of them.
    async fn offer(&self, errand: Errand) -> Outcome {
        let Errand { peer, home, bytes } = errand;
        let lease = Lease {
            peer,
            home,
            max_blobs: MAX_CARRIED_BLOBS as u32,
            max_bytes: bytes.min(MAX_CARRIED_BYTES as u64),
            lease_secs: u32::try_from(self.patience.as_secs() + SETTLING_SECS).unwrap_or(u32::MAX),
        };
        let blobs = match self.storage.lease(lease).await {
            Ok(blobs) if blobs.is_empty() => return Outcome::Nothing,
            Ok(blobs) => blobs,
            Err(refusal) => {
                tracing::debug!(%refusal, "storage has nothing to move now");
                return Outcome::Failed;
            }
        };
        let names: Vec<BlobName> = blobs.iter().map(CarriedBlob::name).collect();
        let Some(hops) = Hops::origin().next() else { return Outcome::Failed };
        if self.roster.turn(&peer).await.is_err() {
            return Outcome::Failed;
        }
        let blobs = blobs.into_iter().map(|blob| OfferedBlob::new(blob, hops)).collect();
        let answer = self.roster.ask(&peer, Body::Offload { home, blobs }, self.patience).await;
        let Ok(Body::OffloadAck { verdicts, room }) = answer else {
            // It may have them, and nobody knows. They stay leased for a while, and are offered to it again then.
            return Outcome::Failed;
        };
        self.roster.set_room(&peer, room);
        let refused_for_now = verdicts.contains(&Verdict::NotNow);
        if refused_for_now {
            self.roster.is_full(&peer);
        }
        let accepted = verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted).count() as u64;
        self.metrics.offloads_declined.inc_by(verdicts.len() as u64 - accepted);
        let settlements = names.into_iter().zip(verdicts).collect();
        match self.storage.settle(Settle { peer, home, settlements }).await {
            Ok(moved) => {
                self.metrics.offloads_sent.inc_by(moved.into());
                self.roster.count(&peer, Counts { sent: moved.into(), ..Counts::default() });
                if refused_for_now { Outcome::Nothing } else { Outcome::Moved }
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "storage does not take what a peer said; it is asked again");
                Outcome::Failed
            }
        }
    }
}

fn settle(in_flight: &mut HashMap<PeerId, u64>, errand: Errand) {
    if let Some(bytes) = in_flight.get_mut(&errand.peer) {
        *bytes = bytes.saturating_sub(errand.bytes);
    }
}

#[cfg(test)]
mod tests;
