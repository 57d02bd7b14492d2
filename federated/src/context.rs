//! What every part of federated works with, and how storage's replies are read.

use crate::metrics::Metrics;
use crate::registry::PeerRegistry;
use relay_daemon::Clock;
use relay_proto::client::StorageClient;
use relay_proto::messages::{CapacityReply, CapacityRequest};
use relay_proto::{StorageError, refusal_of};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Response, Status};

/// What parts share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) storage: StorageClient,
    pub(crate) registry: Arc<PeerRegistry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// How long a peer may be silent, or take to answer.
    pub(crate) patience: Duration,
}

/// Returns the reply to a call.
///
/// # Errors
/// Why storage refuses; [`StorageError::Unavailable`] while it is away.
pub(crate) fn replied<T>(answered: Result<Response<T>, Status>) -> Result<T, StorageError> {
    answered.map(Response::into_inner).map_err(|status| refusal_of(&status))
}

/// Returns how full the store is.
pub(crate) async fn capacity(storage: &StorageClient) -> Result<CapacityReply, StorageError> {
    replied(storage.offload().capacity(CapacityRequest {}).await)
}
