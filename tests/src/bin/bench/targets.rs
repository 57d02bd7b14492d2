//! What the relay is to reach, and whether it did.

use crate::federation::Neighbour;
use crate::oblivious::CONNECTIONS;
use crate::report::Report;
use crate::rotation::Rotated;
use crate::spread::{LIMIT, Spread};
use crate::stats::{Rounds, Series};
use crate::table::{Table, number};
use serde::Serialize;

/// One requirement and what was measured for it.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    requirement: &'static str,
    bound: Bound,
    /// Absent when the part that measures it did not run.
    measured: Option<f64>,
    reached: Option<bool>,
    /// What the measured value is made of.
    detail: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
    Within(f64, f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
            Self::Within(least, most) => (least..=most).contains(&value),
        }
    }
}

impl Target {
    fn new(requirement: &'static str, bound: Bound, measured: Option<f64>, detail: String) -> Self {
        Self { requirement, bound, measured, reached: measured.map(|value| bound.holds(value)), detail }
    }
}

/// All targets, with what this run says about each.
pub(crate) fn judge(report: &Report) -> Vec<Target> {
    let mut targets = throughput(report);
    targets.extend(oblivious(report));
    targets.extend(keys_and_sizes(report));
    targets.extend(growth(report));
    targets.extend(survival(report));
    targets.extend(footprint(report));
    targets.extend(federation(report));
    targets.extend(backup(report));
    targets.push(spread(report));
    targets
}

fn throughput(report: &Report) -> Vec<Target> {
    let limits = report.limits.as_ref();
    let (group, single) =
        (limits.and_then(|limits| limits.inserts.get(&32)), limits.and_then(|limits| limits.inserts.get(&1)));
    let deletes = limits.map(|limits| &limits.deletes);
    let load = |kind, connections| report.load.get(kind, connections);
    let (send, one, ack) = (load("send", 64), load("send", 1), load("ack", 64));
    let against = |mine: Option<&Series>, machine: Option<&Rounds>| {
        let Some((mine, machine)) = mine.zip(machine) else { return (None, String::new()) };
        let ratios = mine.per_second.ratios(machine);
        let detail = format!(
            "{}/s of {}/s; rounds {}",
            number(mine.per_second.median()),
            number(machine.median()),
            ratios.listed()
        );
        (ratios.median(), detail)
    };
    let (sends, sends_detail) = against(send, group);
    let (alone, alone_detail) = against(one, single);
    let (acks, acks_detail) = against(ack, deletes);
    let cpu = |process| send.and_then(|series| series.cpu_us.get(process)?.median());
    let relay = || report.load.entries().filter(|entry| entry.load != "echo");
    let errors: u64 = relay().map(|entry| entry.series.errors).sum();
    let requests: u64 = relay().map(|entry| entry.series.requests).sum();
    vec![
        Target::new(
            "sends at 64 connections / SQLite in groups of 32",
            Bound::AtLeast(0.40),
            sends,
            sends_detail,
        ),
        Target::new(
            "p99 of those sends, ms",
            Bound::Below(30.0),
            send.and_then(|series| series.p99_ms.median()),
            String::new(),
        ),
        Target::new("sends at 1 connection / SQLite row by row", Bound::AtLeast(0.30), alone, alone_detail),
        Target::new(
            "acks at 64 connections / SQLite deletes in groups of 32",
            Bound::AtLeast(0.40),
            acks,
            acks_detail,
        ),
        Target::new(
            "CPU a send, gateway, µs",
            Bound::AtMost(60.0),
            cpu("gateway"),
            "at 64 connections".to_owned(),
        ),
        Target::new(
            "CPU a send, storaged, µs",
            Bound::AtMost(100.0),
            cpu("storaged"),
            "at 64 connections".to_owned(),
        ),
        Target::new(
            "errors under load",
            Bound::AtMost(0.0),
            (requests > 0).then_some(errors as f64),
            format!("of {} requests", number(requests as f64)),
        ),
    ]
}

fn oblivious(report: &Report) -> Vec<Target> {
    let part = report.oblivious.as_ref();
    let series = |name| part.and_then(|part| part.load.get(name, CONNECTIONS));
    let (envelope, binary) = (series("ohttp send, envelope"), series("ohttp send, binary"));
    let ratio = |mine: Option<&Series>, theirs: Option<&Rounds>| {
        let (Some(mine), Some(theirs)) = (mine, theirs) else { return (None, String::new()) };
        let ratios = mine.per_second.ratios(theirs);
        let (mine, theirs) = (number(mine.per_second.median()), number(theirs.median()));
        (ratios.median(), format!("{mine}/s of {theirs}/s; rounds {}", ratios.listed()))
    };
    let (sends, sends_detail) = ratio(envelope, part.map(|part| &part.hpke));
    let (forms, forms_detail) = ratio(binary, envelope.map(|series| &series.per_second));
    let errors = [envelope, binary].into_iter().flatten().map(|series| series.errors).sum::<u64>();
    vec![
        Target::new(
            "oblivious sends / HPKE alone on all processors",
            Bound::AtLeast(0.24),
            sends,
            sends_detail,
        ),
        Target::new("oblivious sends, Binary HTTP / envelope", Bound::Within(0.9, 1.1), forms, forms_detail),
        Target::new(
            "CPU an oblivious send, gateway, µs",
            Bound::AtMost(200.0),
            envelope.and_then(|series| series.cpu_us.get("gateway")?.median()),
            String::new(),
        ),
        Target::new(
            "p99 of oblivious sends, ms",
            Bound::Below(40.0),
            envelope.and_then(|series| series.p99_ms.median()),
            String::new(),
        ),
        Target::new(
            "errors among oblivious sends",
            Bound::AtMost(0.0),
            part.map(|_| errors as f64),
            String::new(),
        ),
    ]
}

fn keys_and_sizes(report: &Report) -> Vec<Target> {
    let observed = report.observed.as_ref();
    let rotated = report.rotated.as_ref();
    let turned = |count: fn(&Rotated) -> u64| rotated.map(|rotated| count(rotated) as f64);
    let told = rotated.map(|rotated| {
        format!(
            "{} answered in {} s, {} restarts, {} keys shown, {} fetched, {} looks",
            number(rotated.answered as f64),
            rotated.seconds,
            rotated.restarts,
            rotated.keys,
            rotated.fetched,
            rotated.looks
        )
    });
    vec![
        Target::new(
            "sealed answers of a telling size",
            Bound::AtMost(0.0),
            observed.map(|observed| observed.telling as f64),
            observed
                .map(|observed| {
                    format!("of {}, {} errors", number(observed.requests as f64), observed.errors)
                })
                .unwrap_or_default(),
        ),
        Target::new(
            "keys that turn under load: requests refused for their key",
            Bound::AtMost(0.0),
            turned(|rotated| rotated.key_problems),
            told.unwrap_or_default(),
        ),
        Target::new(
            "keys that turn under load: other failures",
            Bound::AtMost(0.0),
            turned(|rotated| rotated.failures),
            String::new(),
        ),
        Target::new(
            "keys that turn under load: bytes that differ between gateways",
            Bound::AtMost(0.0),
            turned(|rotated| rotated.differences),
            String::new(),
        ),
    ]
}

fn growth(report: &Report) -> Vec<Target> {
    let ratio = |connections| {
        let pair = report.growth.as_ref()?.fetches.iter().find(|pair| pair.connections == connections)?;
        let ratios = pair.large.p50_ms.ratios(&pair.small.p50_ms);
        let detail = format!(
            "{} ms with {}, {} ms with 10,000; rounds {}",
            number(pair.large.p50_ms.median()),
            number(report.growth.as_ref()?.stored as f64),
            number(pair.small.p50_ms.median()),
            ratios.listed()
        );
        Some((ratios.median()?, detail))
    };
    let target = |requirement, connections| {
        let (ratio, detail) = ratio(connections).unzip();
        Target::new(requirement, Bound::AtMost(1.3), ratio, detail.unwrap_or_default())
    };
    vec![
        target("fetch p50, large store / 10,000 blobs, 1 connection", 1),
        target("fetch p50, large store / 10,000 blobs, 64 connections", 64),
    ]
}

fn survival(report: &Report) -> Vec<Target> {
    let kills = report.kills.as_ref();
    let startup = report.startup.as_ref();
    let told = |text: Option<String>| text.unwrap_or_default();
    vec![
        Target::new(
            "storaged killed each second: errors that clients see",
            Bound::AtMost(0.0),
            kills.map(|kills| kills.errors as f64),
            told(kills.map(|kills| {
                format!("{} kills, {} sends answered", kills.kills, number(kills.answered as f64))
            })),
        ),
        Target::new(
            "storaged killed each second: answered blobs missing",
            Bound::AtMost(0.0),
            kills.map(|kills| kills.missing as f64),
            String::new(),
        ),
        Target::new(
            "storaged killed each second: slowest answer, ms",
            Bound::Below(3000.0),
            kills.map(|kills| kills.slowest_ms),
            told(kills.map(|kills| format!("p99 {} ms", number(kills.p99_ms)))),
        ),
        Target::new(
            "everything killed: ready again, ms",
            Bound::Below(1000.0),
            startup.and_then(|startup| startup.after_kill_ms.worst()),
            told(
                startup.map(|startup| format!("worst, with {} blobs stored", number(startup.stored as f64))),
            ),
        ),
        Target::new(
            "everything killed: answered blobs lost",
            Bound::AtMost(0.0),
            startup.map(|startup| startup.lost as f64),
            String::new(),
        ),
        Target::new(
            "ready after `relay up`, ms",
            Bound::AtMost(500.0),
            startup.and_then(|startup| startup.fresh_ms.median()),
            told(startup.map(|startup| {
                format!(
                    "worst of {}: {} ms",
                    startup.fresh_ms.values().len(),
                    number(startup.fresh_ms.worst())
                )
            })),
        ),
    ]
}

fn footprint(report: &Report) -> Vec<Target> {
    let memory = report.memory.as_ref();
    // By itself and as a child of `relay up`; the worse counts.
    let alone = |name| memory.and_then(|memory| Some(memory.at_rest.get(name)?.resident));
    let supervised =
        |name| report.startup.as_ref().and_then(|startup| Some(startup.memory.get(name)?.resident));
    let busy = |name| memory.and_then(|memory| Some(memory.busy.get(name)?.peak));
    let rest = |requirement, name| {
        let measured = [alone(name), supervised(name)];
        let worse = measured.into_iter().flatten().max_by(f64::total_cmp);
        let detail = format!("by itself {}, under relay up {}", number(measured[0]), number(measured[1]));
        Target::new(requirement, Bound::Below(16.0), worse, detail)
    };
    let peak =
        |requirement, name| Target::new(requirement, Bound::Below(64.0), busy(name), "peak".to_owned());
    vec![
        rest("gateway at rest, MiB", "gateway"),
        rest("storaged at rest, MiB", "storaged"),
        peak("gateway with 1,000 idle and 200 busy connections, MiB", "gateway"),
        peak("storaged with 1,000 idle and 200 busy connections, MiB", "storaged"),
    ]
}

fn federation(report: &Report) -> Vec<Target> {
    let federated = report.federated.as_ref();
    let moved = federated.map(|federated| federated.offload.ratios(&federated.plain));
    let detail = moved.as_ref().map(|ratios| format!("rounds {}", ratios.listed())).unwrap_or_default();
    let mut targets = vec![Target::new(
        "bytes that move to a peer / plain WebSocket and SQLite",
        Bound::AtLeast(0.40),
        moved.and_then(|ratios| ratios.median()),
        detail,
    )];
    let listed = |ratios: &Option<Rounds>| {
        ratios.as_ref().map(|ratios| format!("turns {}", ratios.listed())).unwrap_or_default()
    };
    for (neighbour, requests, tail) in [
        (
            Neighbour::Dead,
            "own requests beside a dead peer / with nobody there",
            "p99 beside a dead peer / with nobody there",
        ),
        (
            Neighbour::HalfOpen,
            "own requests beside a half-open peer / with nobody there",
            "p99 beside a half-open peer / with nobody there",
        ),
        (
            Neighbour::Slow,
            "own requests beside a slow peer / with nobody there",
            "p99 beside a slow peer / with nobody there",
        ),
        (
            Neighbour::Hostile,
            "own requests beside a hostile peer / with nobody there",
            "p99 beside a hostile peer / with nobody there",
        ),
    ] {
        let beside = federated.and_then(|federated| federated.neighbours.get(&neighbour));
        let rates = beside.map(|beside| beside.with.per_second.ratios(&beside.alone_per_second));
        let tails = beside.map(|beside| beside.with.p99_ms.ratios(&beside.alone_p99_ms));
        let median = |ratios: &Option<Rounds>| ratios.as_ref().and_then(Rounds::median);
        targets.push(Target::new(requests, Bound::AtLeast(0.95), median(&rates), listed(&rates)));
        targets.push(Target::new(tail, Bound::AtMost(1.0 / 0.95), median(&tails), listed(&tails)));
    }
    targets
}

fn backup(report: &Report) -> [Target; 2] {
    let backups = report.backups.as_ref();
    let kept = backups.map(|backups| backups.with_per_second.ratios(&backups.alone_per_second));
    let detail = |rounds: Option<&Rounds>| rounds.map(Rounds::listed).unwrap_or_default();
    [
        Target::new(
            "sends beside a backup of 1 GiB / without",
            Bound::AtLeast(0.8),
            kept.as_ref().and_then(Rounds::median),
            detail(kept.as_ref()),
        ),
        Target::new(
            "a backup of 1 GiB with its check, seconds",
            Bound::Below(60.0),
            backups.and_then(|backups| backups.seconds.median()),
            detail(backups.map(|backups| &backups.seconds)),
        ),
    ]
}

fn spread(report: &Report) -> Target {
    let (least, most) = (f64::from(LIMIT), f64::from(LIMIT) * 1.1);
    let off = |taken: f64| (least - taken).max(taken - most);
    let taken = report.spreads.iter().map(|spread| f64::from(spread.taken));
    let worst = taken.max_by(|one, other| off(*one).total_cmp(&off(*other)));
    let each: Vec<String> = report
        .spreads
        .iter()
        .map(|Spread { sent: [one, two, three], taken }| format!("{taken} of {one}+{two}+{three}"))
        .collect();
    Target::new(
        "three gateways, 30 sends a minute to a mailbox: sends taken",
        Bound::Within(least, most),
        worst,
        each.join(" | "),
    )
}

/// The targets as a table.
pub(crate) fn table(targets: &[Target]) -> Table {
    let mut table = Table::new("Targets", &["requirement", "bound", "measured", "reached", ""]);
    for target in targets {
        let bound = match target.bound {
            Bound::AtLeast(bound) => format!("≥ {}", number(bound)),
            Bound::AtMost(bound) => format!("≤ {}", number(bound)),
            Bound::Below(bound) => format!("< {}", number(bound)),
            Bound::Within(least, most) => format!("{least} to {most}"),
        };
        let reached = match target.reached {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "not measured",
        };
        table.row([
            target.requirement.to_owned(),
            bound,
            number(target.measured),
            reached.to_owned(),
            if target.reached.is_some() { target.detail.clone() } else { String::new() },
        ]);
    }
    table
}
