//! Finding out whether a peer holds what this relay thinks it does, at every hello and now and then after it. A relay that
//! was put back to a backup knows nothing of what moved since, and a reinstalled one knows nothing at all: the peer says
//! what it holds, and storage settles that with what it knows.
//!
//! Two relays that agree exchange number and sum of the names, in a few short messages. Only for a part where these
//! differ are the names themselves asked for. What a peer can make this relay do is bounded: so many messages a round, and
//! one round in ten minutes.

use crate::context::{Context, replied};
use crate::session::{Answer, body};
use relay_daemon::Shutdown;
use relay_proto::mail::BlobName;
use relay_proto::messages::{Listing, ReconcileReply, ReconcileRequest};
use relay_proto::{PeerId, StorageError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks at who is there.
const LOOK: Duration = Duration::from_secs(1);

/// From the begin of one round to the begin of the next.
const INTERVAL: Duration = Duration::from_secs(600);

/// The same where the peer has said hello since. One that comes and goes is not asked each time.
const AFTER_HELLO: Duration = Duration::from_secs(60);

/// Most parts that are asked for in one round. What is left is settled in the next one.
const PARTS: u32 = 1024;

/// When a round began, and at which hello.
#[derive(Debug, Clone, Copy)]
struct Round {
    began: Instant,
    hello: u64,
}

fn is_due(last: Option<&Round>, hello: u64, now: Instant) -> bool {
    last.is_none_or(|last| {
        let since = now.saturating_duration_since(last.began);
        since >= INTERVAL || (last.hello != hello && since >= AFTER_HELLO)
    })
}

/// How far a round is, and which part is asked for next.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    after: Option<BlobName>,
    names: bool,
    /// Where the part ends that is not as storage knows it; without a name, at the end of everything.
    differs_until: Option<BlobName>,
}

impl Walk {
    /// Goes on from a part that ends with a name. Returns whether there is more to ask for.
    fn next(&mut self, until: Option<BlobName>, needs_names: bool) -> bool {
        if needs_names && !self.names {
            (self.names, self.differs_until) = (true, until);
            return true;
        }
        let Some(until) = until else { return false };
        if self.after.is_some_and(|after| until <= after) {
            // It would go on for ever.
            return false;
        }
        self.after = Some(until);
        self.names = self.names && self.differs_until.is_none_or(|end| until < end);
        true
    }
}

/// Compares what peers hold with what storage knows until the process stops. One slow peer does not keep the others
/// waiting. What is not settled then is settled after the next hello.
pub(crate) async fn run(context: &Arc<Context>, shutdown: &Shutdown) {
    let mut rounds: HashMap<PeerId, Round> = HashMap::new();
    let mut running: HashMap<PeerId, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        running.retain(|_, round| !round.is_finished());
        let began = Instant::now();
        for (peer, hello) in context.registry.listing() {
            if running.contains_key(&peer) || !is_due(rounds.get(&peer), hello, began) {
                continue;
            }
            rounds.insert(peer, Round { began, hello });
            let context = Arc::clone(context);
            let round = tokio::spawn(async move { compare(&context, peer).await });
            running.insert(peer, AbortOnDropHandle::new(round));
        }
        if shutdown.unless_begun(sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// Has storage settle a part. Returns the name that it ends with, and what became of it.
async fn settle(
    context: &Context,
    peer: PeerId,
    after: Option<BlobName>,
    names: bool,
    listing: Listing,
) -> Result<(Option<BlobName>, ReconcileReply), StorageError> {
    let until = listing.until.clone().map(BlobName::try_from).transpose()?;
    let (after, listing) = (after.map(Into::into), Some(listing));
    let request = ReconcileRequest { peer: peer.into(), after, names, listing };
    Ok((until, replied(context.storage.offload().reconcile(request).await)?))
}

/// One round.
async fn compare(context: &Context, peer: PeerId) {
    let mut walk = Walk::default();
    let (mut claimed, mut told) = (0, 0);
    for _ in 0..PARTS {
        if context.registry.turn(&peer).await.is_err() {
            break;
        }
        let Walk { after, names, .. } = walk;
        let question = body::inventory(after, names);
        let Ok(Answer::Inventory(Some(listing))) =
            context.registry.ask(&peer, question, context.patience).await
        else {
            break;
        };
        let (until, reply) = match settle(context, peer, after, names, listing).await {
            Ok(settled) => settled,
            Err(refusal) => {
                tracing::debug!(%refusal, "storage does not settle what a peer holds; it is asked again");
                break;
            }
        };
        let ReconcileReply { needs_names, claimed: more, told: more_told } = reply;
        claimed += more;
        told += more_told;
        if !walk.next(until, needs_names) {
            break;
        }
    }
    if claimed > 0 || told > 0 {
        tracing::info!(
            claimed,
            told,
            "a peer holds mail of this relay's that was not known to be there: it can be fetched, or the peer is \
             told that it is over"
        );
    }
}

#[cfg(test)]
mod tests;
