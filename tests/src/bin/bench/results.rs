//! What loads measured, by kind and number of connections.

use crate::load::Outcome;
use crate::stats::Series;
use serde::Serialize;

/// Every load of a run.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct LoadResults(Vec<Entry>);

/// One kind of load at one number of connections.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) load: &'static str,
    pub(crate) connections: usize,
    #[serde(flatten)]
    pub(crate) series: Series,
    /// Some of what went wrong.
    pub(crate) samples: Vec<String>,
}

impl LoadResults {
    pub(crate) fn push(&mut self, load: &'static str, connections: usize, outcome: &Outcome) {
        let found = self.0.iter().position(|entry| (entry.load, entry.connections) == (load, connections));
        let at = found.unwrap_or_else(|| {
            self.0.push(Entry { load, connections, series: Series::default(), samples: Vec::new() });
            self.0.len() - 1
        });
        if let Some(entry) = self.0.get_mut(at) {
            entry.series.push(outcome);
            entry.samples.extend(outcome.samples.iter().cloned());
        }
        for sample in &outcome.samples {
            eprintln!("    wrong: {sample}");
        }
    }

    pub(crate) fn get(&self, load: &str, connections: usize) -> Option<&Series> {
        self.entries()
            .find(|entry| (entry.load, entry.connections) == (load, connections))
            .map(|entry| &entry.series)
    }

    /// In the order of a report: all connections of one kind together.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let mut kinds: Vec<&str> = Vec::new();
        for entry in &self.0 {
            if !kinds.contains(&entry.load) {
                kinds.push(entry.load);
            }
        }
        kinds.into_iter().flat_map(|kind| self.0.iter().filter(move |entry| entry.load == kind))
    }
}
