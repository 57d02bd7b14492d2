//! What the relay is to reach, from `targets.txt`, and whether it did.

use crate::paths;
use crate::table::{Table, number};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::{self, Display};

const TARGETS: &str = include_str!("targets.txt");

#[derive(Clone, Copy, Serialize, Deserialize)]
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

    fn middle(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) | Self::Below(bound) => bound,
            Self::Within(least, most) => least.midpoint(most),
        }
    }
}

impl Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(formatter, "≥ {}", number(*bound)),
            Self::AtMost(bound) => write!(formatter, "≤ {}", number(*bound)),
            Self::Below(bound) => write!(formatter, "< {}", number(*bound)),
            Self::Within(least, most) => write!(formatter, "{least} to {most}"),
        }
    }
}

/// One requirement and what was measured for it.
#[derive(Serialize)]
pub(crate) struct Target {
    requirement: &'static str,
    bound: Bound,
    /// Absent when the part that measures it did not run.
    measured: Option<f64>,
    reached: Option<bool>,
    /// What the measured value is made of.
    detail: String,
}

/// All targets, with what this run says about each.
pub(crate) fn judge(report: &Value) -> Vec<Target> {
    let lines = TARGETS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| target(line, report)).collect()
}

fn target(line: &'static str, report: &Value) -> Option<Target> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [requirement, bound, measure, others] = columns[..] else { return None };
    let bound: Bound = serde_json::from_str(bound).ok()?;
    let select =
        |paths: &str| -> Vec<_> { paths.split(" + ").flat_map(|path| paths::select(report, path)).collect() };
    let (mut measured, mut detail) = (None, Vec::new());
    if let Some((mine, theirs)) = measure.split_once(" : ") {
        // What slowed a round as a whole cancels out.
        let rounds = paths::rounds_at(report, mine).zip(paths::rounds_at(report, theirs));
        if let Some((mine, theirs)) = rounds {
            let ratios = mine.ratios(&theirs);
            measured = ratios.median();
            let (mine, theirs) = (number(mine.median()), number(theirs.median()));
            detail.push(format!("{mine} of {theirs}; rounds {}", ratios.listed()));
        }
    } else {
        let (how, paths) = measure.split_once(' ')?;
        let values = select(paths).into_iter().filter_map(|(_, value)| paths::number_of(value));
        let off = |value: &f64| (value - bound.middle()).abs();
        measured = match how {
            "max" => values.max_by(f64::total_cmp),
            "sum" => values.reduce(|sum, value| sum + value),
            "far" => values.max_by(|one, other| off(one).total_cmp(&off(other))),
            _ => return None,
        };
    }
    detail.extend(select(others).into_iter().map(|(name, value)| {
        // The part is known from the requirement.
        let name = name.split_once(' ').map_or(name.as_str(), |(_, rest)| rest);
        format!("{name} {}", paths::show(value))
    }));
    let reached = measured.map(|value| bound.holds(value));
    Some(Target { requirement, bound, measured, reached, detail: detail.join(", ") })
}

/// The targets as a table.
pub(crate) fn table(targets: &[Target]) -> Table {
    let mut table = Table::new("Targets", ["requirement", "bound", "measured", "reached", ""]);
    for Target { requirement, bound, measured, reached, detail } in targets {
        let (reached, detail) = match reached {
            Some(true) => ("yes", detail.as_str()),
            Some(false) => ("NO", detail.as_str()),
            None => ("not measured", ""),
        };
        let (bound, measured) = (bound.to_string(), number(*measured));
        table.row([requirement, bound.as_str(), measured.as_str(), reached, detail].map(str::to_owned));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_target_is_understood() {
        let lines = TARGETS.lines().filter(|line| line.contains('|') && !line.starts_with('#'));
        assert_eq!(judge(&json!({})).len(), lines.count());
    }

    #[test]
    fn a_target_is_reached_or_not_or_not_measured() {
        let report =
            json!({ "kills": { "errors": 1, "missing": 0 }, "spreads": [{ "taken": 31 }, { "taken": 29 }] });
        let of = |requirement: &str| {
            let targets = judge(&report);
            let target = targets.into_iter().find(|target| target.requirement.contains(requirement)).unwrap();
            (target.measured, target.reached)
        };
        assert_eq!(of("errors that clients see"), (Some(1.0), Some(false)));
        assert_eq!(of("blobs missing"), (Some(0.0), Some(true)));
        assert_eq!(of("sends taken"), (Some(29.0), Some(false)));
        assert_eq!(of("slowest answer"), (None, None));
    }
}
