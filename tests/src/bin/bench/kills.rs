//! kill -9 of storaged again and again under load: clients may see it as time, never as an error or a loss.

use crate::Fallible;
use crate::load::{self, Pace};
use crate::options::Plan;
use crate::relay::Site;
use crate::requests::Mailboxes;
use crate::scripts::Sender;
use crate::stock;
use nix::sys::signal::Signal;
use relay_tests::{deadline, process};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

const MAILBOXES: Mailboxes = Mailboxes(9);
const CONNECTIONS: usize = 64;
const PULSE: Duration = Duration::from_secs(1);

/// What clients saw of the kills.
#[derive(Debug, Serialize)]
pub(crate) struct Kills {
    pub(crate) kills: u32,
    pub(crate) answered: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) slowest_ms: f64,
    /// Answers other than success, and broken connections.
    pub(crate) errors: u64,
    pub(crate) samples: Vec<String>,
    /// Blobs that were answered for and were not there afterwards.
    pub(crate) missing: u64,
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<Kills> {
    let site = Site::new(directory)?;
    let (supervisor, _) = site.up().await?;
    let senders = (0..CONNECTIONS).map(|_| Sender::new(MAILBOXES, 20_000)).collect();
    let pace = Pace { warm_up: Duration::ZERO, window: PULSE * (plan.kills + 3) };
    let address = site.address();
    let sending = tokio::spawn(load::drive(address, senders, pace, &[]));
    let mut pulse = tokio::time::interval(PULSE);
    pulse.tick().await;
    for kill in 1..=plan.kills {
        pulse.tick().await;
        let storaged = async || supervisor.child("storaged");
        let storaged = deadline::within(PULSE * 5, storaged).await.ok_or("nobody restarted storaged")?;
        process::signal_pid(storaged, Signal::SIGKILL);
        eprintln!("  kill {kill} of {}: process {storaged}", plan.kills);
    }
    let (outcome, senders) = sending.await??;
    for sample in &outcome.samples {
        eprintln!("    wrong: {sample}");
    }
    let sent: Vec<_> = senders.into_iter().flat_map(|sender| sender.sent).collect();
    eprintln!("  looking for {} blobs", sent.len());
    let missing = stock::missing(address, MAILBOXES, &sent).await?;
    supervisor.stop().await;
    Ok(Kills {
        kills: plan.kills,
        answered: sent.len() as u64,
        per_second: outcome.per_second(),
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        slowest_ms: outcome.slowest.as_secs_f64() * 1000.0,
        errors: outcome.errors,
        samples: outcome.samples,
        missing,
    })
}
