//! Medians over rounds. The median of three forgives one disturbed round; a mean would not.

use crate::load::Outcome;
use crate::table::number;
use serde::{Serialize, Serializer};
use serde_json::json;
use std::collections::BTreeMap;

/// One value a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(pub(crate) Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
        Some(f64::midpoint(*lower, *upper))
    }

    pub(crate) fn worst(&self) -> Option<f64> {
        self.0.iter().copied().max_by(f64::total_cmp)
    }

    /// All of them, for a person.
    pub(crate) fn listed(&self) -> String {
        self.0.iter().map(|value| number(*value)).collect::<Vec<_>>().join(" | ")
    }

    /// The ratio of each round's pair: what slowed a round as a whole cancels out.
    pub(crate) fn ratios(&self, to: &Self) -> Self {
        Self(self.0.iter().zip(&to.0).map(|(mine, theirs)| mine / theirs).collect())
    }
}

impl Serialize for Rounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({ "median": self.median(), "rounds": self.0 }).serialize(serializer)
    }
}

/// What one kind of load measured, round by round.
#[derive(Default, Serialize)]
pub(crate) struct Series {
    /// Answers a second and times of answers.
    #[serde(flatten)]
    values: BTreeMap<&'static str, Rounds>,
    /// CPU microseconds a request, of each process.
    cpu_us: BTreeMap<&'static str, Rounds>,
    requests: u64,
    errors: u64,
}

impl Series {
    pub(crate) fn push(&mut self, outcome: &Outcome) {
        let quantiles = [("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999), ("worst_ms", 1.0)];
        let times = quantiles.map(|(name, quantile)| (name, outcome.quantile_ms(quantile)));
        for (name, value) in [("per_second", outcome.per_second())].into_iter().chain(times) {
            self.values.entry(name).or_default().push(value);
        }
        for (name, microseconds) in &outcome.cpu_us {
            self.cpu_us.entry(name).or_default().push(*microseconds);
        }
        self.requests += outcome.requests();
        self.errors += outcome.errors;
    }
}

/// One kind of load at one number of connections.
#[derive(Serialize)]
struct LoadResult {
    load: &'static str,
    connections: usize,
    #[serde(flatten)]
    series: Series,
    /// Some of what went wrong.
    samples: Vec<String>,
}

#[derive(Default, Serialize)]
#[serde(transparent)]
pub(crate) struct LoadResults(Vec<LoadResult>);

impl LoadResults {
    pub(crate) fn push(&mut self, load: &'static str, connections: usize, outcome: &Outcome) {
        outcome.show_errors();
        let found = self.0.iter().position(|one| (one.load, one.connections) == (load, connections));
        let at = found.unwrap_or(self.0.len());
        if found.is_none() {
            self.0.push(LoadResult { load, connections, series: Series::default(), samples: Vec::new() });
        }
        self.0[at].series.push(outcome);
        self.0[at].samples.extend_from_slice(&outcome.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disturbed_round_does_not_move_the_median() {
        assert_eq!(Rounds(vec![3.0, 900.0, 2.0]).median(), Some(3.0));
        assert_eq!(Rounds(vec![1.0, 2.0]).median(), Some(1.5));
        assert_eq!(Rounds::default().median(), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(Rounds(vec![5.0, 50.0]).ratios(&Rounds(vec![10.0, 100.0])).0, [0.5, 0.5]);
    }
}
