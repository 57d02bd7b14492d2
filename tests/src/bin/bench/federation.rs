//! Federation: how fast mail moves to a peer, against what the machine can do with plain means; and what peers that
//! are away, slow or hostile cost a relay's own clients.

mod attack;
mod neighbours;
mod plain;

use crate::scenarios::{self, Mailboxes};
use crate::stats::Rounds;
use crate::{Fallible, Options};
use relay_tests::Cluster;
use relay_tests::deadline;
use relay_tests::federation::Federation;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of each blob that moves.
const BLOB: usize = 32 << 10;
/// Longer than moving takes.
const LIMIT: Duration = Duration::from_secs(180);
/// Between two looks, which cost the relay something, too.
const LOOK: Duration = Duration::from_millis(20);
/// Parts of the ceiling: above the first mail moves; below the second nearly all of it has.
const THRESHOLD: f64 = 0.01;
const DONE: f64 = 0.05;

pub(crate) async fn measure(options: &Options, _directory: &Path) -> Fallible<Value> {
    let (mut by_plain, mut by_offload) = (Rounds::default(), Rounds::default());
    for round in 1..=options.rounds() {
        eprintln!("  round {round} of {}: mail that moves", options.rounds());
        let before = plain::measure(options.window() / 2).await?;
        by_offload.push(offload(options.amount(6_000, 1_000)).await?);
        let after = plain::measure(options.window() / 2).await?;
        by_plain.push(before.midpoint(after));
    }
    let neighbours = neighbours::measure(options).await?;
    Ok(json!({ "plain": by_plain, "offload": by_offload, "neighbours": neighbours }))
}

/// Bytes of blobs a second, while so many blobs move from a relay that was filled while its peer was away.
async fn offload(blobs: u64) -> Fallible<f64> {
    let builder = |times: u64| {
        Cluster::builder()
            .variable("RUST_LOG", "warn")
            .variable("RELAY_MAX_STORAGE_BYTES", (times * blobs * BLOB as u64).max(64 << 20))
            .variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", THRESHOLD)
            // What is measured is not the limit.
            .variable("RELAY_FEDERATION_RATE_LIMIT", "1000000")
    };
    // One relay takes no more than half of what is free with its peer.
    let mut federation = Federation::build([builder(2), builder(8)]);
    let [origin, peer] = &mut federation.relays[..] else { return Err("two relays were built".into()) };
    origin.start().await;
    scenarios::fill(origin.address(), (Mailboxes(11), |number| number), &[BLOB], blobs).await?;
    peer.start().await;
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
