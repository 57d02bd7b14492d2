//! Two relays: one is filled while the other is away, and then moves its mail.

use super::BLOB;
use crate::Fallible;
use relay_tests::Action;
use relay_tests::Cluster;
use relay_tests::deadline;
use relay_tests::federation::Federation;
use relay_tests::fields::{random_bytes, random_mailbox, send_fields};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients that fill the origin.
const CLIENTS: u64 = 8;

/// Longer than it takes.
const LIMIT: Duration = Duration::from_secs(180);

/// Bytes of blobs a second, while so many blobs move.
pub(super) async fn measure(blobs: u64) -> Fallible<f64> {
    let ceiling = (blobs * BLOB as u64 * 2).max(64 << 20).to_string();
    let builder = || {
        Cluster::builder()
            .variable("RELAY_MAX_STORAGE_BYTES", &ceiling)
            .variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.01")
            // What is measured is not the limit.
            .variable("RELAY_FEDERATION_RATE_LIMIT", "1000000")
    };
    let mut federation = Federation::build([builder(), builder()]);
    federation.relays[0].start().await;
    fill(&federation.relays[0], blobs).await;
    federation.relays[1].start().await;
    let origin = &federation.relays[0];
    let hints = async || origin.stored("relay_federation_hints_active").await;
    let first = deadline::within(LIMIT, async || Some(hints().await).filter(|hints| *hints > 0)).await;
    let (first, began) = (first.ok_or("nothing moves")?, Instant::now());
    let most = async || {
        let metrics = origin.storaged.ops.metrics().await;
        let (live, ceiling) =
            (metrics.sum("relay_storage_live_bytes"), metrics.sum("relay_storage_ceiling_bytes"));
        (live < ceiling * 0.05).then_some(())
    };
    deadline::within(LIMIT, most).await.ok_or("it does not come to an end")?;
    let (last, took) = (hints().await, began.elapsed());
    Ok((last - first) as f64 * BLOB as f64 / took.as_secs_f64())
}

async fn fill(relay: &Cluster, blobs: u64) {
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = relay.client();
        tasks.spawn(async move {
            for _ in 0..blobs / CLIENTS {
                let fields = send_fields(&random_mailbox(), &random_bytes(BLOB));
                client.call(Action::Send, &fields).await.success();
            }
        });
    }
    tasks.join_all().await;
}
