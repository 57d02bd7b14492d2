//! What of a report is believed. A process says what its own role counts, under the names, kinds and labels that are known
//! of it; anything else is left out. Numbers that no process can have counted end its reporting: a counter that falls, a
//! number that is none.

use relay_daemon::metrics::{Kind, Known, known};
use relay_proto::Refusal;
use relay_proto::telemetry::{Family, Histogram, Process, Role, Sample, Snapshot, Values};

/// Series of one report. A gateway has about a hundred.
const MOST_SERIES: usize = 512;

/// Buckets of all histograms of one report.
const MOST_BUCKETS: usize = 2048;

/// Bytes of a label's value.
const LONGEST_LABEL: usize = 64;

/// Bytes of a sentence about a metric.
const LONGEST_HELP: usize = 512;

/// Bytes of a version.
const LONGEST_VERSION: usize = 64;

/// Above this a sum of numbers could be one no longer.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Series that are kept of a metric of those who are gone.
pub(crate) const MOST_DEPARTED: usize = 256;

/// Checks a report of a process of this role, of which `before` is the last one.
///
/// # Errors
/// [`Refusal::Invalid`] with the field that no process of the relay says so.
pub(crate) fn check(role: Role, snapshot: Snapshot, before: &[Family]) -> Result<Snapshot, Refusal> {
    let Snapshot { process, families } = snapshot;
    check_process(role, &process)?;
    let mut kept: Vec<Family> = Vec::new();
    for family in families {
        let Some(known) = known(role).find(|known| is(known, &family)) else { continue };
        if kept.iter().any(|other| other.name == family.name) || family.help.len() > LONGEST_HELP {
            return Err(Refusal::invalid("families"));
        }
        let last = before.iter().find(|last| last.name == known.name).map(|last| &last.values);
        check_values(known, &family.values, last)?;
        kept.push(family);
    }
    if kept.iter().map(|family| series(&family.values)).sum::<usize>() > MOST_SERIES
        || kept.iter().map(|family| buckets(&family.values)).sum::<usize>() > MOST_BUCKETS
    {
        return Err(Refusal::invalid("families"));
    }
    Ok(Snapshot { process, families: kept })
}

/// Whether a family is this metric. One whose name is known and whose kind is not is another.
fn is(known: &Known, family: &Family) -> bool {
    known.name == family.name && known.kind == Kind::of(family)
}

fn check_process(role: Role, process: &Process) -> Result<(), Refusal> {
    if process.role != role {
        return Err(Refusal::invalid("role"));
    }
    let is_plain = process.version.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if process.version.len() > LONGEST_VERSION || !is_plain {
        return Err(Refusal::invalid("version"));
    }
    Ok(())
}

fn check_values(known: &Known, values: &Values, before: Option<&Values>) -> Result<(), Refusal> {
    let is_sound = match (values, before) {
        (Values::Counters(samples), before) => {
            let before = if let Some(Values::Counters(before)) = before { &before[..] } else { &[] };
            samples.iter().all(|sample| {
                let least = last(before, sample).copied().unwrap_or(0.0);
                is_counted(sample.value) && sample.value >= least
            }) && are_labelled(known, samples)
        }
        (Values::Gauges(samples), _) => {
            samples.iter().all(|sample| sample.value.abs() <= LARGEST) && are_labelled(known, samples)
        }
        (Values::Histograms(samples), before) => {
            let before = if let Some(Values::Histograms(before)) = before { &before[..] } else { &[] };
            samples.iter().all(|sample| {
                let least = last(before, sample).map_or(0, |last| last.count);
                is_sound(&sample.value) && sample.value.count >= least
            }) && are_labelled(known, samples)
        }
    };
    if is_sound { Ok(()) } else { Err(Refusal::invalid("samples")) }
}

fn last<'a, T>(before: &'a [Sample<T>], sample: &Sample<T>) -> Option<&'a T> {
    before.iter().find(|last| last.labels == sample.labels).map(|last| &last.value)
}

/// What is not a number is not in any range.
fn is_counted(value: f64) -> bool {
    (0.0..=LARGEST).contains(&value)
}

/// Buckets ascend, in bounds and counts, and none has more than there are.
fn is_sound(histogram: &Histogram) -> bool {
    let Histogram { sum, count, buckets } = histogram;
    let ascends = buckets
        .windows(2)
        .all(|pair| matches!(pair, [(below, fewer), (above, more)] if below < above && fewer <= more));
    let fits = buckets.iter().all(|(bound, counted)| !bound.is_nan() && counted <= count);
    is_counted(*sum) && *count <= LARGEST as u64 && ascends && fits
}

/// Whether all series have the labels of the metric, each with a short value, and no two the same.
fn are_labelled<T>(known: &Known, samples: &[Sample<T>]) -> bool {
    let is_labelled = |sample: &Sample<T>| {
        let names = sample.labels.iter().map(|(name, _)| name.as_str());
        names.eq(known.labels.iter().copied())
            && sample.labels.iter().all(|(_, value)| {
                value.len() <= LONGEST_LABEL
                    && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
            })
    };
    let is_alone = |(at, sample): (usize, &Sample<T>)| {
        samples.iter().take(at).all(|other| other.labels != sample.labels)
    };
    samples.iter().all(is_labelled) && samples.iter().enumerate().all(is_alone)
}

fn series(values: &Values) -> usize {
    match values {
        Values::Counters(samples) | Values::Gauges(samples) => samples.len(),
        Values::Histograms(samples) => samples.len(),
    }
}

fn buckets(values: &Values) -> usize {
    match values {
        Values::Counters(_) | Values::Gauges(_) => 0,
        Values::Histograms(samples) => samples.iter().map(|sample| sample.value.buckets.len()).sum(),
    }
}

/// Keeps a bounded number of series of those who are gone, each metric's first.
pub(crate) fn bound_departed(families: &mut [Family]) {
    for family in families {
        match &mut family.values {
            Values::Counters(samples) | Values::Gauges(samples) => samples.truncate(MOST_DEPARTED),
            Values::Histograms(samples) => samples.truncate(MOST_DEPARTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::UnixSeconds;

    fn process(role: Role) -> Process {
        let (version, started_at) = ("1.2.3".to_owned(), UnixSeconds::new(0));
        Process { role, pid: 1, version, started_at, silent_secs: 0 }
    }

    fn says(families: Vec<Family>) -> Snapshot {
        Snapshot { process: process(Role::Gateway), families }
    }

    fn family(name: &str, values: Values) -> Family {
        Family { name: name.to_owned(), help: String::new(), values }
    }

    fn sample<T>(labels: &[(&str, &str)], value: T) -> Sample<T> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sample { labels, value }
    }

    fn received(value: f64) -> Family {
        family("relay_messages_received_total", Values::Counters(vec![sample(&[], value)]))
    }

    fn rejected(labels: &[(&str, &str)]) -> Family {
        family("relay_messages_rejected_total", Values::Counters(vec![sample(labels, 1.0)]))
    }

    fn lasted(sum: f64, count: u64, buckets: &[(f64, u64)]) -> Family {
        let value = Histogram { sum, count, buckets: buckets.to_vec() };
        family("relay_message_duration_seconds", Values::Histograms(vec![sample(&[], value)]))
    }

    #[test]
    fn what_a_role_does_not_count_is_left_out() {
        let forged = vec![
            family("relay_storage_full", Values::Gauges(vec![sample(&[], -1.0)])),
            family("relay_blobs_created_total", Values::Counters(vec![sample(&[], 5.0)])),
            family("relay_federation_peers_connected", Values::Gauges(vec![sample(&[], 5.0)])),
            family("relay_messages_received_total", Values::Gauges(vec![sample(&[], -5.0)])),
            family("made_up", Values::Gauges(vec![sample(&[], 5.0)])),
            received(5.0),
        ];
        let checked = check(Role::Gateway, says(forged), &[]).unwrap();
        assert_eq!(checked.families, [received(5.0)]);
    }

    #[test]
    fn a_process_is_of_the_role_whose_socket_it_came_by() {
        for role in [Role::Storaged, Role::Federated] {
            let snapshot = Snapshot { process: process(role), families: Vec::new() };
            assert_eq!(check(Role::Gateway, snapshot, &[]), Err(Refusal::invalid("role")));
        }
        for version in ["x".repeat(65), "\u{1b}[2J".to_owned()] {
            let process = Process { version, ..process(Role::Gateway) };
            let snapshot = Snapshot { process, families: Vec::new() };
            assert_eq!(check(Role::Gateway, snapshot, &[]), Err(Refusal::invalid("version")));
        }
    }

    #[test]
    fn numbers_that_nobody_counts_are_refused() {
        for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert!(check(Role::Gateway, says(vec![received(value)]), &[]).is_err(), "{value}");
            assert!(check(Role::Gateway, says(vec![lasted(value, 1, &[])]), &[]).is_err(), "{value}");
        }
        for buckets in [&[(1.0, 2)][..], &[(1.0, 1), (1.0, 1)], &[(1.0, 1), (2.0, 0)], &[(f64::NAN, 1)]] {
            assert!(check(Role::Gateway, says(vec![lasted(1.0, 1, buckets)]), &[]).is_err(), "{buckets:?}");
        }
        assert!(check(Role::Gateway, says(vec![lasted(1.0, 2, &[(1.0, 1), (2.0, 2)])]), &[]).is_ok());
        for value in [f64::NAN, f64::INFINITY, -1e300] {
            let gauge = family("relay_connections_active", Values::Gauges(vec![sample(&[], value)]));
            assert!(check(Role::Gateway, says(vec![gauge]), &[]).is_err(), "{value}");
        }
    }

    #[test]
    fn counters_do_not_fall() {
        let before = [received(7.0), lasted(1.0, 7, &[])];
        assert!(check(Role::Gateway, says(vec![received(7.0), lasted(1.0, 7, &[])]), &before).is_ok());
        assert!(check(Role::Gateway, says(vec![received(6.0)]), &before).is_err());
        assert!(check(Role::Gateway, says(vec![lasted(1.0, 6, &[])]), &before).is_err());
    }

    #[test]
    fn labels_are_those_of_the_metric_and_write_no_lines_of_their_own() {
        assert!(check(Role::Gateway, says(vec![rejected(&[("reason", "invalid")])]), &[]).is_ok());
        let long = "x".repeat(LONGEST_LABEL + 1);
        for labels in [
            &[][..],
            &[("scope", "x")],
            &[("reason", "x"), ("reason", "y")],
            &[("reason=\"x\"} 1\nrelay_storage_full 0\n#", "x")],
            &[("reason", "a\nb")],
            &[("reason", &long)],
        ] {
            assert!(check(Role::Gateway, says(vec![rejected(labels)]), &[]).is_err(), "{labels:?}");
        }
    }

    #[test]
    fn a_report_is_bounded_and_says_nothing_twice() {
        let many = |series: usize| {
            let samples = (0..series).map(|at| sample(&[("reason", &at.to_string())], 1.0)).collect();
            family("relay_messages_rejected_total", Values::Counters(samples))
        };
        assert!(check(Role::Gateway, says(vec![many(MOST_SERIES)]), &[]).is_ok());
        assert!(check(Role::Gateway, says(vec![many(MOST_SERIES + 1)]), &[]).is_err());
        assert!(check(Role::Gateway, says(vec![received(1.0), received(1.0)]), &[]).is_err());
        let twice = vec![sample(&[], 1.0), sample(&[], 1.0)];
        let twice = family("relay_messages_received_total", Values::Counters(twice));
        assert!(check(Role::Gateway, says(vec![twice]), &[]).is_err());
        let mut buckets = Vec::new();
        for at in 0..=MOST_BUCKETS {
            buckets.push((at as f64, 1));
        }
        assert!(check(Role::Gateway, says(vec![lasted(1.0, 1, &buckets)]), &[]).is_err());
    }
}
