//! Everything that was measured, as tables for people and as JSON for programs.

use crate::Fallible;
use crate::backup::Backups;
use crate::federation::Federated;
use crate::growth::{Growth, SMALL};
use crate::kills::Kills;
use crate::limits::Limits;
use crate::memory::MemoryUse;
use crate::oblivious::Obliviousness;
use crate::observer::{self, Observed};
use crate::options::Plan;
use crate::proc::Memory;
use crate::results::LoadResults;
use crate::rotation::Rotated;
use crate::rounds::QUIET;
use crate::spread::Spread;
use crate::startup::Startup;
use crate::stats::{Rounds, Series};
use crate::table::{Table, number};
use crate::targets::{self, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// A run of the bench.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    /// What others took of the machine before each round, in percent. Above a few, the numbers mean little.
    pub(crate) others_percent: Rounds,
    pub(crate) limits: Option<Limits>,
    /// Echo and relay, by load and connections.
    pub(crate) load: LoadResults,
    /// Gateway and storaged after all load.
    pub(crate) load_memory: BTreeMap<&'static str, Memory>,
    pub(crate) oblivious: Option<Obliviousness>,
    pub(crate) observed: Option<Observed>,
    pub(crate) rotated: Option<Rotated>,
    pub(crate) growth: Option<Growth>,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) startup: Option<Startup>,
    pub(crate) kills: Option<Kills>,
    pub(crate) federated: Option<Federated>,
    pub(crate) backups: Option<Backups>,
    pub(crate) spreads: Vec<Spread>,
    /// Parts that could not be measured, and why.
    pub(crate) failures: Vec<String>,
    pub(crate) targets: Vec<Target>,
}

/// What the numbers were measured on.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    kernel: String,
    profile: &'static str,
}

impl Machine {
    fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo").lines().find_map(|line| {
            line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned())
        });
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            model: model.unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            machine: Machine::look(),
            rounds: plan.rounds,
            seconds: plan.window.as_secs_f64(),
            ..Self::default()
        }
    }

    /// Keeps a part's outcome, or why there is none.
    pub(crate) fn note<T>(&mut self, part: &str, outcome: Fallible<T>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                eprintln!("  {part} failed: {error}");
                self.failures.push(format!("{part}: {error}"));
            })
            .ok()
    }

    /// Compares with the targets; the last step.
    pub(crate) fn judge(&mut self) {
        self.targets = targets::judge(self);
    }

    pub(crate) fn write_json(&self, file: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(file, text)
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{} × {}, Linux {}, {} build, {} rounds of {} s",
            self.machine.cpus,
            self.machine.model,
            self.machine.kernel,
            self.machine.profile,
            self.rounds,
            self.seconds
        )?;
        if let Some(others) = self.others_percent.worst().filter(|others| *others > QUIET) {
            writeln!(
                out,
                "NOT QUIET: others took up to {others:.0} % of the machine; measure again without them"
            )?;
        }
        if let Some(limits) = &self.limits {
            write!(out, "{}", limits_table(limits))?;
        }
        if self.load.entries().next().is_some() {
            write!(out, "{}", load_table(&self.load))?;
        }
        if let Some(oblivious) = &self.oblivious {
            writeln!(
                out,
                "\nHPKE alone, all processors: {} opened and sealed a second; rounds {}",
                number(oblivious.hpke.median()),
                oblivious.hpke.listed()
            )?;
            write!(out, "{}", load_table(&oblivious.load))?;
        }
        if let Some(observed) = &self.observed {
            write!(out, "{}", observer::table(observed))?;
        }
        let mut memory = Table::new("Memory, MiB", &["when", "process", "resident", "own", "peak"]);
        memory_rows(&mut memory, "after all load", &self.load_memory);
        if let Some(growth) = &self.growth {
            write!(out, "{}", growth_table(growth))?;
            memory_rows(
                &mut memory,
                &format!("{} blobs stored", number(growth.stored as f64)),
                &growth.memory,
            );
        }
        if let Some(used) = &self.memory {
            memory_rows(&mut memory, "at rest", &used.at_rest);
            memory_rows(&mut memory, "1,000 idle connections", &used.idle);
            memory_rows(&mut memory, "and 200 busy", &used.busy);
        }
        if let Some(startup) = &self.startup {
            memory_rows(&mut memory, "relay up, at rest", &startup.memory);
        }
        if !memory.is_empty() {
            write!(out, "{memory}")?;
        }
        if let Some(table) = survival_table(self.startup.as_ref(), self.kills.as_ref()) {
            write!(out, "{table}")?;
        }
        if let Some(federated) = &self.federated {
            write!(out, "{}", federation_table(federated))?;
        }
        write!(out, "{}", targets::table(&self.targets))?;
        for failure in &self.failures {
            writeln!(out, "\nnot measured: {failure}")?;
        }
        out.flush()
    }
}

fn federation_table(federated: &Federated) -> Table {
    let mut table = Table::new("Federation", &["what", "median", "p99 ms", "rounds"]);
    for (what, rounds) in [
        ("plain WebSocket and SQLite, MiB/s", &federated.plain),
        ("mail that moves to a peer, MiB/s", &federated.offload),
    ] {
        let mib = rounds.values().iter().map(|bytes| bytes / f64::from(1 << 20)).fold(
            Rounds::default(),
            |mut all, mib| {
                all.push(mib);
                all
            },
        );
        table.row([what.to_owned(), number(mib.median()), String::new(), mib.listed()]);
    }
    for (neighbour, beside) in &federated.neighbours {
        let name = neighbour.name();
        table.row([
            format!("own requests a second beside {name}"),
            number(beside.with.per_second.median()),
            number(beside.with.p99_ms.median()),
            beside.with.per_second.listed(),
        ]);
        table.row([
            "  and with nobody there".to_owned(),
            number(beside.alone_per_second.median()),
            number(beside.alone_p99_ms.median()),
            beside.alone_per_second.listed(),
        ]);
        if let Some(attacks) = beside.attacks.median() {
            let percent = number(beside.attackers_percent.median());
            table.row([
                format!("  its attacks a second, whose side takes {percent} % of a processor"),
                number(attacks),
                String::new(),
                beside.attacks.listed(),
            ]);
        }
    }
    table
}

fn limits_table(limits: &Limits) -> Table {
    let mut table = Table::new("The machine", &["limit", "a second", "rounds"]);
    let mut row = |name: String, rounds: &Rounds| {
        table.row([name, number(rounds.median()), rounds.listed()]);
    };
    row("4 KiB appended, fdatasync".to_owned(), &limits.fdatasyncs);
    for (group, rounds) in &limits.inserts {
        row(format!("SQLite rows of 1 KiB, {group} a commit"), rounds);
    }
    row("SQLite deletes by id, 32 a commit".to_owned(), &limits.deletes);
    table
}

fn load_table(load: &LoadResults) -> Table {
    let mut table = Table::new(
        "Requests end to end (medians of rounds; CPU in µs a request)",
        &[
            "load",
            "connections",
            "a second",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "worst ms",
            "errors",
            "server",
            "storaged",
            "generator",
        ],
    );
    for entry in load.entries() {
        let Series { per_second, p50_ms, p99_ms, p999_ms, worst_ms, cpu_us, errors, .. } = &entry.series;
        let cpu = |name| cpu_us.get(name).and_then(Rounds::median);
        let mut cells = vec![entry.load.to_owned(), entry.connections.to_string()];
        cells.extend([per_second, p50_ms, p99_ms, p999_ms].map(|rounds| number(rounds.median())));
        cells.push(number(worst_ms.worst()));
        cells.push(errors.to_string());
        cells.extend([cpu("gateway").or(cpu("echo")), cpu("storaged"), cpu("generator")].map(number));
        table.row(cells);
    }
    table
}

fn growth_table(growth: &Growth) -> Table {
    let title = format!(
        "Fetching one blob (the large store was filled at {} blobs a second)",
        number(growth.filled_per_second)
    );
    let mut table = Table::new(title, &["stored", "connections", "a second", "p50 ms", "p99 ms", "p99.9 ms"]);
    for pair in &growth.fetches {
        for (stored, series) in [(SMALL, &pair.small), (growth.stored, &pair.large)] {
            let mut cells = vec![number(stored as f64), pair.connections.to_string()];
            cells.extend(
                [&series.per_second, &series.p50_ms, &series.p99_ms, &series.p999_ms]
                    .map(|rounds| number(rounds.median())),
            );
            table.row(cells);
        }
    }
    table
}

fn memory_rows(table: &mut Table, when: &str, memories: &BTreeMap<&'static str, Memory>) {
    for (name, memory) in memories {
        let numbers = [memory.resident, memory.anonymous, memory.peak].map(number);
        table.row([when.to_owned(), (*name).to_owned()].into_iter().chain(numbers));
    }
}

fn survival_table(startup: Option<&Startup>, kills: Option<&Kills>) -> Option<Table> {
    startup.map(|_| ()).or(kills.map(|_| ()))?;
    let mut table = Table::new("Starts and kills", &["what", "median ms", "worst ms", ""]);
    if let Some(startup) = startup {
        let mut row = |what: String, rounds: &Rounds, remark: String| {
            table.row([what, number(rounds.median()), number(rounds.worst()), remark]);
        };
        row("relay up to ready".to_owned(), &startup.fresh_ms, String::new());
        let stored = number(startup.stored as f64);
        let lost = format!("{} blobs lost", startup.lost);
        row(format!("kill -9 of everything to ready, {stored} blobs stored"), &startup.after_kill_ms, lost);
    }
    if let Some(kills) = kills {
        table.row([
            format!("a send while storaged is killed {} times", kills.kills),
            number(kills.p50_ms),
            number(kills.slowest_ms),
            format!(
                "{} answered, {}/s, p99 {} ms, {} errors, {} missing",
                number(kills.answered as f64),
                number(kills.per_second),
                number(kills.p99_ms),
                kills.errors,
                kills.missing
            ),
        ]);
    }
    Some(table)
}
