//! What takes the room, and making room, as streams: the work goes on while somebody takes its parts.

use crate::db::Store;
use crate::maintenance::usage::{self, Filter};
use relay_proto::field::enumerated;
use relay_proto::messages::{EvictReply, EvictRequest, KindUsage, RowKind};
use relay_proto::{StorageError, Ttl, UnixSeconds};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Counts all kinds, one after another.
pub(crate) fn usage(
    store: &Arc<Store>,
    ttl: Ttl,
    now: UnixSeconds,
) -> ReceiverStream<Result<KindUsage, Status>> {
    let (parts, stream) = mpsc::channel(1);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        for kind in RowKind::ALL {
            let counted = usage::count(&store, kind, ttl, now).await;
            let failed = counted.is_err();
            if parts.send(counted.map_err(Into::into)).await.is_err() || failed {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

/// Deletes what an operator wants deleted, or counts it.
///
/// # Errors
/// [`StorageError::Invalid`] for a kind that is not known, or that stays whatever an operator wants.
pub(crate) fn evict(
    store: &Arc<Store>,
    request: EvictRequest,
    ttl: Ttl,
    now: UnixSeconds,
) -> Result<ReceiverStream<Result<EvictReply, Status>>, StorageError> {
    let EvictRequest { kind, older_than_secs, larger_than_bytes, dry_run } = request;
    let kind = enumerated("kind", kind)?;
    if !usage::may_go(kind) {
        return Err(StorageError::invalid("kind"));
    }
    let filter = Filter { kind, older_than_secs, larger_than_bytes };
    let (progress, stream) = mpsc::channel(1);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        if let Err(error) = usage::evict(&store, filter, dry_run, ttl, now, &progress).await {
            drop(progress.send(Err(error.into())).await);
        }
    });
    Ok(ReceiverStream::new(stream))
}
