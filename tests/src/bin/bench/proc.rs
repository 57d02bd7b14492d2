//! CPU time and memory of the processes that a measurement watches.

use crate::Fallible;
use relay_tests::{deadline, procfs};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// A process to watch, and the name it has in the report.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
}

impl Watched {
    /// The load generator itself: what it takes, the relay does not get.
    pub(crate) fn generator() -> Self {
        Self { name: "generator", pid: std::process::id() }
    }
}

/// CPU time that each process has taken so far.
pub(crate) fn cpu_times(watched: &[Watched]) -> BTreeMap<&'static str, Duration> {
    watched.iter().filter_map(|process| Some((process.name, procfs::cpu_time(process.pid)?))).collect()
}

/// How much of the machine others take while the bench only waits, in percent.
pub(crate) async fn others() -> Fallible<f64> {
    let (busy, all) = ticks()?;
    deadline::pace(Duration::from_millis(500)).await;
    let (busy_then, all_then) = ticks()?;
    Ok(100.0 * (busy_then - busy) / (all_then - all).max(1.0))
}

/// Ticks that all processors were busy, and all their ticks.
fn ticks() -> Fallible<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let all: f64 = fields.iter().take(8).sum();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

/// Memory of a process, in MiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    /// The most it ever was.
    pub(crate) peak: f64,
    /// Of the resident memory what is the process's own, not pages of files that the kernel can drop.
    pub(crate) anonymous: f64,
}

/// Memory of each process, by its name.
pub(crate) fn memories(watched: &[Watched]) -> Fallible<BTreeMap<&'static str, Memory>> {
    watched.iter().map(|process| Ok((process.name, memory(process.pid)?))).collect()
}

fn memory(pid: u32) -> Fallible<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mebibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes / 1024.0)
    };
    let field = |name: &str| mebibytes(name).ok_or_else(|| format!("process {pid} tells no {name}"));
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")?, anonymous: field("RssAnon:")? })
}
