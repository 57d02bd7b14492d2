//! The parts whose ratios count, in turns. A disk's pace changes from minute to minute, so each load is measured
//! between two halves of the limit that it is held against.

use crate::Fallible;
use crate::echo::Echo;
use crate::limits::{self, DELETE_GROUP, Limits, Table};
use crate::options::{Pairing, Part, Plan};
use crate::proc;
use crate::report::Report;
use crate::throughput::Throughput;
use std::path::Path;

/// What others may take of a machine that is to be measured, in percent.
pub(crate) const QUIET: f64 = 5.0;

/// What is measured in turns, as far as it was asked for.
struct Rounds<'a> {
    plan: &'a Plan,
    directory: &'a Path,
    echo: Option<Echo>,
    relay: Option<Throughput>,
}

/// Measures machine, echo and relay, round after round.
pub(crate) async fn measure(plan: &Plan, directory: &Path, report: &mut Report) -> Fallible<()> {
    let echo = if plan.has(Part::Echo) { Some(Echo::start()?) } else { None };
    let mut relay = None;
    if plan.has(Part::Load) {
        eprintln!("load: storing {} blobs first", plan.standing);
        let started = Throughput::start(directory, plan.standing).await;
        relay = report.note("load", started);
    }
    report.limits = plan.has(Part::Machine).then(Limits::default);
    let mut rounds = Rounds { plan, directory, echo, relay };
    for round in 1..=plan.rounds {
        let others = proc::others().await?;
        report.others_percent.push(others);
        if others > QUIET {
            eprintln!(
                "round {round} of {}: others take {others:.0} % of this machine, which spoils the numbers",
                plan.rounds
            );
        }
        if let Some(limits) = &mut report.limits {
            eprintln!("round {round} of {}: fdatasync", plan.rounds);
            limits.fdatasyncs.push(limits::fdatasyncs(directory, plan.window)?);
        }
        for pairing in &plan.pairings {
            eprintln!("round {round} of {}: {pairing}", plan.rounds);
            rounds.pairing(*pairing, report).await?;
        }
    }
    if let Some(relay) = &rounds.relay {
        report.load_memory = relay.memory()?;
    }
    Ok(())
}

impl Rounds<'_> {
    async fn pairing(&mut self, pairing: Pairing, report: &mut Report) -> Fallible<()> {
        let Pairing { group, connections, .. } = pairing;
        let (window, half) = (self.plan.window, self.plan.window / 2);
        let mut table = match report.limits {
            Some(_) => Some(Table::create(self.directory, self.plan.standing)?),
            None => None,
        };

        let before = table.as_mut().map(|table| table.inserts(group, half)).transpose()?;
        if let Some((relay, connections)) = self.relay.as_mut().zip(connections) {
            report.load.push("send", connections, &relay.send(connections, window).await?);
        }
        let after = table.as_mut().map(|table| table.inserts(group, half)).transpose()?;
        if let Some((limits, (before, after))) = report.limits.as_mut().zip(before.zip(after)) {
            limits.inserts.entry(group).or_default().push(before.midpoint(after));
        }

        let mut deleted = table.filter(|_| group == DELETE_GROUP);
        let before = deleted.as_mut().map(|table| table.deletes(half)).transpose()?;
        if let Some((relay, connections)) = self.relay.as_mut().zip(connections) {
            report.load.push("ack", connections, &relay.ack(connections, window).await?);
        }
        let after = deleted.as_mut().map(|table| table.deletes(half)).transpose()?;
        if let Some((limits, (before, after))) = report.limits.as_mut().zip(before.zip(after)) {
            limits.deletes.push(before.midpoint(after));
        }
        drop(deleted);

        let Some(connections) = connections else { return Ok(()) };
        if let Some(relay) = &mut self.relay {
            report.load.push("fetch", connections, &relay.fetch(connections, window).await?);
            report.load.push("mixed", connections, &relay.mixed(connections, window).await?);
        }
        if let Some(echo) = &self.echo {
            report.load.push("echo", connections, &echo.send(connections, window).await?);
        }
        Ok(())
    }
}
