//! What federation asks: keys, pins, and mail that moves between relays. Storage does not believe it: whether a
//! blob may be taken, moved or deleted is decided here.

use crate::clock::trusted::TrustedClock;
use crate::clock::trusted_time::BEHIND;
use crate::config::Bounds;
use crate::db::Store;
use crate::db::batch::{Batch, Write};
use crate::db::error::StoreError;
use crate::db::totals::Gauges;
use crate::db::writer::Load;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::ohttp_keys::keys;
use crate::transfer::inventory::{self, Settled, Unsettled};
use crate::transfer::offer_cursor::Rounds;
use crate::transfer::peering::Peering;
use crate::transfer::{foreign_blobs, leases, outbox, peers, remote_blobs};
use relay_proto::admin::Capacity;
use relay_proto::federation::{
    Accept, BlobNames, CarriedBlob, Found, Identity, Introduction, Lease, Orders, OutboxEntry, PeerState,
    Pin, Settle, Verdict,
};
use relay_proto::inventory::{List, Listing, Reconcile, Reconciled};
use relay_proto::mail::BlobName;
use relay_proto::server::OffloadHandler;
use relay_proto::{NoiseSecret, PeerId, PeerSeed, Refusal, UnixSeconds};
use std::sync::Arc;

/// Blobs of a peer's list that are settled in one transaction.
const SETTLED_AT_ONCE: usize = 128;

/// Serves federation.
#[derive(Debug)]
pub(crate) struct Offload {
    pub(crate) store: Arc<Store>,
    pub(crate) peering: Arc<Peering>,
    pub(crate) rounds: Rounds,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bounds: Bounds,
    /// The part of the ceiling above which mail of others is refused.
    pub(crate) refuse: f64,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) metrics: Metrics,
}

/// This relay's keys as a peer, made when they are asked for the first time.
pub(crate) fn identity(sql: &rusqlite::Connection) -> Result<Identity, StoreError> {
    Ok(Identity {
        noise_secret: NoiseSecret::from_bytes(keys::secret(sql, "federation-noise")?),
        signing_seed: PeerSeed::from_bytes(keys::secret(sql, "federation-identity")?),
    })
}

impl Offload {
    /// Whether there is room for mail of others.
    fn may_grow(&self) -> bool {
        self.store.gauges.fill() < self.refuse && !self.peering.is_draining()
    }

    /// Finds blobs to offer, on a reader, and marks them. Answers their places.
    async fn offer(&self, lease: Lease, now: UnixSeconds) -> Result<Vec<i64>, Refusal> {
        if lease.max_blobs == 0 {
            return Ok(Vec::new());
        }
        loop {
            let after = self.rounds.stands_at(&lease);
            let search = self.store.readers.run(move |sql| leases::search(sql, &lease, after, now)).await?;
            let leases::Search { found, left_over, passed, is_over } = search;
            let (places, passed) = if found.is_empty() {
                (Vec::new(), passed)
            } else {
                let take = move |write: &mut Write<'_>| {
                    let (places, decided) = leases::take(write, &lease, &found, now)?;
                    let undecided = found.get(decided.max(left_over)).map(|seq| seq - 1);
                    Ok((places, undecided.unwrap_or(passed)))
                };
                self.store.writer.run_one(take).await?
            };
            self.rounds.passed(&lease, passed);
            if !places.is_empty() || is_over || left_over > 0 {
                return Ok(places);
            }
        }
    }
}

impl OffloadHandler for Offload {
    fn capacity(&self) -> Capacity {
        self.store.capacity()
    }

    async fn identity(&self) -> Result<Identity, Refusal> {
        Ok(self.store.writer.run_one(|write| identity(write.sql)).await?)
    }

    async fn resume(&self) -> Result<(), Refusal> {
        let mut after = i64::MIN;
        while let Some(last) = self.store.step(None, move |write| leases::resume(write.sql, after)).await? {
            after = last;
        }
        self.peering.restart();
        self.rounds.restart();
        Ok(())
    }

    fn tell(&self, peers: Vec<PeerState>) -> Orders {
        self.peering.hear(peers)
    }

    async fn pins(&self) -> Result<Vec<Pin>, Refusal> {
        Ok(self.store.readers.run(peers::pins).await?)
    }

    async fn introduce(&self, introduction: Introduction) -> Result<(), Refusal> {
        Ok(self.store.writer.run_one(move |write| peers::introduce(write.sql, &introduction)).await?)
    }

    async fn lease(&self, lease: Lease) -> Result<Vec<CarriedBlob>, Refusal> {
        // What is in memory only is not to leave: the hint would be lost with the process.
        if !self.store.durable {
            return Ok(Vec::new());
        }
        let now = self.time.times().now;
        let places = self.offer(lease, now).await?;
        let expected = places.len();
        let blobs = self.store.readers.run(move |sql| leases::read(sql, &places, now)).await?;
        if blobs.len() < expected {
            tracing::debug!(blobs = expected - blobs.len(), "leased blobs are gone or damaged and stay");
        }
        Ok(blobs)
    }

    async fn settle(&self, settle: Settle) -> Result<u32, Refusal> {
        let Settle { peer, home, settlements } = settle;
        let now = self.time.times().now;
        let settle = move |write: &mut Write<'_>, (name, verdict): &(BlobName, Verdict)| {
            leases::settle(write, &peer, home, name, *verdict, now)
        };
        let moved = self.store.each(settlements, settle).await?;
        let moved = moved.into_iter().map(u32::from).sum::<u32>();
        if !home {
            self.metrics.hints_stored.inc_by(moved.into());
        }
        Ok(moved)
    }

    async fn outbox(&self, peer: PeerId, limit: u32) -> Result<Vec<OutboxEntry>, Refusal> {
        if self.store.gauges.outbox() == 0 {
            return Ok(Vec::new());
        }
        Ok(self.store.writer.run_one(move |write| outbox::tell(write, &peer, limit)).await?)
    }

    async fn delivered(&self, numbers: Vec<u64>) -> Result<(), Refusal> {
        let now = self.time.times().stamp;
        let delivered = move |write: &mut Write<'_>, number: &u64| outbox::delivered(write, *number, now);
        self.store.each(numbers, delivered).await?;
        Ok(())
    }

    async fn missing(&self, names: BlobNames) -> Result<u32, Refusal> {
        let BlobNames { peer, names } = names;
        let missing = move |write: &mut Write<'_>, name: &BlobName| remote_blobs::missing(write, &peer, name);
        let gone = self.store.each(names, missing).await?.into_iter().map(u32::from).sum::<u32>();
        self.metrics.hints_missing.inc_by(gone.into());
        Ok(gone)
    }

    async fn accept(&self, accept: Accept) -> Result<Vec<Verdict>, Refusal> {
        let Accept { peer, home, blobs } = accept;
        if !self.store.durable {
            return Ok(vec![Verdict::NotNow; blobs.len()]);
        }
        // What is taken under a clock that is behind would be kept too long or let go too early.
        let Ok(now) = self.time.times_to_store() else {
            return Ok(vec![Verdict::NotNow; blobs.len()]);
        };
        let (bounds, may_grow, limits) = (self.bounds, self.may_grow(), Arc::clone(&self.limits));
        let bytes = blobs.iter().map(|blob| blob.ciphertext.as_bytes().len()).sum();
        let load = Load { commands: blobs.len(), bytes };
        // Hashing is not the writer's work.
        let sound: Vec<bool> = blobs.iter().map(CarriedBlob::is_sound).collect();
        let work = move |batch: &mut Batch<'_>| {
            let mut verdicts = Vec::with_capacity(blobs.len());
            let grow = |gauges: &Gauges, bytes| may_grow && limits.charge_peer(&peer, gauges, bytes);
            for (blob, is_sound) in blobs.iter().zip(sound) {
                let taken = batch.attempt(|write| match (is_sound, home) {
                    (false, _) => Ok(Verdict::Refused),
                    (true, true) => foreign_blobs::come_home(write, &peer, blob, &bounds, &grow, now),
                    (true, false) => foreign_blobs::accept(write, &peer, blob, &bounds, &grow, now),
                });
                verdicts.push(match taken {
                    Err(StoreError::Full) => Verdict::NotNow,
                    taken => taken?,
                });
            }
            Ok(verdicts)
        };
        Ok(self.store.writer.run(load, work).await?)
    }

    async fn read(&self, names: BlobNames) -> Result<Found, Refusal> {
        let BlobNames { peer, names } = names;
        // Whose mail it is decides when it is over: that relay's clock may be a little behind.
        let now = self.time.times().now.minus(BEHIND);
        Ok(self.store.readers.run(move |sql| foreign_blobs::read(sql, &peer, &names, now)).await?)
    }

    async fn forget(&self, names: BlobNames) -> Result<u32, Refusal> {
        let BlobNames { peer, names } = names;
        let now = self.time.times().stamp;
        let forget =
            move |write: &mut Write<'_>, name: &BlobName| foreign_blobs::forget(write, &peer, name, now);
        let deleted = self.store.each(names, forget).await?;
        Ok(deleted.into_iter().map(u32::from).sum())
    }

    async fn list(&self, list: List) -> Result<Listing, Refusal> {
        let List { peer, after, names } = list;
        let now = self.time.times().now;
        let read = move |sql: &rusqlite::Connection| inventory::list(sql, &peer, after.as_ref(), names, now);
        Ok(self.store.readers.run(read).await?)
    }

    async fn reconcile(&self, part: Reconcile) -> Result<Reconciled, Refusal> {
        // What is in memory only has no past that a peer could know more of.
        if !self.store.durable {
            return Ok(Reconciled::default());
        }
        // Under a clock that is behind nobody could say what is over.
        let Ok(now) = self.time.times_to_store() else { return Ok(Reconciled::default()) };
        let (peer, names) = (part.peer, part.names);
        let ceiling = self.store.gauges.ceiling_bytes();
        let compare = move |sql: &rusqlite::Connection| inventory::compare(sql, &part, ceiling, now.now);
        let Some(Unsettled { blobs, mut room }) = self.store.readers.run(compare).await? else {
            return Ok(Reconciled::default());
        };
        let mut reconciled = Reconciled { needs_names: !names, ..Reconciled::default() };
        let bounds = self.bounds;
        for blobs in blobs.chunks(SETTLED_AT_ONCE).map(<[_]>::to_vec) {
            let load = Load { commands: blobs.len(), bytes: 0 };
            let may_claim = room;
            let work = move |batch: &mut Batch<'_>| {
                let (mut claimed, mut told) = (0_u32, 0_u32);
                for blob in &blobs {
                    let has_room = u64::from(claimed) < may_claim;
                    match batch.attempt(|write| inventory::settle(write, &peer, blob, has_room, &bounds, now))
                    {
                        Ok(Settled::Claimed) => claimed += 1,
                        Ok(Settled::Told) => told += 1,
                        // Without a page left the claim waits for the next time.
                        Ok(Settled::Left) | Err(StoreError::Full) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok((claimed, told))
            };
            let (claimed, told) = self.store.writer.run(load, work).await?;
            reconciled.claimed += claimed;
            reconciled.told += told;
            room = room.saturating_sub(u64::from(claimed));
        }
        Ok(reconciled)
    }
}
