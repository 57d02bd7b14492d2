//! What federation asks of storage, and what gateways ask of federation.

use super::StorageClient;
use super::shown::Calls;
use crate::limits::MAX_GRPC_MESSAGE;
use crate::messages::offload_client::OffloadClient;
use crate::messages::recalls_client::RecallsClient;
use std::path::PathBuf;

impl StorageClient {
    /// Calls about mail that moves between relays.
    #[must_use]
    pub fn offload(&self) -> OffloadClient<Calls> {
        OffloadClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE)
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
