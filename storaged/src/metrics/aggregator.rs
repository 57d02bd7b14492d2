//! Who reports, and what the departed counted while they lived.

mod checked;

use relay_daemon::Clock;
use relay_daemon::metrics::merge;
use relay_proto::StorageError;
use relay_proto::messages::{Family, Kind, Process, Snapshot};
use relay_proto::telemetry::Role;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reporters of one role at once. A relay has a handful, and at most 64 gateways.
const MOST: usize = 80;

/// Series that are kept of a metric of those who are gone, the first ones.
const MOST_DEPARTED: usize = 256;

/// The other processes of the relay.
#[derive(Debug)]
pub(crate) struct MetricsAggregator {
    known: Mutex<Known>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    living: BTreeMap<u64, (Role, Option<Report>)>,
    /// Counters must not fall when a replica goes, or rates would jump.
    departed: Vec<Family>,
}

impl Known {
    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.living.values().filter_map(|(_, last)| last.as_ref())
    }
}

/// The last report of a process.
#[derive(Debug)]
struct Report {
    process: Process,
    families: Vec<Family>,
    /// When it came, by the monotonic clock.
    at: Duration,
}

/// One reporter's place, left when dropped.
#[derive(Debug)]
pub(crate) struct Reporter {
    reporters: Arc<MetricsAggregator>,
    role: Role,
    number: u64,
}

impl MetricsAggregator {
    /// Nobody reports yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { known: Mutex::default(), clock }
    }

    /// Gives a reporter of this role its place.
    pub(crate) fn enter(self: &Arc<Self>, role: Role) -> Result<Reporter, StorageError> {
        let mut known = self.lock();
        if known.living.values().filter(|(of, _)| *of == role).count() >= MOST {
            return Err(StorageError::Busy);
        }
        let number = known.next;
        known.next += 1;
        known.living.insert(number, (role, None));
        Ok(Reporter { reporters: Arc::clone(self), role, number })
    }

    /// Everybody who is connected, with how long ago they last reported.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let known = self.lock();
        let now = self.clock.monotonic();
        let process = |report: &Report| {
            let silent_secs = u32::try_from(now.saturating_sub(report.at).as_secs()).unwrap_or(u32::MAX);
            Process { silent_secs, ..report.process.clone() }
        };
        let mut processes: Vec<_> = known.reports().map(process).collect();
        processes.sort_by_key(|process| (process.role, process.started_at, process.pid));
        processes
    }

    /// What all of them counted, living and departed.
    pub(crate) fn families(&self) -> Vec<Family> {
        let known = self.lock();
        let living = known.reports().flat_map(|report| &report.families);
        living.chain(&known.departed).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Takes the newest snapshot in place of the last, as far as it is believed.
    ///
    /// # Errors
    /// When no process of this role says such things.
    pub(crate) fn tell(&self, snapshot: Snapshot) -> Result<(), StorageError> {
        let mut known = self.reporters.lock();
        let Some((_, last)) = known.living.get_mut(&self.number) else { return Ok(()) };
        let before = last.as_ref().map_or(&[][..], |report| &report.families);
        let (process, families) = checked::check(self.role, snapshot, before)?;
        *last = Some(Report { process, families, at: self.reporters.clock.monotonic() });
        Ok(())
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut known = self.reporters.lock();
        if let Some((_, Some(last))) = known.living.remove(&self.number) {
            let departed = std::mem::take(&mut known.departed);
            // What it counted stays, and the state it was in goes with it.
            let counted = last.families.into_iter().filter(|family| family.kind() != Kind::Gauge);
            known.departed = merge(departed.into_iter().chain(counted));
            for family in &mut known.departed {
                family.samples.truncate(MOST_DEPARTED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;
    use relay_proto::messages::{Label, Sample};

    const REQUESTS: &str = "relay_messages_received_total";
    const CONNECTIONS: &str = "relay_connections_active";

    fn snapshot(pid: u32, requests: f64) -> Snapshot {
        let samples = vec![Sample { value: requests, ..Sample::default() }];
        let families = [(REQUESTS, Kind::Counter), (CONNECTIONS, Kind::Gauge)]
            .map(|(name, kind)| Family {
                name: name.to_owned(),
                help: String::new(),
                kind: kind.into(),
                samples: samples.clone(),
            })
            .to_vec();
        let process = Process { role: Role::Gateway.into(), pid, ..Process::default() };
        Snapshot { process: Some(process), families }
    }

    fn sums(reporters: &MetricsAggregator) -> Vec<(String, f64)> {
        let families = merge(reporters.families()).into_iter();
        families.map(|family| (family.name, family.samples[0].value)).collect()
    }

    #[test]
    fn counters_outlive_their_replica_and_gauges_do_not() {
        let reporters = Arc::new(MetricsAggregator::new(Clock::system()));
        let (first, second) =
            (reporters.enter(Role::Gateway).unwrap(), reporters.enter(Role::Gateway).unwrap());
        first.tell(snapshot(1, 10.0)).unwrap();
        first.tell(snapshot(1, 12.0)).unwrap();
        second.tell(snapshot(2, 5.0)).unwrap();
        assert_eq!(sums(&reporters), [CONNECTIONS, REQUESTS].map(|name| (name.to_owned(), 17.0)));
        drop(first);
        assert_eq!(sums(&reporters), [(CONNECTIONS.to_owned(), 5.0), (REQUESTS.to_owned(), 17.0)]);
        assert_eq!(reporters.processes().iter().map(|process| process.pid).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn it_is_known_for_how_long_a_process_has_not_reported() {
        let hands = ManualClock::at(UnixSeconds::new(1_750_000_000));
        let reporters = Arc::new(MetricsAggregator::new(hands.clock()));
        let (stopped, lively) =
            (reporters.enter(Role::Gateway).unwrap(), reporters.enter(Role::Gateway).unwrap());
        stopped.tell(snapshot(1, 10.0)).unwrap();
        for _ in 0..42 {
            hands.advance(Duration::from_secs(1));
            lively.tell(snapshot(2, 5.0)).unwrap();
        }
        let silence = |reporters: &MetricsAggregator| {
            reporters.processes().iter().map(|process| process.silent_secs).collect::<Vec<_>>()
        };
        assert_eq!(silence(&reporters), [42, 0]);
        stopped.tell(snapshot(1, 11.0)).unwrap();
        assert_eq!(silence(&reporters), [0, 0]);
    }

    #[test]
    fn what_a_reporter_may_not_say_changes_nothing() {
        let reporters = Arc::new(MetricsAggregator::new(Clock::system()));
        let reporter = reporters.enter(Role::Gateway).unwrap();
        reporter.tell(snapshot(1, 10.0)).unwrap();
        for wrong in [-1.0, f64::NAN, 9.0] {
            assert!(reporter.tell(snapshot(1, wrong)).is_err());
        }
        let mut other = snapshot(1, 11.0);
        other.process = Some(Process { role: Role::Storaged.into(), ..Process::default() });
        assert_eq!(reporter.tell(other), Err(StorageError::invalid("role")));
        assert_eq!(sums(&reporters), [CONNECTIONS, REQUESTS].map(|name| (name.to_owned(), 10.0)));
    }

    #[test]
    fn however_many_come_and_go_what_is_kept_of_them_is_bounded() {
        let reporters = Arc::new(MetricsAggregator::new(Clock::system()));
        for round in 0..3 {
            let reporter = reporters.enter(Role::Gateway).unwrap();
            let label = |at: usize| Label { name: "reason".to_owned(), value: format!("{round}-{at}") };
            let series = |at| Sample { labels: vec![label(at)], value: 1.0, ..Sample::default() };
            let (name, help) = ("relay_messages_rejected_total".to_owned(), String::new());
            let samples = (0..200).map(series).collect();
            let families = vec![Family { name, help, kind: Kind::Counter.into(), samples }];
            reporter.tell(Snapshot { families, ..snapshot(1, 0.0) }).unwrap();
        }
        let families = merge(reporters.families());
        assert_eq!(families[0].samples.len(), MOST_DEPARTED);
    }

    #[test]
    fn the_number_of_reporters_is_bounded() {
        let reporters = Arc::new(MetricsAggregator::new(Clock::system()));
        let mut all: Vec<_> = (0..MOST).map(|_| reporters.enter(Role::Gateway).unwrap()).collect();
        assert_eq!(reporters.enter(Role::Gateway).unwrap_err(), StorageError::Busy);
        assert!(reporters.enter(Role::Federated).is_ok(), "it takes no place of another role");
        all.pop();
        assert!(reporters.enter(Role::Gateway).is_ok());
    }
}
