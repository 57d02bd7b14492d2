//! Whether a fetch gets slower as the store grows: a small and a large relay side by side, measured in turns.

use crate::Fallible;
use crate::load::{self, Pace};
use crate::options::Plan;
use crate::proc::{self, Memory, Watched};
use crate::relay::{Apart, Site};
use crate::requests::Mailboxes;
use crate::scripts::Fetcher;
use crate::stats::Series;
use crate::stock::Stock;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

pub(crate) const SMALL: u64 = 10_000;
/// Alone, a request's own time; among 64, what it is under load.
pub(crate) const CONNECTIONS: [usize; 2] = [1, 64];

/// The small store against the large one.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) stored: u64,
    /// Blobs a second while the large store was filled, from empty to full.
    pub(crate) filled_per_second: f64,
    pub(crate) fetches: Vec<Pair>,
    /// Memory of the processes of the large store, afterwards.
    pub(crate) memory: BTreeMap<&'static str, Memory>,
}

/// The same fetches from both stores.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) connections: usize,
    pub(crate) small: Series,
    pub(crate) large: Series,
}

/// Every other blob lies alone in its mailbox; the others lie fifty to a mailbox.
fn stock() -> Stock {
    let place = |number: u64| if number.is_multiple_of(2) { number } else { (1 << 40) + number / 100 };
    Stock { mailboxes: Mailboxes(5), place, sizes: (256..=1024).step_by(48).collect() }
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<Growth> {
    let (small, small_relay) = filled(directory, SMALL).await?;
    let started = Instant::now();
    let (large, mut large_relay) = filled(directory, plan.stored).await?;
    let filled_per_second = plan.stored as f64 / started.elapsed().as_secs_f64();
    let mut fetches: Vec<Pair> = CONNECTIONS
        .map(|connections| Pair { connections, small: Series::default(), large: Series::default() })
        .into();
    for round in 1..=plan.rounds {
        eprintln!("  round {round}: fetching from {SMALL} and from {} blobs", plan.stored);
        for pair in &mut fetches {
            // The one that comes second would otherwise always meet the warmer processor.
            for large_turn in [round % 2 == 0, round % 2 != 0] {
                if large_turn {
                    let outcome = fetch(&large, &large_relay, plan.stored, pair.connections, plan).await?;
                    pair.large.push(&outcome);
                } else {
                    let outcome = fetch(&small, &small_relay, SMALL, pair.connections, plan).await?;
                    pair.small.push(&outcome);
                }
            }
        }
    }
    large_relay.still_runs()?;
    let memory = proc::memories(&large_relay.watched())?;
    Ok(Growth { stored: plan.stored, filled_per_second, fetches, memory })
}

async fn filled(directory: &Path, blobs: u64) -> Fallible<(Site, Apart)> {
    eprintln!("  storing {blobs} blobs");
    let site = Site::new(directory)?;
    let relay = site.apart().await?;
    stock().fill(site.address(), 0..blobs).await?;
    Ok((site, relay))
}

async fn fetch(
    site: &Site,
    relay: &Apart,
    stored: u64,
    connections: usize,
    plan: &Plan,
) -> Fallible<load::Outcome> {
    let fetchers = (0..connections).map(|_| Fetcher::new(stock().mailboxes, 2, stored)).collect();
    let mut watched = relay.watched();
    watched.push(Watched::generator());
    let (outcome, _) = load::drive(site.address(), fetchers, Pace::measured(plan.window), &watched).await?;
    outcome.flawless("fetching")
}
