//! What federation asks: keys, pins, and mail that moves between relays. Storage does not believe it: whether a
//! blob may be taken, moved or deleted is decided here.

use super::Reply;
use crate::clock::{BEHIND, TrustedClock};
use crate::config::Bounds;
use crate::db::Store;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::transfer::inventory::{self, Part};
use crate::transfer::offer_cursor::OfferCursor;
use crate::transfer::offers::Lease;
use crate::transfer::outbox;
use crate::transfer::peers::peering::Peering;
use crate::transfer::peers::{self, DialledPeer};
use crate::transfer::transitions::{self, Terms};
use relay_proto::admin::Capacity;
use relay_proto::field::{identifier, required};
use relay_proto::limits::{MAX_CARRIED_BLOBS, MAX_CARRIED_BYTES, MAX_CLIENT_URL, MAX_PEER_URL};
use relay_proto::mail::BlobName;
use relay_proto::messages::{
    AcceptReply, AcceptRequest, BlobNames, CapacityReply, CapacityRequest, CarriedBlob, CarriedBlobs,
    DeliveredReply, DeliveredRequest, ForgetReply, Identity, IdentityRequest, IntroduceReply, Introduction,
    LeaseRequest, Link, ListRequest, Listing, MissingReply, Orders, OutboxReply, OutboxRequest, PeerReport,
    PinsReply, PinsRequest, ReadReply, ReconcileReply, ReconcileRequest, ResumeReply, ResumeRequest,
    SettleReply, SettleRequest, Settlement, offload_server,
};
use relay_proto::transfer::{Direction, OfferResult, blob_names, carried_blobs, verdict};
use relay_proto::{PeerId, StorageError, UnixSeconds};
use std::sync::Arc;
use tonic::{Request, Response};

/// Serves federation.
#[derive(Debug)]
pub(crate) struct Offload {
    pub(crate) store: Arc<Store>,
    pub(crate) peering: Arc<Peering>,
    pub(crate) rounds: OfferCursor,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bounds: Bounds,
    /// The part of the ceiling above which mail of others is refused.
    pub(crate) refuse: f64,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) metrics: Metrics,
}

impl Offload {
    fn terms(&self) -> Terms {
        let may_grow = self.store.gauges.fill() < self.refuse && !self.peering.is_draining();
        Terms { bounds: self.bounds, may_grow, limits: Arc::clone(&self.limits) }
    }
}

/// Reads names of one peer.
fn named(message: BlobNames) -> Result<(PeerId, Vec<BlobName>), StorageError> {
    let BlobNames { peer, names } = message;
    Ok((identifier("peer", &peer)?, blob_names(names)?))
}

/// Refuses more blobs than a message carries.
fn carriable(field: &'static str, blobs: impl TryInto<usize>) -> Result<(), StorageError> {
    match blobs.try_into() {
        Ok(blobs) if blobs <= MAX_CARRIED_BLOBS => Ok(()),
        _ => Err(StorageError::invalid(field)),
    }
}

#[tonic::async_trait]
impl offload_server::Offload for Offload {
    async fn capacity(&self, request: Request<CapacityRequest>) -> Reply<CapacityReply> {
        let CapacityRequest {} = request.into_inner();
        let Capacity { live_bytes, ceiling_bytes, durable, foreign_bytes } = self.store.capacity();
        Ok(Response::new(CapacityReply { live_bytes, ceiling_bytes, durable, foreign_bytes }))
    }

    async fn identity(&self, request: Request<IdentityRequest>) -> Reply<Identity> {
        let IdentityRequest {} = request.into_inner();
        let (noise_secret, signing_seed) = peers::identity(&self.store).await?;
        Ok(Response::new(Identity { noise_secret: noise_secret.into(), signing_seed: signing_seed.into() }))
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Reply<ResumeReply> {
        let ResumeRequest {} = request.into_inner();
        transitions::withdrawn(&self.store).await?;
        self.peering.restart();
        self.rounds.restart();
        Ok(Response::new(ResumeReply {}))
    }

    async fn tell(&self, request: Request<PeerReport>) -> Reply<Orders> {
        let PeerReport { peers } = request.into_inner();
        for peer in &peers {
            if !peer.identity.is_empty() {
                identifier::<PeerId>("identity", &peer.identity)?;
            }
            if matches!(Link::try_from(peer.link), Ok(Link::Unspecified) | Err(_)) {
                return Err(StorageError::invalid("link").into());
            }
        }
        Ok(Response::new(self.peering.hear(peers)))
    }

    async fn pins(&self, request: Request<PinsRequest>) -> Reply<PinsReply> {
        let PinsRequest {} = request.into_inner();
        Ok(Response::new(PinsReply { pins: peers::pinned(&self.store).await? }))
    }

    async fn introduce(&self, request: Request<Introduction>) -> Reply<IntroduceReply> {
        let Introduction { identity, url, noise_key, configured, client_url } = request.into_inner();
        let identity = identifier("identity", &identity)?;
        if url.len() > MAX_PEER_URL || client_url.len() > MAX_CLIENT_URL {
            return Err(StorageError::invalid("url").into());
        }
        // A peer that dials is met at no address.
        let met = if url.is_empty() {
            None
        } else {
            Some(DialledPeer { url, noise_key: identifier("noise_key", &noise_key)?, configured })
        };
        peers::introduced(&self.store, identity, met, client_url).await?;
        Ok(Response::new(IntroduceReply {}))
    }

    async fn lease(&self, request: Request<LeaseRequest>) -> Reply<CarriedBlobs> {
        let LeaseRequest { peer, home, max_blobs, max_bytes, lease_secs, latest_expiry } =
            request.into_inner();
        carriable("max_blobs", max_blobs)?;
        let latest_expiry = (latest_expiry > 0).then_some(UnixSeconds::new(latest_expiry));
        let (peer, direction) = (identifier("peer", &peer)?, Direction::from_home(home));
        // More than this goes into no reply.
        let max_bytes = max_bytes.min(MAX_CARRIED_BYTES as u64);
        let lease = Lease { peer, direction, max_blobs, max_bytes, lease_secs, latest_expiry };
        let blobs = transitions::offered(&self.store, &self.rounds, lease, self.time.times().now).await?;
        Ok(Response::new(CarriedBlobs { blobs: blobs.into_iter().map(CarriedBlob::from).collect() }))
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Reply<SettleReply> {
        let SettleRequest { peer, home, settlements } = request.into_inner();
        carriable("settlements", settlements.len())?;
        let read = |settlement: Settlement| {
            let Settlement { name, verdict: said } = settlement;
            Ok((required("name", name)?.try_into()?, verdict("verdict", said)?))
        };
        let settlements = settlements.into_iter().map(read).collect::<Result<_, StorageError>>()?;
        let (peer, direction) = (identifier("peer", &peer)?, Direction::from_home(home));
        let now = self.time.times().now;
        let moved = transitions::moved(&self.store, peer, direction, settlements, now).await?;
        if direction == Direction::ToHolder {
            self.metrics.hints_stored.inc_by(moved.into());
        }
        Ok(Response::new(SettleReply { moved }))
    }

    async fn outbox(&self, request: Request<OutboxRequest>) -> Reply<OutboxReply> {
        let OutboxRequest { peer, limit } = request.into_inner();
        carriable("limit", limit)?;
        let entries = outbox::due(&self.store, identifier("peer", &peer)?, limit).await?;
        Ok(Response::new(OutboxReply { entries }))
    }

    async fn delivered(&self, request: Request<DeliveredRequest>) -> Reply<DeliveredReply> {
        let DeliveredRequest { numbers } = request.into_inner();
        carriable("numbers", numbers.len())?;
        outbox::delivered(&self.store, numbers, self.time.times().stamp).await?;
        Ok(Response::new(DeliveredReply {}))
    }

    async fn missing(&self, request: Request<BlobNames>) -> Reply<MissingReply> {
        let (peer, names) = named(request.into_inner())?;
        let forgotten = transitions::lost(&self.store, peer, names).await?;
        self.metrics.hints_missing.inc_by(forgotten.into());
        Ok(Response::new(MissingReply { forgotten }))
    }

    async fn accept(&self, request: Request<AcceptRequest>) -> Reply<AcceptReply> {
        let AcceptRequest { peer, home, blobs } = request.into_inner();
        let (peer, direction) = (identifier("peer", &peer)?, Direction::from_home(home));
        let blobs = carried_blobs(blobs)?;
        let verdicts = match self.time.times_to_store() {
            Ok(now) if self.store.durable => {
                transitions::accepted(&self.store, peer, direction, blobs, self.terms(), now).await?
            }
            // Memory takes no mail of others; and what is taken under a clock that is behind would be kept too long or
            // let go too early.
            _ => vec![OfferResult::NotNow; blobs.len()],
        };
        Ok(Response::new(AcceptReply { verdicts: verdicts.into_iter().map(i32::from).collect() }))
    }

    async fn read(&self, request: Request<BlobNames>) -> Reply<ReadReply> {
        let (peer, names) = named(request.into_inner())?;
        // Whose mail it is decides when it is over: that relay's clock may be a little behind.
        let now = self.time.times().now.minus(BEHIND);
        Ok(Response::new(transitions::recalled(&self.store, peer, names, now).await?))
    }

    async fn forget(&self, request: Request<BlobNames>) -> Reply<ForgetReply> {
        let (peer, names) = named(request.into_inner())?;
        let deleted = transitions::forgotten(&self.store, peer, names, self.time.times().stamp).await?;
        Ok(Response::new(ForgetReply { deleted }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Reply<Listing> {
        let ListRequest { peer, after, names } = request.into_inner();
        let (peer, after) = (identifier("peer", &peer)?, after.map(BlobName::try_from).transpose()?);
        let listing = inventory::listed(&self.store, peer, after, names, self.time.times().now).await?;
        Ok(Response::new(listing))
    }

    async fn reconcile(&self, request: Request<ReconcileRequest>) -> Reply<ReconcileReply> {
        let ReconcileRequest { peer, after, names, listing } = request.into_inner();
        let (peer, after) = (identifier("peer", &peer)?, after.map(BlobName::try_from).transpose()?);
        let part = Part::read(peer, after, names, required("listing", listing)?)?;
        let reply = match self.time.times_to_store() {
            Ok(now) if self.store.durable => {
                inventory::reconciled(&self.store, part, self.bounds, now).await?
            }
            // What is in memory only has no past that a peer could know more of; and under a clock that is behind nobody
            // could say what is over.
            _ => ReconcileReply::default(),
        };
        Ok(Response::new(reply))
    }
}
