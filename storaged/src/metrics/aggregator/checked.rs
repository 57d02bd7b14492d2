//! What of a report is believed. A process says what its own role counts, under the names, kinds and labels that are known
//! of it; anything else is left out. Numbers that no process can have counted end its reporting: a counter that falls, a
//! number that is none.

use relay_daemon::metrics::{Known, known};
use relay_proto::StorageError;
use relay_proto::field::{enumerated, required};
use relay_proto::messages::{Family, Kind, Process, Sample, Snapshot};
use relay_proto::telemetry::Role;

/// Series of one report. A gateway has about a hundred.
const MOST_SERIES: usize = 512;

/// Buckets of all histograms of one report.
const MOST_BUCKETS: usize = 2048;

/// Bytes of a label's value, and of a version.
const LONGEST_TEXT: usize = 64;

/// Bytes of a sentence about a metric.
const LONGEST_HELP: usize = 512;

/// Above this a sum of numbers could be one no longer.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Checks a report of a process of this role, of which `before` is the last one. Returns what of it is believed.
///
/// # Errors
/// [`StorageError::Invalid`] with the field that no process of the relay says so.
pub(super) fn check(
    role: Role,
    snapshot: Snapshot,
    before: &[Family],
) -> Result<(Process, Vec<Family>), StorageError> {
    let Snapshot { process, families } = snapshot;
    let process = required("process", process)?;
    if !process.runs(role) {
        return Err(StorageError::invalid("role"));
    }
    if !is_short_text(&process.version) {
        return Err(StorageError::invalid("version"));
    }
    let mut kept: Vec<Family> = Vec::new();
    for family in families {
        enumerated::<Kind>("kind", family.kind)?;
        let Some(known) = known(role).find(|known| known.is(&family)) else { continue };
        if kept.iter().any(|other| other.name == family.name) || family.help.len() > LONGEST_HELP {
            return Err(StorageError::invalid("families"));
        }
        let last = before.iter().find(|last| last.name == known.name);
        if !are_believed(known, &family.samples, last.map_or(&[], |last| &last.samples)) {
            return Err(StorageError::invalid("samples"));
        }
        kept.push(family);
    }
    let samples = || kept.iter().flat_map(|family| &family.samples);
    let buckets: usize = samples().map(|sample| sample.buckets.len()).sum();
    if samples().count() > MOST_SERIES || buckets > MOST_BUCKETS {
        return Err(StorageError::invalid("families"));
    }
    Ok((process, kept))
}

/// Whether all series have the labels of the metric, no two the same, and numbers that were counted after those before.
fn are_believed(known: &Known, samples: &[Sample], before: &[Sample]) -> bool {
    samples.iter().enumerate().all(|(at, sample)| {
        let same = |other: &&Sample| other.labels == sample.labels;
        sample.labels.iter().map(|label| label.name.as_str()).eq(known.labels.iter().copied())
            && sample.labels.iter().all(|label| is_short_text(&label.value))
            && !samples.iter().take(at).any(|other| same(&other))
            && is_counted(known.kind, sample, before.iter().find(same))
    })
}

/// Whether a process can have counted this after what it counted before. What is not a number is in no range.
fn is_counted(kind: Kind, sample: &Sample, last: Option<&Sample>) -> bool {
    let is_number = sample.count == 0 && sample.buckets.is_empty();
    let is_sum = (0.0..=LARGEST).contains(&sample.value);
    match kind {
        Kind::Unspecified => false,
        Kind::Gauge => is_number && sample.value.abs() <= LARGEST,
        Kind::Counter => is_number && is_sum && last.is_none_or(|last| sample.value >= last.value),
        Kind::Histogram => {
            // Buckets ascend, in bounds and counts, and none has more than there are.
            let bounds = sample.buckets.iter().map(|bucket| bucket.upper_bound);
            let counts = sample.buckets.iter().map(|bucket| bucket.cumulative_count);
            let ascend = !bounds.clone().any(f64::is_nan) && bounds.is_sorted_by(|low, high| low < high);
            let fit = counts.chain([sample.count]).is_sorted() && sample.count <= LARGEST as u64;
            is_sum && ascend && fit && last.is_none_or(|last| sample.count >= last.count)
        }
    }
}

/// Whether a label's value or a version is short and harmless to whoever is shown it.
fn is_short_text(text: &str) -> bool {
    text.len() <= LONGEST_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::messages::{Bucket, Label};

    fn process(role: Role) -> Process {
        Process { role: role.into(), pid: 1, version: "1.2.3".to_owned(), ..Process::default() }
    }

    /// Whether a gateway is believed.
    fn said(families: Vec<Family>, before: &[Family]) -> Result<Vec<Family>, StorageError> {
        let snapshot = Snapshot { process: Some(process(Role::Gateway)), families };
        check(Role::Gateway, snapshot, before).map(|(_, families)| families)
    }

    fn family(name: &str, kind: Kind, samples: Vec<Sample>) -> Family {
        Family { name: name.to_owned(), help: String::new(), kind: kind.into(), samples }
    }

    fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
        let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
        Sample { labels: labels.iter().map(label).collect(), value, ..Sample::default() }
    }

    fn gauge(name: &str, value: f64) -> Family {
        family(name, Kind::Gauge, vec![sample(&[], value)])
    }

    fn received(value: f64) -> Family {
        family("relay_messages_received_total", Kind::Counter, vec![sample(&[], value)])
    }

    fn rejected(labels: &[(&str, &str)]) -> Family {
        family("relay_messages_rejected_total", Kind::Counter, vec![sample(labels, 1.0)])
    }

    fn lasted(sum: f64, count: u64, buckets: &[(f64, u64)]) -> Family {
        let bucket = |(upper_bound, cumulative_count)| Bucket { upper_bound, cumulative_count };
        let buckets = buckets.iter().copied().map(bucket).collect();
        let sample = Sample { count, buckets, ..sample(&[], sum) };
        family("relay_message_duration_seconds", Kind::Histogram, vec![sample])
    }

    #[test]
    fn what_a_role_does_not_count_is_left_out() {
        let forged = vec![
            gauge("relay_storage_full", -1.0),
            family("relay_blobs_created_total", Kind::Counter, vec![sample(&[], 5.0)]),
            gauge("relay_federation_peers_connected", 5.0),
            gauge("relay_messages_received_total", -5.0),
            gauge("made_up", 5.0),
            received(5.0),
        ];
        assert_eq!(said(forged, &[]), Ok(vec![received(5.0)]));
    }

    #[test]
    fn a_process_is_of_the_role_whose_socket_it_came_by() {
        let refused = |process| check(Role::Gateway, Snapshot { process, families: Vec::new() }, &[]);
        assert_eq!(refused(None), Err(StorageError::invalid("process")));
        let nobody = Process { role: 99, ..process(Role::Gateway) };
        for process in [process(Role::Storaged), process(Role::Federated), nobody] {
            assert_eq!(refused(Some(process)), Err(StorageError::invalid("role")));
        }
        for version in ["x".repeat(65), "\u{1b}[2J".to_owned()] {
            let process = Process { version, ..process(Role::Gateway) };
            assert_eq!(refused(Some(process)), Err(StorageError::invalid("version")));
        }
    }

    #[test]
    fn numbers_that_nobody_counts_are_refused() {
        for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert!(said(vec![received(value)], &[]).is_err(), "{value}");
            assert!(said(vec![lasted(value, 1, &[])], &[]).is_err(), "{value}");
        }
        for buckets in [&[(1.0, 2)][..], &[(1.0, 1), (1.0, 1)], &[(1.0, 1), (2.0, 0)], &[(f64::NAN, 1)]] {
            assert!(said(vec![lasted(1.0, 1, buckets)], &[]).is_err(), "{buckets:?}");
        }
        assert!(said(vec![lasted(1.0, 2, &[(1.0, 1), (2.0, 2)])], &[]).is_ok());
        for value in [f64::NAN, f64::INFINITY, -1e300] {
            assert!(said(vec![gauge("relay_connections_active", value)], &[]).is_err(), "{value}");
        }
    }

    #[test]
    fn a_number_has_nothing_of_a_histogram_and_a_family_has_a_known_kind() {
        for kind in [0, 99] {
            let unknown = Family { kind, ..received(1.0) };
            assert_eq!(said(vec![unknown], &[]), Err(StorageError::invalid("kind")));
        }
        let bucket = Bucket { upper_bound: 1.0, cumulative_count: 0 };
        for stuffed in
            [Sample { buckets: vec![bucket], ..sample(&[], 1.0) }, Sample { count: 1, ..sample(&[], 1.0) }]
        {
            let counter = Family { samples: vec![stuffed.clone()], ..received(1.0) };
            let gauge = Family { samples: vec![stuffed], ..gauge("relay_connections_active", 1.0) };
            assert!(said(vec![counter], &[]).is_err() && said(vec![gauge], &[]).is_err());
        }
    }

    #[test]
    fn counters_do_not_fall() {
        let before = [received(7.0), lasted(1.0, 7, &[])];
        assert!(said(vec![received(7.0), lasted(1.0, 7, &[])], &before).is_ok());
        assert!(said(vec![received(6.0)], &before).is_err());
        assert!(said(vec![lasted(1.0, 6, &[])], &before).is_err());
    }

    #[test]
    fn labels_are_those_of_the_metric_and_write_no_lines_of_their_own() {
        assert!(said(vec![rejected(&[("reason", "invalid")])], &[]).is_ok());
        let long = "x".repeat(LONGEST_TEXT + 1);
        for labels in [
            &[][..],
            &[("scope", "x")],
            &[("reason", "x"), ("reason", "y")],
            &[("reason=\"x\"} 1\nrelay_storage_full 0\n#", "x")],
            &[("reason", "a\nb")],
            &[("reason", &long)],
        ] {
            assert!(said(vec![rejected(labels)], &[]).is_err(), "{labels:?}");
        }
    }

    #[test]
    fn a_report_is_bounded_and_says_nothing_twice() {
        let many = |series: usize| {
            let samples = (0..series).map(|at| sample(&[("reason", &at.to_string())], 1.0)).collect();
            Family { samples, ..rejected(&[]) }
        };
        assert!(said(vec![many(MOST_SERIES)], &[]).is_ok());
        assert!(said(vec![many(MOST_SERIES + 1)], &[]).is_err());
        assert!(said(vec![received(1.0), received(1.0)], &[]).is_err());
        let twice = Family { samples: vec![sample(&[], 1.0); 2], ..received(1.0) };
        assert!(said(vec![twice], &[]).is_err());
        let buckets: Vec<_> = (0..=MOST_BUCKETS).map(|at| (at as f64, 1)).collect();
        assert!(said(vec![lasted(1.0, 1, &buckets)], &[]).is_err());
    }
}
