//! Medians over rounds. The median of three forgives one disturbed round; a mean would not.

use crate::load::Outcome;
use crate::table::number;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// One value a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    pub(crate) fn median(&self) -> Option<f64> {
        median(self.0.iter().copied())
    }

    pub(crate) fn worst(&self) -> Option<f64> {
        self.0.iter().copied().max_by(f64::total_cmp)
    }

    /// All of them, for a person.
    pub(crate) fn listed(&self) -> String {
        self.0.iter().map(|value| number(*value)).collect::<Vec<_>>().join(" | ")
    }

    /// What each round's pair makes: what slowed a round as a whole cancels out.
    pub(crate) fn ratios(&self, to: &Self) -> Self {
        Self(self.0.iter().zip(&to.0).map(|(mine, theirs)| mine / theirs).collect())
    }
}

impl Serialize for Rounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            median: Option<f64>,
            rounds: &'a [f64],
        }
        Shape { median: self.median(), rounds: &self.0 }.serialize(serializer)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// What one kind of load measured, round by round.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Series {
    pub(crate) per_second: Rounds,
    pub(crate) p50_ms: Rounds,
    pub(crate) p99_ms: Rounds,
    pub(crate) p999_ms: Rounds,
    pub(crate) worst_ms: Rounds,
    /// CPU microseconds a request, of each process.
    pub(crate) cpu_us: BTreeMap<&'static str, Rounds>,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

impl Series {
    pub(crate) fn push(&mut self, outcome: &Outcome) {
        self.per_second.push(outcome.per_second());
        self.p50_ms.push(outcome.quantile_ms(0.5));
        self.p99_ms.push(outcome.quantile_ms(0.99));
        self.p999_ms.push(outcome.quantile_ms(0.999));
        self.worst_ms.push(outcome.worst_ms());
        for (name, microseconds) in outcome.cpu_us() {
            self.cpu_us.entry(name).or_default().push(microseconds);
        }
        self.requests += outcome.requests();
        self.errors += outcome.errors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Rounds {
        Rounds(values.to_vec())
    }

    #[test]
    fn one_disturbed_round_does_not_move_the_median() {
        assert_eq!(rounds(&[3.0, 900.0, 2.0]).median(), Some(3.0));
        assert_eq!(rounds(&[1.0, 2.0]).median(), Some(1.5));
        assert_eq!(rounds(&[]).median(), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(rounds(&[5.0, 50.0]).ratios(&rounds(&[10.0, 100.0])).values(), [0.5, 0.5]);
    }
}
