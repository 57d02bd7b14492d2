//! Everything that was measured, as JSON for programs, and as tables of it for people.

use crate::stats::Rounds;
use crate::table::Table;
use crate::{Fallible, Options, Part, paths, targets};
use clap::ValueEnum as _;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::Path;

/// Tables: title, paths of what has a line each, and which values of it are shown.
const TABLES: [(&str, &str, &str); 9] = [
    (
        "The machine, each a second",
        "limits/fdatasyncs limits/inserts/* limits/deletes oblivious/hpke",
        "median rounds",
    ),
    (
        "Requests end to end (medians of rounds; CPU in µs a request)",
        "load/* oblivious/load/*",
        "per_second p50_ms p99_ms p999_ms worst_ms errors cpu_us/gateway cpu_us/echo cpu_us/storaged cpu_us/generator",
    ),
    ("Sizes of sealed answers", "observed/sizes/*/*", "/"),
    ("Fetching one blob", "growth/fetches/*/*", "per_second p50_ms p99_ms p999_ms"),
    ("Filling the large store", "growth", "stored filled_per_second"),
    ("Memory, MiB", "load_memory/* growth/memory/* memory/*/* startup/memory/*", "resident anonymous peak"),
    ("Starts, backups and federation", STARTS, "median rounds"),
    ("Storaged killed", "kills", "kills answered per_second p50_ms p99_ms slowest_ms errors missing"),
    (
        "Own requests beside peers",
        "federated/neighbours/*",
        "with/per_second with/p99_ms alone_per_second alone_p99_ms attacks attackers_percent",
    ),
];
/// What others may take of a machine that is to be measured, in percent. Above it, the numbers mean little.
const QUIET: f64 = 5.0;
const STARTS: &str = "startup/fresh_ms startup/after_kill_ms backups/* federated/plain federated/offload";

/// A run of the bench.
pub(crate) struct Report {
    /// By the names that programs know; a part that was not measured is null.
    measured: Value,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let measured = json!({
            "machine": {
                "cpus": std::thread::available_parallelism().map_or(0, usize::from),
                "model": model.unwrap_or_default().1,
                "kernel": read("/proc/sys/kernel/osrelease").trim(),
                "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
            },
            "rounds": options.rounds(),
            "seconds": options.window().as_secs_f64(),
            "others_percent": Rounds::default(), "limits": null, "load": [], "load_memory": {},
            "oblivious": null, "observed": null, "rotated": null, "growth": null, "memory": null,
            "startup": null, "kills": null, "federated": null, "backups": null, "spreads": [],
        });
        Self { measured, failures: Vec::new() }
    }

    /// Measures a part, if it was asked for, in a directory of its own, and keeps what it returns under a key, or as
    /// it is. When it fails or panics, as the harness of the tests does, the report says why.
    pub(crate) async fn measure(
        &mut self,
        options: &Options,
        part: Part,
        key: &str,
        measure: impl AsyncFnOnce(&Options, &Path) -> Fallible<Value>,
    ) {
        let Some(value) = part.to_possible_value().filter(|_| options.has(part)) else { return };
        let (name, help) = (value.get_name(), value.get_help().map(ToString::to_string));
        eprintln!("{name}: {}", help.unwrap_or_default());
        let measuring = async {
            let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(options.directory()?)?;
            measure(options, directory.path()).await
        };
        let outcome = AssertUnwindSafe(measuring).catch_unwind().await.unwrap_or_else(|panic| {
            let text = panic.downcast::<String>().map_or_else(|_| "it panicked".to_owned(), |text| *text);
            Err(text.into())
        });
        match outcome {
            Ok(Value::Object(values)) if key.is_empty() => {
                values.into_iter().for_each(|(key, value)| self.measured[key] = value);
            }
            Ok(value) => self.measured[key] = value,
            Err(error) => {
                eprintln!("  failed: {error}");
                self.failures.push(format!("{name}: {error}"));
            }
        }
    }

    /// Judges, prints and returns everything as JSON, and whether all parts could be measured.
    pub(crate) fn finish(mut self) -> io::Result<(Value, bool)> {
        let targets = targets::judge(&self.measured);
        let mut out = io::stdout().lock();
        let show = |path: &str| self.measured.pointer(path).map(paths::show).unwrap_or_default();
        let [cpus, model, kernel, profile] =
            ["cpus", "model", "kernel", "profile"].map(|name| show(&format!("/machine/{name}")));
        let (rounds, seconds) = (show("/rounds"), &self.measured["seconds"]);
        writeln!(out, "{cpus} × {model}, Linux {kernel}, {profile} build, {rounds} rounds of {seconds} s")?;
        let others = paths::rounds_at(&self.measured, "others_percent").and_then(|others| others.worst());
        if let Some(others) = others.filter(|others| *others > QUIET) {
            writeln!(
                out,
                "NOT QUIET: others took up to {others:.0} % of the machine; measure again without them"
            )?;
        }
        for (title, lines, columns) in TABLES {
            write!(out, "{}", table(&self.measured, title, lines, columns))?;
        }
        write!(out, "{}", targets::table(&targets))?;
        for failure in &self.failures {
            writeln!(out, "\nnot measured: {failure}")?;
        }
        out.flush()?;
        let is_whole = self.failures.is_empty();
        self.measured["targets"] = json!(targets);
        self.measured["failures"] = self.failures.into();
        Ok((self.measured, is_whole))
    }
}

fn table(measured: &Value, title: &str, lines: &str, columns: &str) -> Table {
    let columns: Vec<&str> = columns.split(' ').collect();
    let header = columns.iter().map(|column| if *column == "/" { "value" } else { *column });
    let mut table = Table::new(title, [""].into_iter().chain(header));
    for (name, value) in lines.split(' ').flat_map(|path| paths::select(measured, path)) {
        let of =
            |column: &&str| if *column == "/" { Some(value) } else { value.pointer(&format!("/{column}")) };
        let found: Vec<_> = columns.iter().map(of).collect();
        if found.iter().any(Option::is_some) {
            let cells = found.into_iter().map(|value| value.map_or_else(|| "-".to_owned(), paths::show));
            table.row([name].into_iter().chain(cells));
        }
    }
    table
}
