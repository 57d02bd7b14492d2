//! Telling peers what was acked or purged here, of the mail they hold. Storage keeps what is to be told
//! until the peer says that it is done.

use crate::context::{Context, replied};
use crate::session::{Answer, body};
use relay_daemon::Shutdown;
use relay_proto::field::required;
use relay_proto::limits::MAX_CARRIED_BLOBS;
use relay_proto::mail::BlobName;
use relay_proto::messages::{DeliveredRequest, OutboxEntry, OutboxReply, OutboxRequest};
use relay_proto::{PeerId, StorageError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks at what is to be told. A peer may know a second later.
const LOOK: Duration = Duration::from_secs(1);

/// Tells peers of deletions until the process stops. One slow peer does not keep the others from hearing. What is not
/// confirmed then is told again.
pub(crate) async fn run(context: &Arc<Context>, shutdown: &Shutdown) {
    let mut telling: HashMap<PeerId, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        telling.retain(|_, task| !task.is_finished());
        for peer in context.registry.connected() {
            telling.entry(peer).or_insert_with(|| {
                let context = Arc::clone(context);
                AbortOnDropHandle::new(tokio::spawn(async move { while tell_some(&context, peer).await {} }))
            });
        }
        if shutdown.unless_begun(sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// Returns the oldest deletions that wait for a peer: their numbers, and which blobs.
async fn due(context: &Context, peer: PeerId) -> Result<(Vec<u64>, Vec<BlobName>), StorageError> {
    let request = OutboxRequest { peer: peer.into(), limit: MAX_CARRIED_BLOBS as u32 };
    let OutboxReply { entries } = replied(context.storage.offload().outbox(request).await)?;
    let read = |entry: OutboxEntry| {
        let OutboxEntry { number, name } = entry;
        Ok((number, BlobName::try_from(required("name", name)?)?))
    };
    entries.into_iter().map(read).collect()
}

/// Tells the oldest. Returns whether there may be more.
async fn tell_some(context: &Context, peer: PeerId) -> bool {
    let (numbers, names) = match due(context, peer).await {
        Ok(due) => due,
        Err(refusal) => {
            tracing::debug!(%refusal, "storage does not say what peers are to hear");
            return false;
        }
    };
    if names.is_empty() || context.registry.turn(&peer).await.is_err() {
        return false;
    }
    let told = names.len();
    let Ok(Answer::Forget { done: true }) =
        context.registry.ask(&peer, body::forget(names), context.patience).await
    else {
        return false;
    };
    let delivered = context.storage.offload().delivered(DeliveredRequest { numbers }).await;
    if let Err(refusal) = replied(delivered) {
        tracing::debug!(%refusal, "storage does not take that a peer was told; it is told again");
        return false;
    }
    context.metrics.deletions_sent.inc_by(told as u64);
    told >= MAX_CARRIED_BLOBS
}

#[cfg(test)]
mod tests;
