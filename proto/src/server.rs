//! The serving half: handler traits that speak domain types, and the one implementation of each generated
//! service over them.

mod budget;
mod connection;
mod entrance;
mod services;

pub use services::Services;

use crate::admin::{BackupPart, ClockStatus, Evict, Evicted, KeyStatus, KindUsage, Slack, Status};
use crate::federation::{Peering, Reassigned};
use crate::telemetry::{Family, Snapshot};
use crate::{PeerId, Refusal, convert, wire};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status as GrpcStatus, Streaming};

/// Gathers health and counters.
pub trait TelemetryHandler: Send + Sync + 'static {
    /// Whether the store can commit.
    fn check(&self) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Takes one reporter's snapshots for as long as it lives. Must return when the process stops.
    fn report(
        &self,
        snapshots: impl Stream<Item = Result<Snapshot, Refusal>> + Send + Unpin,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// The counters of the whole relay.
    fn collect(&self) -> Vec<Family>;
}

/// Serves the operator.
pub trait AdminHandler: Send + Sync + 'static {
    /// What `relay status` shows.
    fn status(&self) -> impl Future<Output = Result<Status, Refusal>> + Send;
    /// What `relay keys` shows.
    fn keys(&self) -> impl Future<Output = Result<KeyStatus, Refusal>> + Send;
    /// What `relay peers` shows.
    fn peers(&self) -> impl Future<Output = Result<Peering, Refusal>> + Send;
    /// Forgets what an address is pinned to. Answers whether it was.
    fn forget_peer(&self, url: String) -> impl Future<Output = Result<bool, Refusal>> + Send;
    /// Gives what is held for one relay to another.
    fn reassign_peer(
        &self,
        from: PeerId,
        to: PeerId,
    ) -> impl Future<Output = Result<Reassigned, Refusal>> + Send;
    /// Begins or ends emptying the relay into its peers. Answers how many blobs are still here.
    fn drain(&self, draining: bool) -> impl Future<Output = Result<u64, Refusal>> + Send;
    /// What `relay backup` writes. The stream ends when all of the copy is out.
    fn backup(
        &self,
    ) -> impl Future<
        Output = Result<impl Stream<Item = Result<BackupPart, Refusal>> + Send + 'static, Refusal>,
    > + Send;
    /// Tells what is free, after giving some of it back if that is wanted.
    fn compact(&self, give: bool) -> impl Future<Output = Result<Slack, Refusal>> + Send;
    /// What `relay usage` shows, one kind after another.
    fn usage(
        &self,
    ) -> impl Future<Output = Result<impl Stream<Item = Result<KindUsage, Refusal>> + Send + 'static, Refusal>>
    + Send;
    /// Deletes rows step by step, or counts them; tells what was done so far. Ends when nobody listens any more.
    fn evict(
        &self,
        evict: Evict,
    ) -> impl Future<Output = Result<impl Stream<Item = Result<Evicted, Refusal>> + Send + 'static, Refusal>> + Send;
    /// Believes the machine's clock from now on. Answers how it stood before.
    fn trust_clock(&self) -> impl Future<Output = Result<ClockStatus, Refusal>> + Send;
}

struct Adapter<H>(Arc<H>);

type Reply<T> = Result<Response<T>, GrpcStatus>;

#[tonic::async_trait]
impl<H: TelemetryHandler> wire::telemetry_server::Telemetry for Adapter<H> {
    async fn check(&self, _: Request<wire::CheckRequest>) -> Reply<wire::CheckReply> {
        self.0.check().await?;
        Ok(Response::new(wire::CheckReply {}))
    }

    async fn report(&self, request: Request<Streaming<wire::Snapshot>>) -> Reply<wire::ReportReply> {
        let snapshots = request.into_inner().map(|message| match message {
            Ok(snapshot) => Snapshot::try_from(snapshot),
            Err(status) => Err(crate::status::refusal_of(&status)),
        });
        self.0.report(snapshots).await?;
        Ok(Response::new(wire::ReportReply {}))
    }

    async fn collect(&self, _: Request<wire::CollectRequest>) -> Reply<wire::CollectReply> {
        let families = convert::telemetry::write_families(self.0.collect());
        Ok(Response::new(wire::CollectReply { families }))
    }
}

#[tonic::async_trait]
impl<H: AdminHandler> wire::admin_server::Admin for Adapter<H> {
    async fn status(&self, _: Request<wire::StatusRequest>) -> Reply<wire::StatusReply> {
        Ok(Response::new(self.0.status().await?.into()))
    }

    async fn keys(&self, _: Request<wire::KeyStatusRequest>) -> Reply<wire::KeyStatus> {
        Ok(Response::new(self.0.keys().await?.into()))
    }

    async fn peers(&self, _: Request<wire::PeersRequest>) -> Reply<wire::PeersReply> {
        Ok(Response::new(self.0.peers().await?.into()))
    }

    async fn forget_peer(&self, request: Request<wire::ForgetPeerRequest>) -> Reply<wire::ForgetPeerReply> {
        let forgotten = self.0.forget_peer(request.into_inner().url).await?;
        Ok(Response::new(wire::ForgetPeerReply { forgotten }))
    }

    async fn reassign_peer(
        &self,
        request: Request<wire::ReassignPeerRequest>,
    ) -> Reply<wire::ReassignPeerReply> {
        let wire::ReassignPeerRequest { from, to } = request.into_inner();
        let identifier = crate::convert::identifier;
        let reassigned = self.0.reassign_peer(identifier("from", &from)?, identifier("to", &to)?).await?;
        Ok(Response::new(reassigned.into()))
    }

    async fn drain(&self, request: Request<wire::DrainRequest>) -> Reply<wire::DrainReply> {
        let blobs = self.0.drain(request.into_inner().draining).await?;
        Ok(Response::new(wire::DrainReply { blobs }))
    }

    type BackupStream = Pin<Box<dyn Stream<Item = Result<wire::BackupPart, GrpcStatus>> + Send>>;

    async fn backup(&self, _: Request<wire::BackupRequest>) -> Reply<Self::BackupStream> {
        let parts = self.0.backup().await?;
        Ok(Response::new(Box::pin(parts.map(|part| Ok(part?.into())))))
    }

    async fn compact(&self, request: Request<wire::CompactRequest>) -> Reply<wire::CompactReply> {
        let wire::CompactRequest { give } = request.into_inner();
        Ok(Response::new(self.0.compact(give).await?.into()))
    }

    type UsageStream = Pin<Box<dyn Stream<Item = Result<wire::KindUsage, GrpcStatus>> + Send>>;

    async fn usage(&self, _: Request<wire::UsageRequest>) -> Reply<Self::UsageStream> {
        let kinds = self.0.usage().await?;
        Ok(Response::new(Box::pin(kinds.map(|kind| Ok(kind?.into())))))
    }

    type EvictStream = Pin<Box<dyn Stream<Item = Result<wire::EvictReply, GrpcStatus>> + Send>>;

    async fn evict(&self, request: Request<wire::EvictRequest>) -> Reply<Self::EvictStream> {
        let steps = self.0.evict(request.into_inner().try_into()?).await?;
        Ok(Response::new(Box::pin(steps.map(|step| Ok(step?.into())))))
    }

    async fn trust_clock(&self, _: Request<wire::TrustClockRequest>) -> Reply<wire::TrustClockReply> {
        let before = Some(self.0.trust_clock().await?.into());
        Ok(Response::new(wire::TrustClockReply { before }))
    }
}
