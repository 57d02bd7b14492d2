//! Who reports, and what the departed counted while they lived.

mod checked;

use relay_daemon::Clock;
use relay_daemon::metrics::{merge, without_gauges};
use relay_proto::Refusal;
use relay_proto::telemetry::{Family, Process, Role, Snapshot};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reporters of one role at once. A relay has a handful, and at most 64 gateways.
const MOST: usize = 80;

/// The other processes of the relay.
#[derive(Debug)]
pub(crate) struct Reporters {
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

/// What a process told last, and when, by the monotonic clock.
#[derive(Debug)]
struct Report {
    snapshot: Snapshot,
    at: Duration,
}

/// One reporter's place, left when dropped.
#[derive(Debug)]
pub(crate) struct Reporter {
    reporters: Arc<Reporters>,
    role: Role,
    number: u64,
}

impl Reporters {
    /// Nobody reports yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { known: Mutex::default(), clock }
    }

    /// Gives a reporter of this role its place.
    pub(crate) fn enter(self: &Arc<Self>, role: Role) -> Result<Reporter, Refusal> {
        let mut known = self.lock();
        if known.living.values().filter(|(of, _)| *of == role).count() >= MOST {
            return Err(Refusal::Busy);
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
            Process { silent_secs, ..report.snapshot.process.clone() }
        };
        let mut processes: Vec<_> =
            known.living.values().filter_map(|(_, last)| last.as_ref()).map(process).collect();
        processes.sort_by_key(|process| (process.role, process.started_at, process.pid));
        processes
    }

    /// What all of them counted, living and departed.
    pub(crate) fn families(&self) -> Vec<Family> {
        let known = self.lock();
        let reports = known.living.values().filter_map(|(_, last)| last.as_ref());
        let living = reports.flat_map(|report| report.snapshot.families.clone());
        living.chain(known.departed.clone()).collect()
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
    pub(crate) fn tell(&self, snapshot: Snapshot) -> Result<(), Refusal> {
        let mut known = self.reporters.lock();
        let Some((_, last)) = known.living.get_mut(&self.number) else { return Ok(()) };
        let before = last.as_ref().map_or(&[][..], |report| &report.snapshot.families);
        let snapshot = checked::check(self.role, snapshot, before)?;
        *last = Some(Report { snapshot, at: self.reporters.clock.monotonic() });
        Ok(())
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut known = self.reporters.lock();
        if let Some((_, Some(last))) = known.living.remove(&self.number) {
            let departed = std::mem::take(&mut known.departed);
            known.departed = merge(departed.into_iter().chain(without_gauges(last.snapshot.families)));
            checked::bound_departed(&mut known.departed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;
    use relay_proto::telemetry::{Sample, Values};

    const REQUESTS: &str = "relay_messages_received_total";
    const CONNECTIONS: &str = "relay_connections_active";

    fn snapshot(pid: u32, requests: f64) -> Snapshot {
        let sample = || vec![Sample { labels: Vec::new(), value: requests }];
        let family = |name: &str, values| Family { name: name.to_owned(), help: String::new(), values };
        Snapshot {
            process: Process {
                role: Role::Gateway,
                pid,
                version: String::new(),
                started_at: UnixSeconds::new(0),
                silent_secs: 0,
            },
            families: vec![
                family(REQUESTS, Values::Counters(sample())),
                family(CONNECTIONS, Values::Gauges(sample())),
            ],
        }
    }

    fn sums(reporters: &Reporters) -> Vec<(String, f64)> {
        merge(reporters.families())
            .into_iter()
            .map(|family| match family.values {
                Values::Counters(samples) | Values::Gauges(samples) => (family.name, samples[0].value),
                Values::Histograms(_) => panic!("not a number"),
            })
            .collect()
    }

    #[test]
    fn counters_outlive_their_replica_and_gauges_do_not() {
        let reporters = Arc::new(Reporters::new(Clock::system()));
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
        let reporters = Arc::new(Reporters::new(hands.clock()));
        let (stopped, lively) =
            (reporters.enter(Role::Gateway).unwrap(), reporters.enter(Role::Gateway).unwrap());
        stopped.tell(snapshot(1, 10.0)).unwrap();
        for _ in 0..42 {
            hands.advance(Duration::from_secs(1));
            lively.tell(snapshot(2, 5.0)).unwrap();
        }
        let silence = |reporters: &Reporters| {
            reporters.processes().iter().map(|process| process.silent_secs).collect::<Vec<_>>()
        };
        assert_eq!(silence(&reporters), [42, 0]);
        stopped.tell(snapshot(1, 11.0)).unwrap();
        assert_eq!(silence(&reporters), [0, 0]);
    }

    #[test]
    fn what_a_reporter_may_not_say_changes_nothing() {
        let reporters = Arc::new(Reporters::new(Clock::system()));
        let reporter = reporters.enter(Role::Gateway).unwrap();
        reporter.tell(snapshot(1, 10.0)).unwrap();
        for wrong in [-1.0, f64::NAN, 9.0] {
            assert!(reporter.tell(snapshot(1, wrong)).is_err());
        }
        let mut other = snapshot(1, 11.0);
        other.process.role = Role::Storaged;
        assert_eq!(reporter.tell(other), Err(Refusal::invalid("role")));
        assert_eq!(sums(&reporters), [CONNECTIONS, REQUESTS].map(|name| (name.to_owned(), 10.0)));
    }

    #[test]
    fn however_many_come_and_go_what_is_kept_of_them_is_bounded() {
        let reporters = Arc::new(Reporters::new(Clock::system()));
        for round in 0..3 {
            let reporter = reporters.enter(Role::Gateway).unwrap();
            let series = |at: usize| Sample {
                labels: vec![("reason".to_owned(), format!("{round}-{at}"))],
                value: 1.0,
            };
            let values = Values::Counters((0..200).map(series).collect());
            let name = "relay_messages_rejected_total".to_owned();
            let families = vec![Family { name, help: String::new(), values }];
            reporter.tell(Snapshot { families, ..snapshot(1, 0.0) }).unwrap();
        }
        let families = merge(reporters.families());
        let Values::Counters(samples) = &families[0].values else { panic!("not counters") };
        assert_eq!(samples.len(), checked::MOST_DEPARTED);
    }

    #[test]
    fn the_number_of_reporters_is_bounded() {
        let reporters = Arc::new(Reporters::new(Clock::system()));
        let mut all: Vec<_> = (0..MOST).map(|_| reporters.enter(Role::Gateway).unwrap()).collect();
        assert_eq!(reporters.enter(Role::Gateway).unwrap_err(), Refusal::Busy);
        assert!(reporters.enter(Role::Federated).is_ok(), "it takes no place of another role");
        all.pop();
        assert!(reporters.enter(Role::Gateway).is_ok());
    }
}
