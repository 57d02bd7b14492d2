//! What federation asks of storage, what operators ask about peers, and what gateways ask of federation.

use super::shown::Calls;
use super::{StorageClient, told};
use crate::admin::Capacity;
use crate::convert::federation as convert;
use crate::federation::{
    Accept, BlobNames, CarriedBlob, Found, Identity, Introduction, Lease, Orders, OutboxEntry, PeerState,
    Peering, Pin, Reassigned, Settle, Verdict, Wanted,
};
use crate::inventory::{List, Listing, Reconcile, Reconciled};
use crate::limits::MAX_GRPC_MESSAGE;
use crate::{PeerId, Refusal, wire};
use std::path::PathBuf;
use std::time::Duration;

impl StorageClient {
    fn offload(&self) -> wire::offload_client::OffloadClient<Calls> {
        wire::offload_client::OffloadClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE)
    }

    fn admin(&self) -> wire::admin_client::AdminClient<Calls> {
        wire::admin_client::AdminClient::new(self.channel.clone())
    }

    /// How full the store is.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn capacity(&self) -> Result<Capacity, Refusal> {
        Ok(self.offload().capacity(wire::CapacityRequest {}).await.map_err(told)?.into_inner().into())
    }

    /// This relay's keys as a peer.
    ///
    /// # Errors
    /// When storage cannot be reached, or cannot keep new keys.
    pub async fn identity(&self) -> Result<Identity, Refusal> {
        self.offload().identity(wire::IdentityRequest {}).await.map_err(told)?.into_inner().try_into()
    }

    /// Frees what an earlier life of federation had leased.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn resume(&self) -> Result<(), Refusal> {
        self.offload().resume(wire::ResumeRequest {}).await.map_err(told).map(drop)
    }

    /// Tells what is known of peers; hears what is to be done.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn tell(&self, peers: Vec<PeerState>) -> Result<Orders, Refusal> {
        let report = wire::PeerReport { peers: peers.into_iter().map(wire::PeerState::from).collect() };
        Ok(self.offload().tell(report).await.map_err(told)?.into_inner().into())
    }

    /// What addresses of peers are pinned to.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn pins(&self) -> Result<Vec<Pin>, Refusal> {
        let reply = self.offload().pins(wire::PinsRequest {}).await.map_err(told)?.into_inner();
        reply.pins.into_iter().map(Pin::try_from).collect()
    }

    /// Makes a peer known that has proved itself.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`] when its address is pinned to another key or identity.
    pub async fn introduce(&self, introduction: Introduction) -> Result<(), Refusal> {
        self.offload().introduce(wire::Introduction::from(introduction)).await.map_err(told).map(drop)
    }

    /// Blobs to offer to a peer, marked durably before they are answered.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn lease(&self, lease: Lease) -> Result<Vec<CarriedBlob>, Refusal> {
        let reply = self.offload().lease(wire::LeaseRequest::from(lease)).await.map_err(told)?;
        convert::read_blobs(reply.into_inner())
    }

    /// Says what a peer said of them. Answers how many have moved, after the commit.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn settle(&self, settle: Settle) -> Result<u32, Refusal> {
        let reply = self.offload().settle(wire::SettleRequest::from(settle)).await.map_err(told)?;
        Ok(reply.into_inner().moved)
    }

    /// Deletions that a peer should hear of, oldest first.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn outbox(&self, peer: PeerId, limit: u32) -> Result<Vec<OutboxEntry>, Refusal> {
        let request = wire::OutboxRequest { peer: crate::convert::bytes_of(peer.as_bytes()), limit };
        convert::read_outbox(self.offload().outbox(request).await.map_err(told)?.into_inner())
    }

    /// Deletions that a peer has carried out.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn delivered(&self, numbers: Vec<u64>) -> Result<(), Refusal> {
        self.offload().delivered(wire::DeliveredRequest { numbers }).await.map_err(told).map(drop)
    }

    /// Blobs that a peer was to hold and certainly does not. Answers how many hints went.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn missing(&self, names: BlobNames) -> Result<u32, Refusal> {
        let reply = self.offload().missing(wire::BlobNames::from(names)).await.map_err(told)?;
        Ok(reply.into_inner().forgotten)
    }

    /// Stores what a peer brings; answers after the commit, one verdict a blob.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn accept(&self, accept: Accept) -> Result<Vec<Verdict>, Refusal> {
        let expected = accept.blobs.len();
        let reply = self.offload().accept(wire::AcceptRequest::from(accept)).await.map_err(told)?;
        convert::read_verdicts(reply.into_inner(), expected)
    }

    /// Reads what is held for a peer.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn read(&self, names: BlobNames) -> Result<Found, Refusal> {
        self.offload().read(wire::BlobNames::from(names)).await.map_err(told)?.into_inner().try_into()
    }

    /// Deletes what is held for a peer, and remembers that; answers after the commit.
    ///
    /// # Errors
    /// When storage cannot be reached or has no room to remember.
    pub async fn forget(&self, names: BlobNames) -> Result<u32, Refusal> {
        let reply = self.offload().forget(wire::BlobNames::from(names)).await.map_err(told)?;
        Ok(reply.into_inner().deleted)
    }

    /// A part of what is held for a peer.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn list(&self, list: List) -> Result<Listing, Refusal> {
        let reply = self.offload().list(wire::ListRequest::from(list)).await.map_err(told)?;
        reply.into_inner().try_into()
    }

    /// Settles a part of what a peer holds with what is known here; answers after the commit.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn reconcile(&self, part: Reconcile) -> Result<Reconciled, Refusal> {
        let reply = self.offload().reconcile(wire::ReconcileRequest::from(part)).await.map_err(told)?;
        Ok(reply.into_inner().into())
    }

    /// What `relay peers` shows.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn peers(&self) -> Result<Peering, Refusal> {
        self.admin().peers(wire::PeersRequest {}).await.map_err(told)?.into_inner().try_into()
    }

    /// Forgets what an address is pinned to. Answers whether it was.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn forget_peer(&self, url: String) -> Result<bool, Refusal> {
        let reply = self.admin().forget_peer(wire::ForgetPeerRequest { url }).await.map_err(told)?;
        Ok(reply.into_inner().forgotten)
    }

    /// Gives what is held for one relay to another one, which is the same with new keys.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn reassign_peer(&self, from: PeerId, to: PeerId) -> Result<Reassigned, Refusal> {
        let bytes = |id: PeerId| crate::convert::bytes_of(id.as_bytes());
        let request = wire::ReassignPeerRequest { from: bytes(from), to: bytes(to) };
        Ok(self.admin().reassign_peer(request).await.map_err(told)?.into_inner().into())
    }

    /// Begins or ends emptying the relay into its peers. Answers how many blobs are still here.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn drain(&self, draining: bool) -> Result<u64, Refusal> {
        let reply = self.admin().drain(wire::DrainRequest { draining }).await.map_err(told)?;
        Ok(reply.into_inner().blobs)
    }
}

/// A connection to federation, for gateways. Cheap to clone; connects when first used, and again.
#[derive(Debug, Clone)]
pub struct PeeringClient {
    channel: Calls,
}

impl PeeringClient {
    /// Speaks to the socket at `path`. As [`StorageClient::new`].
    pub fn new(path: PathBuf) -> Self {
        Self { channel: super::channel(path) }
    }

    /// Brings blobs back from peers: what comes within the time, which the caller checks, and what is certainly lost.
    ///
    /// # Errors
    /// When federation cannot be reached.
    pub async fn bring(&self, wanted: Vec<Wanted>, within: Duration) -> Result<Found, Refusal> {
        let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let request = convert::bring_request(wanted, millis);
        let reply = wire::recalls_client::RecallsClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .bring(request)
            .await
            .map_err(told)?;
        reply.into_inner().try_into()
    }
}
