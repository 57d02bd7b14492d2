//! The serving half of what federation asks of storage, and gateways of federation.

use super::{Adapter, Reply};
use crate::admin::Capacity;
use crate::convert::federation as convert;
use crate::federation::{
    Accept, BlobNames, CarriedBlob, Found, Identity, Introduction, Lease, Orders, OutboxEntry, PeerState,
    Pin, Settle, Verdict, Wanted,
};
use crate::inventory::{List, Listing, Reconcile, Reconciled};
use crate::limits::MAX_CARRIED_BLOBS;
use crate::{PeerId, Refusal, wire};
use std::future::Future;
use std::time::Duration;
use tonic::{Request, Response};

/// Serves federation.
pub trait OffloadHandler: Send + Sync + 'static {
    /// How full the store is.
    fn capacity(&self) -> Capacity;
    /// This relay's keys as a peer.
    fn identity(&self) -> impl Future<Output = Result<Identity, Refusal>> + Send;
    /// Frees what an earlier life of federation had leased.
    fn resume(&self) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Hears of peers; says what is to be done.
    fn tell(&self, peers: Vec<PeerState>) -> Orders;
    /// What addresses are pinned to.
    fn pins(&self) -> impl Future<Output = Result<Vec<Pin>, Refusal>> + Send;
    /// Makes a peer known.
    fn introduce(&self, introduction: Introduction) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Blobs to offer.
    fn lease(&self, lease: Lease) -> impl Future<Output = Result<Vec<CarriedBlob>, Refusal>> + Send;
    /// What a peer said of them; answers how many have moved.
    fn settle(&self, settle: Settle) -> impl Future<Output = Result<u32, Refusal>> + Send;
    /// Deletions that a peer should hear of.
    fn outbox(
        &self,
        peer: PeerId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<OutboxEntry>, Refusal>> + Send;
    /// Deletions that it carried out.
    fn delivered(&self, numbers: Vec<u64>) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Blobs that a peer does not have; answers how many hints went.
    fn missing(&self, names: BlobNames) -> impl Future<Output = Result<u32, Refusal>> + Send;
    /// Stores what a peer brings.
    fn accept(&self, accept: Accept) -> impl Future<Output = Result<Vec<Verdict>, Refusal>> + Send;
    /// Reads what is held for a peer.
    fn read(&self, names: BlobNames) -> impl Future<Output = Result<Found, Refusal>> + Send;
    /// Deletes what is held for a peer; answers how many blobs.
    fn forget(&self, names: BlobNames) -> impl Future<Output = Result<u32, Refusal>> + Send;
    /// A part of what is held for a peer.
    fn list(&self, list: List) -> impl Future<Output = Result<Listing, Refusal>> + Send;
    /// Settles a part of what a peer holds.
    fn reconcile(&self, part: Reconcile) -> impl Future<Output = Result<Reconciled, Refusal>> + Send;
}

/// Brings blobs back for gateways.
pub trait RecallHandler: Send + Sync + 'static {
    /// As many as come within the time; and which are certainly lost, once storage knows it.
    fn bring(&self, wanted: Vec<Wanted>, within: Duration) -> impl Future<Output = Found> + Send;
}

#[tonic::async_trait]
impl<H: OffloadHandler> wire::offload_server::Offload for Adapter<H> {
    async fn capacity(&self, _: Request<wire::CapacityRequest>) -> Reply<wire::CapacityReply> {
        Ok(Response::new(self.0.capacity().into()))
    }

    async fn identity(&self, _: Request<wire::IdentityRequest>) -> Reply<wire::Identity> {
        Ok(Response::new(self.0.identity().await?.into()))
    }

    async fn resume(&self, _: Request<wire::ResumeRequest>) -> Reply<wire::ResumeReply> {
        self.0.resume().await?;
        Ok(Response::new(wire::ResumeReply {}))
    }

    async fn tell(&self, request: Request<wire::PeerReport>) -> Reply<wire::Orders> {
        Ok(Response::new(self.0.tell(convert::read_report(request.into_inner())?).into()))
    }

    async fn pins(&self, _: Request<wire::PinsRequest>) -> Reply<wire::PinsReply> {
        let pins = self.0.pins().await?.into_iter().map(wire::Pin::from).collect();
        Ok(Response::new(wire::PinsReply { pins }))
    }

    async fn introduce(&self, request: Request<wire::Introduction>) -> Reply<wire::IntroduceReply> {
        self.0.introduce(request.into_inner().try_into()?).await?;
        Ok(Response::new(wire::IntroduceReply {}))
    }

    async fn lease(&self, request: Request<wire::LeaseRequest>) -> Reply<wire::CarriedBlobs> {
        let blobs = self.0.lease(request.into_inner().try_into()?).await?;
        Ok(Response::new(convert::write_blobs(blobs)))
    }

    async fn settle(&self, request: Request<wire::SettleRequest>) -> Reply<wire::SettleReply> {
        let moved = self.0.settle(request.into_inner().try_into()?).await?;
        Ok(Response::new(wire::SettleReply { moved }))
    }

    async fn outbox(&self, request: Request<wire::OutboxRequest>) -> Reply<wire::OutboxReply> {
        let wire::OutboxRequest { peer, limit } = request.into_inner();
        let entries = self.0.outbox(crate::convert::identifier("peer", &peer)?, limit).await?;
        Ok(Response::new(convert::write_outbox(entries)))
    }

    async fn delivered(&self, request: Request<wire::DeliveredRequest>) -> Reply<wire::DeliveredReply> {
        let wire::DeliveredRequest { numbers } = request.into_inner();
        if numbers.len() > MAX_CARRIED_BLOBS {
            return Err(Refusal::invalid("numbers").into());
        }
        self.0.delivered(numbers).await?;
        Ok(Response::new(wire::DeliveredReply {}))
    }

    async fn missing(&self, request: Request<wire::BlobNames>) -> Reply<wire::MissingReply> {
        let forgotten = self.0.missing(request.into_inner().try_into()?).await?;
        Ok(Response::new(wire::MissingReply { forgotten }))
    }

    async fn accept(&self, request: Request<wire::AcceptRequest>) -> Reply<wire::AcceptReply> {
        let verdicts = self.0.accept(request.into_inner().try_into()?).await?;
        Ok(Response::new(convert::write_verdicts(verdicts)))
    }

    async fn read(&self, request: Request<wire::BlobNames>) -> Reply<wire::ReadReply> {
        Ok(Response::new(self.0.read(request.into_inner().try_into()?).await?.into()))
    }

    async fn forget(&self, request: Request<wire::BlobNames>) -> Reply<wire::ForgetReply> {
        let deleted = self.0.forget(request.into_inner().try_into()?).await?;
        Ok(Response::new(wire::ForgetReply { deleted }))
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Reply<wire::Listing> {
        Ok(Response::new(self.0.list(request.into_inner().try_into()?).await?.into()))
    }

    async fn reconcile(&self, request: Request<wire::ReconcileRequest>) -> Reply<wire::ReconcileReply> {
        Ok(Response::new(self.0.reconcile(request.into_inner().try_into()?).await?.into()))
    }
}

#[tonic::async_trait]
impl<H: RecallHandler> wire::recalls_server::Recalls for Adapter<H> {
    async fn bring(&self, request: Request<wire::BringRequest>) -> Reply<wire::ReadReply> {
        let message = request.into_inner();
        let within = Duration::from_millis(message.millis.into());
        Ok(Response::new(self.0.bring(message.try_into()?, within).await.into()))
    }
}
