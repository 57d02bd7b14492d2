//! The parts whose ratios count, in turns. A disk's pace changes from minute to minute, so each load is measured
//! between two halves of the limit that it is held against.

use crate::echo::Echo;
use crate::limits::{self, DELETE_GROUP, Limits, PlainTable};
use crate::load::LoadClient;
use crate::scenarios::{self, BLOB, Mailboxes, Sent};
use crate::stats::{LoadResults, Rounds};
use crate::{Fallible, Options, Part, processes, relay};
use relay_tests::Cluster;
use serde_json::{Value, json};
use std::path::Path;

/// Mailboxes with one blob each, to be fetched.
const READ: Mailboxes = Mailboxes(2);
/// Mailboxes that are sent to.
const WRITTEN: Mailboxes = Mailboxes(3);
/// Mailboxes of the mixed load, where a fetch finds a blob or two.
const MIXED: Mailboxes = Mailboxes(4);
const MAILBOXES: u64 = 20_000;
/// Rows a transaction of the plain table, and connections of the loads that are measured with it.
const PAIRINGS: [(usize, Option<usize>); 5] =
    [(1, Some(1)), (8, Some(16)), (32, Some(64)), (128, Some(256)), (512, None)];
/// Those of a quick run.
const QUICK: [(usize, Option<usize>); 2] = [(1, Some(1)), (32, Some(64))];

/// Machine, echo and relay, as far as they were asked for.
struct Interleaved<'a> {
    options: &'a Options,
    echo: Option<Echo>,
    relay: Option<Cluster>,
    /// Mailboxes with one blob each, and rows in the plain table, before either is measured: an index that fits the
    /// cache would flatter the one that has it.
    standing: u64,
    table: Option<PlainTable>,
    /// Sent to the relay and not yet acked.
    unacked: Vec<Sent>,
    limits: Limits,
    load: LoadResults,
}

pub(crate) async fn measure(options: &Options, directory: &Path) -> Fallible<Value> {
    let standing = options.amount(100_000, 20_000);
    let echo = if options.has(Part::Echo) { Some(Echo::start()?) } else { None };
    let mut relay = None;
    if options.has(Part::Load) {
        eprintln!("  storing {standing} blobs");
        let started = relay.insert(relay::start(directory, 1, &[]).await?);
        scenarios::fill(started.address(), (READ, |number| number), &[BLOB], standing).await?;
    }
    let (limits, load, unacked) = (Limits::default(), LoadResults::default(), Vec::new());
    let mut rounds = Interleaved { options, echo, relay, standing, table: None, unacked, limits, load };
    let mut others_percent = Rounds::default();
    for round in 1..=options.rounds() {
        let others = processes::others_percent().await?;
        others_percent.push(others);
        eprintln!("  round {round} of {} (others take {others:.0} % of this machine)", options.rounds());
        if options.has(Part::Machine) {
            rounds.limits.fdatasyncs.push(limits::fdatasyncs(directory, options.window())?);
        }
        for (group, connections) in if options.quick { &QUICK[..] } else { &PAIRINGS } {
            eprintln!("    {group} rows a commit, {} connections", connections.unwrap_or(0));
            if options.has(Part::Machine) {
                rounds.table = Some(PlainTable::create(directory, standing)?);
            }
            rounds.pairing(*group, *connections).await?;
        }
    }
    let watched = rounds.relay.as_mut().map(relay::watched).unwrap_or_default();
    Ok(json!({
        "others_percent": others_percent,
        "limits": options.has(Part::Machine).then_some(rounds.limits),
        "load": rounds.load,
        "load_memory": processes::memories(&watched)?,
    }))
}

impl Interleaved<'_> {
    /// Measures one pairing of a limit and loads.
    async fn pairing(&mut self, group: usize, connections: Option<usize>) -> Fallible<()> {
        let half = self.options.window() / 2;
        let inserts = |table: &mut PlainTable| table.inserts(group, half);
        let before = self.table.as_mut().map(inserts).transpose()?;
        let send = |client| scenarios::send(client, WRITTEN, MAILBOXES);
        let sent = self.load("send", connections, send).await?;
        self.unacked.extend(sent.into_iter().flatten());
        let after = self.table.as_mut().map(inserts).transpose()?;
        if let Some((before, after)) = before.zip(after) {
            self.limits.inserts.entry(group).or_default().push(before.midpoint(after));
        }

        let mut table = self.table.take().filter(|_| group == DELETE_GROUP);
        let before = table.as_mut().map(|table| table.deletes(half)).transpose()?;
        let pool = scenarios::shuffled(std::mem::take(&mut self.unacked));
        let ack = |client| scenarios::ack(client, WRITTEN, pool.clone());
        self.load("ack", connections, ack).await?;
        self.unacked = pool.take();
        let after = table.as_mut().map(|table| table.deletes(half)).transpose()?;
        if let Some((before, after)) = before.zip(after) {
            self.limits.deletes.push(before.midpoint(after));
        }
        drop(table);

        let standing = self.standing;
        self.load("fetch", connections, |client| scenarios::fetch(client, READ, 1, standing)).await?;
        self.load("mixed", connections, |client| scenarios::mixed(client, MIXED, MAILBOXES)).await?;
        if let Some((echo, connections)) = self.echo.as_ref().zip(connections) {
            self.load.push("echo", connections, &echo.send(connections, self.options.window()).await?);
        }
        Ok(())
    }

    /// The relay end to end: HTTP in, committed in storage, HTTP out.
    async fn load<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        kind: &'static str,
        connections: Option<usize>,
        scenario: impl Fn(LoadClient) -> F,
    ) -> Fallible<Vec<T>> {
        let Some((relay, connections)) = self.relay.as_mut().zip(connections) else { return Ok(Vec::new()) };
        let window = self.options.window();
        let (outcome, returned) = relay::load(relay, connections, window, scenario).await?;
        self.load.push(kind, connections, &outcome);
        Ok(returned)
    }
}
