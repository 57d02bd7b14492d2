//! What storage answers.

use relay_proto::client::StorageClient;
use relay_proto::messages::{CapacityReply, CapacityRequest};
use relay_proto::{StorageError, refusal_of};
use tonic::{Response, Status};

/// Returns the reply to a call.
///
/// # Errors
/// Why storage refuses; [`StorageError::Unavailable`] while it is away.
pub(crate) fn replied<T>(answered: Result<Response<T>, Status>) -> Result<T, StorageError> {
    answered.map(Response::into_inner).map_err(|status| refusal_of(&status))
}

/// How full the store is.
pub(crate) async fn capacity(storage: &StorageClient) -> Result<CapacityReply, StorageError> {
    replied(storage.offload().capacity(CapacityRequest {}).await)
}
