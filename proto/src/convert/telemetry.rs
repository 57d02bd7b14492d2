//! Messages of the telemetry service.

use super::required;
use crate::telemetry::{
    Family, Histogram, MAX_FAMILIES, MAX_SAMPLES, Process, Role, Sample, Snapshot, Values,
};
use crate::{Refusal, UnixSeconds, wire};

impl TryFrom<wire::Snapshot> for Snapshot {
    type Error = Refusal;

    fn try_from(message: wire::Snapshot) -> Result<Self, Refusal> {
        let wire::Snapshot { process, families } = message;
        Ok(Self { process: required("process", process)?.try_into()?, families: read_families(families)? })
    }
}

impl From<Snapshot> for wire::Snapshot {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { process, families } = snapshot;
        Self { process: Some(process.into()), families: write_families(families) }
    }
}

pub(crate) fn read_families(families: Vec<wire::Family>) -> Result<Vec<Family>, Refusal> {
    if families.len() > MAX_FAMILIES {
        return Err(Refusal::invalid("families"));
    }
    families.into_iter().map(Family::try_from).collect()
}

pub(crate) fn write_families(families: Vec<Family>) -> Vec<wire::Family> {
    families.into_iter().map(wire::Family::from).collect()
}

impl TryFrom<wire::Process> for Process {
    type Error = Refusal;

    fn try_from(message: wire::Process) -> Result<Self, Refusal> {
        let wire::Process { role, pid, version, started_at, silent_secs } = message;
        let role = match wire::Role::try_from(role) {
            Ok(wire::Role::Storaged) => Role::Storaged,
            Ok(wire::Role::Gateway) => Role::Gateway,
            Ok(wire::Role::Federated) => Role::Federated,
            Ok(wire::Role::Unspecified) | Err(_) => return Err(Refusal::invalid("role")),
        };
        Ok(Self { role, pid, version, started_at: UnixSeconds::new(started_at), silent_secs })
    }
}

impl From<Process> for wire::Process {
    fn from(process: Process) -> Self {
        let Process { role, pid, version, started_at, silent_secs } = process;
        let role = match role {
            Role::Storaged => wire::Role::Storaged,
            Role::Gateway => wire::Role::Gateway,
            Role::Federated => wire::Role::Federated,
        };
        Self { role: role.into(), pid, version, started_at: started_at.get(), silent_secs }
    }
}

impl TryFrom<wire::Family> for Family {
    type Error = Refusal;

    fn try_from(message: wire::Family) -> Result<Self, Refusal> {
        let wire::Family { name, help, kind, samples } = message;
        if samples.len() > MAX_SAMPLES {
            return Err(Refusal::invalid("samples"));
        }
        let numbers = |samples: Vec<wire::Sample>| samples.into_iter().map(read_number).collect();
        let values = match wire::Kind::try_from(kind) {
            Ok(wire::Kind::Counter) => Values::Counters(numbers(samples)),
            Ok(wire::Kind::Gauge) => Values::Gauges(numbers(samples)),
            Ok(wire::Kind::Histogram) => {
                Values::Histograms(samples.into_iter().map(read_histogram).collect())
            }
            Ok(wire::Kind::Unspecified) | Err(_) => return Err(Refusal::invalid("kind")),
        };
        Ok(Self { name, help, values })
    }
}

impl From<Family> for wire::Family {
    fn from(family: Family) -> Self {
        let Family { name, help, values } = family;
        let numbers = |samples: Vec<Sample<f64>>| samples.into_iter().map(write_number).collect();
        let (kind, samples) = match values {
            Values::Counters(samples) => (wire::Kind::Counter, numbers(samples)),
            Values::Gauges(samples) => (wire::Kind::Gauge, numbers(samples)),
            Values::Histograms(samples) => {
                (wire::Kind::Histogram, samples.into_iter().map(write_histogram).collect())
            }
        };
        Self { name, help, kind: kind.into(), samples }
    }
}

fn read_labels(labels: Vec<wire::Label>) -> Vec<(String, String)> {
    labels.into_iter().map(|wire::Label { name, value }| (name, value)).collect()
}

fn write_labels(labels: Vec<(String, String)>) -> Vec<wire::Label> {
    labels.into_iter().map(|(name, value)| wire::Label { name, value }).collect()
}

fn read_number(sample: wire::Sample) -> Sample<f64> {
    Sample { labels: read_labels(sample.labels), value: sample.value }
}

fn write_number(sample: Sample<f64>) -> wire::Sample {
    wire::Sample { labels: write_labels(sample.labels), value: sample.value, count: 0, buckets: Vec::new() }
}

fn read_histogram(sample: wire::Sample) -> Sample<Histogram> {
    let wire::Sample { labels, value: sum, count, buckets } = sample;
    let buckets = buckets.into_iter().map(|bucket| (bucket.upper_bound, bucket.cumulative_count)).collect();
    Sample { labels: read_labels(labels), value: Histogram { sum, count, buckets } }
}

fn write_histogram(sample: Sample<Histogram>) -> wire::Sample {
    let Histogram { sum, count, buckets } = sample.value;
    let buckets = buckets
        .into_iter()
        .map(|(upper_bound, cumulative_count)| wire::Bucket { upper_bound, cumulative_count })
        .collect();
    wire::Sample { labels: write_labels(sample.labels), value: sum, count, buckets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let labels = vec![("reason".to_owned(), "full".to_owned())];
        let histogram = Histogram { sum: 1.5, count: 2, buckets: vec![(0.5, 1), (1.0, 2)] };
        Snapshot {
            process: Process {
                role: Role::Gateway,
                pid: 7,
                version: "1.2.3".to_owned(),
                started_at: UnixSeconds::new(9),
                silent_secs: 42,
            },
            families: vec![
                Family {
                    name: "a".to_owned(),
                    help: "A.".to_owned(),
                    values: Values::Counters(vec![Sample { labels: labels.clone(), value: 3.0 }]),
                },
                Family {
                    name: "b".to_owned(),
                    help: "B.".to_owned(),
                    values: Values::Histograms(vec![Sample { labels, value: histogram }]),
                },
            ],
        }
    }

    #[test]
    fn a_snapshot_survives_the_wire() {
        assert_eq!(Snapshot::try_from(wire::Snapshot::from(snapshot())).unwrap(), snapshot());
    }

    #[test]
    fn a_reporter_cannot_make_storage_hold_more_than_the_bounds() {
        let mut message = wire::Snapshot::from(snapshot());
        message.families = vec![message.families[0].clone(); MAX_FAMILIES + 1];
        assert_eq!(Snapshot::try_from(message).unwrap_err(), Refusal::invalid("families"));
        let mut message = wire::Snapshot::from(snapshot());
        message.families[0].samples = vec![message.families[0].samples[0].clone(); MAX_SAMPLES + 1];
        assert_eq!(Snapshot::try_from(message).unwrap_err(), Refusal::invalid("samples"));
    }

    #[test]
    fn absent_and_unknown_values_are_named() {
        let message = wire::Snapshot { process: None, families: Vec::new() };
        assert_eq!(Snapshot::try_from(message).unwrap_err(), Refusal::invalid("process"));
        let message = wire::Process { role: 99, ..Default::default() };
        assert_eq!(Process::try_from(message).unwrap_err(), Refusal::invalid("role"));
        let message = wire::Family::default();
        assert_eq!(Family::try_from(message).unwrap_err(), Refusal::invalid("kind"));
    }
}
