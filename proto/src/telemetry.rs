//! Counters and process facts, as the processes report them to each other.

use crate::UnixSeconds;

/// Most families in one snapshot. A relay has about a hundred.
pub const MAX_FAMILIES: usize = 256;

/// Most series in one family.
pub const MAX_SAMPLES: usize = 256;

/// Most labels of one series.
pub const MAX_LABELS: usize = 8;

/// Most buckets of one histogram.
pub const MAX_BUCKETS: usize = 32;

/// Seconds without a report after which a process is taken to hang. A third of the time after which it is replaced, so
/// that an operator who looks sees it.
const SILENT_SECS: u32 = 10;

/// Which of the relay's programs a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The store.
    Storaged,
    /// The edge.
    Gateway,
    /// The peer link.
    Federated,
}

impl Role {
    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storaged => "storaged",
            Self::Gateway => "gateway",
            Self::Federated => "federated",
        }
    }
}

/// One running process of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What it runs.
    pub role: Role,
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// The version it was built from.
    pub version: String,
    /// When it started.
    pub started_at: UnixSeconds,
    /// Seconds since storage last heard from it; processes report every second. Zero in what it says of itself.
    pub silent_secs: u32,
}

impl Process {
    /// Whether it has missed so many reports that it hangs or is stopped.
    pub const fn is_silent(&self) -> bool {
        self.silent_secs >= SILENT_SECS
    }
}

/// What a process counted so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Who counted.
    pub process: Process,
    /// The counters.
    pub families: Vec<Family>,
}

/// A metric with all its label combinations.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Prometheus name.
    pub name: String,
    /// One sentence.
    pub help: String,
    /// The values; all of one kind.
    pub values: Values,
}

/// The values of a [`Family`], by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Only ever grow.
    Counters(Vec<Sample<f64>>),
    /// Go up and down.
    Gauges(Vec<Sample<f64>>),
    /// Observations in buckets.
    Histograms(Vec<Sample<Histogram>>),
}

/// One series: its labels and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<T> {
    /// Names and values, in the order they are printed.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: T,
}

/// Observations in cumulative buckets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Sum of all observations.
    pub sum: f64,
    /// Number of observations.
    pub count: u64,
    /// Upper bound and cumulative count of each bucket, ascending.
    pub buckets: Vec<(f64, u64)>,
}
