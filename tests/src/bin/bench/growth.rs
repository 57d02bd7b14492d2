//! Whether a fetch gets slower as the store grows: a small and a large relay side by side, measured in turns.

use crate::load::Outcome;
use crate::scenarios::{self, Mailboxes};
use crate::stats::Series;
use crate::{Fallible, Options, processes, relay};
use relay_tests::Cluster;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const SMALL: u64 = 10_000;
const MAILBOXES: Mailboxes = Mailboxes(5);

/// The same fetches from both stores.
#[derive(Default, Serialize)]
struct Pair {
    connections: usize,
    small: Series,
    large: Series,
}

pub(crate) async fn measure(options: &Options, directory: &Path) -> Fallible<Value> {
    let mut small = filled(directory, SMALL).await?;
    let started = Instant::now();
    let mut large = filled(directory, options.stored()).await?;
    let filled_per_second = options.stored() as f64 / started.elapsed().as_secs_f64();
    // Alone, a request's own time; among 64, what it is under load.
    let mut fetches = [1, 64].map(|connections| Pair { connections, ..Pair::default() });
    for round in 1..=options.rounds() {
        eprintln!("  round {round}: fetching from {SMALL} and from {} blobs", options.stored());
        for Pair { connections, small: of_small, large: of_large } in &mut fetches {
            // The one that comes second would otherwise always meet the warmer processor.
            let mut turns =
                [(&mut small, SMALL, &mut *of_small), (&mut large, options.stored(), &mut *of_large)];
            if round % 2 == 0 {
                turns.reverse();
            }
            for (relay, stored, series) in turns {
                series.push(&fetch(relay, stored, *connections, options.window()).await?);
            }
        }
    }
    let memory = processes::memories(&relay::watched(&mut large))?;
    let stored = options.stored();
    Ok(json!({
        "stored": stored, "filled_per_second": filled_per_second, "fetches": fetches, "memory": memory,
    }))
}

/// Every other blob lies alone in its mailbox; the others lie fifty to a mailbox.
async fn filled(directory: &Path, blobs: u64) -> Fallible<Cluster> {
    eprintln!("  storing {blobs} blobs");
    let relay = relay::start(directory, 1, &[]).await?;
    let place = |number: u64| if number.is_multiple_of(2) { number } else { (1 << 40) + number / 100 };
    let sizes: Vec<usize> = (256..=1024).step_by(48).collect();
    scenarios::fill(relay.address(), (MAILBOXES, place), &sizes, blobs).await?;
    Ok(relay)
}

async fn fetch(relay: &mut Cluster, stored: u64, connections: usize, window: Duration) -> Fallible<Outcome> {
    let scenario = |client| scenarios::fetch(client, MAILBOXES, 2, stored);
    relay::load(relay, connections, window, scenario).await?.0.flawless("fetching")
}
