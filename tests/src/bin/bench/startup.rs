//! How long the relay takes to be ready: from nothing, and after everything was killed under load.

use crate::Fallible;
use crate::load::{self, Pace};
use crate::options::Plan;
use crate::proc::{self, Memory};
use crate::relay::Site;
use crate::requests::Mailboxes;
use crate::scripts::{BLOB, Sender};
use crate::stats::Rounds;
use crate::stock::{self, Stock};
use relay_tests::deadline;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Ten of the stored blobs lie in each of these.
const STOCKED: Mailboxes = Mailboxes(7);
/// Sent to while everything is killed.
const UNDER_FIRE: Mailboxes = Mailboxes(8);
const CONNECTIONS: usize = 64;

/// Starts and what they found.
#[derive(Debug, Serialize)]
pub(crate) struct Startup {
    /// `relay up` to ready with an empty data directory, in milliseconds.
    pub(crate) fresh_ms: Rounds,
    /// `relay up` to ready after kill -9 of everything under load, in milliseconds.
    pub(crate) after_kill_ms: Rounds,
    pub(crate) stored: u64,
    /// Blobs that were answered for and were not there after the kills.
    pub(crate) lost: u64,
    /// Memory of the whole family, a moment after a fresh start.
    pub(crate) memory: BTreeMap<&'static str, Memory>,
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<Startup> {
    let mut fresh_ms = Rounds::default();
    let mut memory = BTreeMap::new();
    for _ in 0..plan.starts {
        let site = Site::new(directory)?;
        let (supervisor, took) = site.up().await?;
        fresh_ms.push(took.as_secs_f64() * 1000.0);
        if memory.is_empty() {
            deadline::pace(Duration::from_secs(1)).await;
            memory = proc::memories(&supervisor.watched())?;
        }
        supervisor.stop().await;
    }

    eprintln!("  storing {} blobs", plan.killed_with);
    let site = Site::new(directory)?;
    let (mut supervisor, _) = site.up().await?;
    let stocked = Stock { mailboxes: STOCKED, place: |number| number / 10, sizes: vec![BLOB] };
    let stocked = stocked.fill(site.address(), 0..plan.killed_with).await?;
    let mut after_kill_ms = Rounds::default();
    let mut under_fire = Vec::new();
    for round in 1..=plan.rounds {
        eprintln!("  round {round}: kill -9 of everything under load");
        let senders = (0..CONNECTIONS).map(|_| Sender::new(UNDER_FIRE, 10_000)).collect();
        let sending = tokio::spawn(load::drive(site.address(), senders, pace(), &[]));
        deadline::pace(Duration::from_secs(1)).await;
        supervisor.kill_everything().await?;
        let killed = Instant::now();
        (supervisor, _) = site.up().await?;
        after_kill_ms.push(killed.elapsed().as_secs_f64() * 1000.0);
        let (_, senders) = sending.await??;
        under_fire.extend(senders.into_iter().flat_map(|sender| sender.sent));
    }
    eprintln!("  looking for {} blobs", stocked.len() + under_fire.len());
    let lost = stock::missing(site.address(), STOCKED, &stocked).await?
        + stock::missing(site.address(), UNDER_FIRE, &under_fire).await?;
    supervisor.stop().await;
    Ok(Startup { fresh_ms, after_kill_ms, stored: plan.killed_with, lost, memory })
}

/// Past the kill and the start after it.
fn pace() -> Pace {
    Pace { warm_up: Duration::ZERO, window: Duration::from_secs(3) }
}
