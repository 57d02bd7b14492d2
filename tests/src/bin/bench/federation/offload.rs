//! Two relays: one is filled while the other is away, and then moves its mail.

use super::BLOB;
use crate::Fallible;
use crate::requests::Mailboxes;
use crate::stock::Stock;
use relay_tests::Cluster;
use relay_tests::deadline;
use relay_tests::federation::Federation;
use std::time::{Duration, Instant};

const MAILBOXES: Mailboxes = Mailboxes(11);

/// Longer than it takes.
const LIMIT: Duration = Duration::from_secs(180);

/// Between two looks, which cost the relay something, too.
const LOOK: Duration = Duration::from_millis(20);

/// Parts of the ceiling: above the first mail moves; below the second nearly all of it has.
const THRESHOLD: f64 = 0.01;
const DONE: f64 = 0.05;

/// Bytes of blobs a second, while so many blobs move.
pub(super) async fn measure(blobs: u64) -> Fallible<f64> {
    let ceiling = (blobs * BLOB as u64 * 2).max(64 << 20).to_string();
    let builder = || {
        Cluster::builder()
            .variable("RUST_LOG", "warn")
            .variable("RELAY_MAX_STORAGE_BYTES", &ceiling)
            .variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", THRESHOLD)
            // What is measured is not the limit.
            .variable("RELAY_FEDERATION_RATE_LIMIT", "1000000")
    };
    let mut federation = Federation::build([builder(), builder()]);
    federation.relays[0].start().await;
    let stock = Stock { mailboxes: MAILBOXES, place: |number| number, sizes: vec![BLOB] };
    stock.fill(federation.relays[0].address(), 0..blobs).await?;
    federation.relays[1].start().await;
    let origin = &federation.relays[0];
    let moved = async || origin.stored("relay_federation_hints_active").await;
    let begin = deadline::within(LIMIT, async || Some(moved().await).filter(|moved| *moved > 0)).await;
    let (first, began) = (begin.ok_or("nothing moves")?, Instant::now());
    let end = deadline::within(LIMIT, async || {
        deadline::pace(LOOK).await;
        let metrics = origin.storaged.ops.metrics().await;
        let full = metrics.sum("relay_storage_live_bytes") / metrics.sum("relay_storage_ceiling_bytes");
        (full < DONE).then_some(metrics.sum("relay_federation_hints_active"))
    });
    let (last, took) = (end.await.ok_or("moving does not come to an end")?, began.elapsed());
    Ok((last - first as f64) * BLOB as f64 / took.as_secs_f64())
}
