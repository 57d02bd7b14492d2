//! The operator's calls.

use super::{Reply, backup, usage};
use crate::clock::TrustedClock;
use crate::db::{Store, Total, compact, schema};
use crate::metrics::aggregator::MetricsAggregator;
use crate::ohttp_keys::keyring::Keyring;
use crate::transfer::peers::operator;
use crate::transfer::peers::peering::Peering;
use relay_proto::admin::Capacity;
use relay_proto::field::identifier;
use relay_proto::messages::{
    BackupPart, BackupRequest, ClockStanding, CompactReply, CompactRequest, DrainReply, DrainRequest,
    EvictReply, EvictRequest, ForgetPeerReply, ForgetPeerRequest, Key, KeyStatus, KeyStatusRequest,
    KindUsage, PeersReply, PeersRequest, Process, ReassignPeerReply, ReassignPeerRequest, StatusReply,
    StatusRequest, TrustClockReply, TrustClockRequest, UsageRequest, admin_server,
};
use relay_proto::{Ttl, UnixSeconds};
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Serves the operator.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) store: Arc<Store>,
    pub(crate) reporters: Arc<MetricsAggregator>,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) peering: Arc<Peering>,
    /// Whether the operator wants peers.
    pub(crate) federates: bool,
    pub(crate) process: Process,
    /// How long mail is kept.
    pub(crate) keeps: Ttl,
    /// When the key for client addresses was drawn.
    pub(crate) address_key_since: UnixSeconds,
}

#[tonic::async_trait]
impl admin_server::Admin for Admin {
    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusReply> {
        let mut processes = vec![self.process.clone()];
        processes.extend(self.reporters.processes());
        let clock = self.time.status();
        let Capacity { live_bytes, ceiling_bytes, durable, foreign_bytes: _ } = self.store.capacity();
        Ok(Response::new(StatusReply {
            processes,
            live_bytes,
            ceiling_bytes,
            blobs: self.store.gauges.of(Total::BLOBS),
            registrations: self.store.gauges.of(Total::REGISTRATIONS),
            durable,
            schema_version: schema::VERSION,
            sqlite_version: schema::library_version().to_owned(),
            sweep_suspended: clock.standing() != ClockStanding::Trusted,
            keys: vec![Key { name: "address hashing".to_owned(), since: self.address_key_since.get() }],
            clock: Some(clock),
        }))
    }

    async fn keys(&self, _: Request<KeyStatusRequest>) -> Reply<KeyStatus> {
        Ok(Response::new(self.keyring.status()?))
    }

    async fn peers(&self, _: Request<PeersRequest>) -> Reply<PeersReply> {
        let now = self.time.times().now;
        let peers = operator::peers(&self.store, &self.peering, self.federates, now).await?;
        Ok(Response::new(PeersReply { keeps_secs: self.keeps.as_secs(), ..peers }))
    }

    async fn forget_peer(&self, request: Request<ForgetPeerRequest>) -> Reply<ForgetPeerReply> {
        let ForgetPeerRequest { url } = request.into_inner();
        let forgotten = operator::forget_pin(&self.store, url).await?;
        Ok(Response::new(ForgetPeerReply { forgotten }))
    }

    async fn reassign_peer(&self, request: Request<ReassignPeerRequest>) -> Reply<ReassignPeerReply> {
        let ReassignPeerRequest { from, to } = request.into_inner();
        let (from, to) = (identifier("from", &from)?, identifier("to", &to)?);
        Ok(Response::new(operator::reassign(&self.store, &self.peering, from, to).await?))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Reply<DrainReply> {
        let DrainRequest { draining } = request.into_inner();
        operator::drain(&self.store, &self.peering, draining).await?;
        Ok(Response::new(DrainReply { blobs: self.store.gauges.of(Total::BLOBS) }))
    }

    type BackupStream = ReceiverStream<Result<BackupPart, Status>>;

    async fn backup(&self, request: Request<BackupRequest>) -> Reply<Self::BackupStream> {
        let BackupRequest {} = request.into_inner();
        Ok(Response::new(backup::backup(&self.store)?))
    }

    async fn compact(&self, request: Request<CompactRequest>) -> Reply<CompactReply> {
        let CompactRequest { give } = request.into_inner();
        Ok(Response::new(compact::compact(&self.store, give).await?))
    }

    type UsageStream = ReceiverStream<Result<KindUsage, Status>>;

    async fn usage(&self, request: Request<UsageRequest>) -> Reply<Self::UsageStream> {
        let UsageRequest {} = request.into_inner();
        Ok(Response::new(usage::usage(&self.store, self.keeps, self.time.times().now)))
    }

    type EvictStream = ReceiverStream<Result<EvictReply, Status>>;

    async fn evict(&self, request: Request<EvictRequest>) -> Reply<Self::EvictStream> {
        let (request, now) = (request.into_inner(), self.time.times().now);
        Ok(Response::new(usage::evict(&self.store, request, self.keeps, now)?))
    }

    async fn trust_clock(&self, request: Request<TrustClockRequest>) -> Reply<TrustClockReply> {
        let TrustClockRequest {} = request.into_inner();
        let before = Some(self.time.trust(&self.store).await?);
        Ok(Response::new(TrustClockReply { before }))
    }
}
