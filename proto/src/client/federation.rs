//! What federation asks of storage, what operators ask about peers, and what gateways ask of federation.

use super::shown::Calls;
use super::{StorageClient, told};
use crate::federation::{Peering, Reassigned};
use crate::limits::MAX_GRPC_MESSAGE;
use crate::messages::offload_client::OffloadClient;
use crate::messages::recalls_client::RecallsClient;
use crate::{PeerId, Refusal, wire};
use std::path::PathBuf;

impl StorageClient {
    /// Calls about mail that moves between relays.
    #[must_use]
    pub fn offload(&self) -> OffloadClient<Calls> {
        OffloadClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE)
    }

    fn admin(&self) -> wire::admin_client::AdminClient<Calls> {
        wire::admin_client::AdminClient::new(self.channel.clone())
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

    /// Calls for mail that lies with peers.
    #[must_use]
    pub fn recalls(&self) -> RecallsClient<Calls> {
        RecallsClient::new(self.channel.clone()).max_decoding_message_size(MAX_GRPC_MESSAGE)
    }
}
