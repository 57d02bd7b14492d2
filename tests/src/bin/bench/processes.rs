//! CPU time and memory of the processes that a measurement watches.

use crate::Fallible;
use relay_tests::{deadline, procfs};
use std::collections::BTreeMap;
use std::time::Duration;

/// Processes by the names that they have in the report.
pub(crate) type Watched = Vec<(&'static str, u32)>;

pub(crate) type Memories = BTreeMap<&'static str, BTreeMap<&'static str, f64>>;

/// CPU time that each process has taken so far.
pub(crate) fn cpu_times(watched: &Watched) -> BTreeMap<&'static str, Duration> {
    watched.iter().filter_map(|(name, pid)| Some((*name, procfs::cpu_time(*pid)?))).collect()
}

/// How much of the machine others take while the bench only waits, in percent.
pub(crate) async fn others_percent() -> Fallible<f64> {
    let (busy, all) = ticks()?;
    deadline::pace(Duration::from_millis(500)).await;
    let (busy_then, all_then) = ticks()?;
    Ok(100.0 * (busy_then - busy) / (all_then - all).max(1.0))
}

/// Ticks that all processors were busy, and all their ticks.
fn ticks() -> Fallible<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let fields: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|it| it.parse().ok()).collect();
    let all: f64 = fields.iter().sum();
    Ok((all - fields.iter().skip(3).take(2).sum::<f64>(), all))
}

/// Memory of each process in MiB: resident now, the most it ever was, and without pages of files, which the kernel can
/// drop.
pub(crate) fn memories(watched: &Watched) -> Fallible<Memories> {
    let fields = [("resident", "VmRSS"), ("peak", "VmHWM"), ("anonymous", "RssAnon")];
    let mebibytes = |pid: u32, field: &str| -> Fallible<f64> {
        let text = procfs::status(pid, field).ok_or_else(|| format!("process {pid} has no {field}"))?;
        Ok(text.trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    let memory = |pid: u32| -> Fallible<_> {
        fields.into_iter().map(|(name, field)| Ok((name, mebibytes(pid, field)?))).collect()
    };
    watched.iter().map(|(name, pid)| Ok((*name, memory(*pid)?))).collect()
}
