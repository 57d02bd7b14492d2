//! Who reports, and what the departed counted while they lived.

use relay_daemon::Clock;
use relay_daemon::metrics::{merge, without_gauges};
use relay_proto::Refusal;
use relay_proto::telemetry::{Family, Process, Snapshot};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reporters at once. A relay has a handful.
const MOST: usize = 128;

/// The other processes of the relay.
#[derive(Debug)]
pub(crate) struct Reporters {
    known: Mutex<Known>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    living: BTreeMap<u64, Option<Report>>,
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
    number: u64,
}

impl Reporters {
    /// Nobody reports yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { known: Mutex::default(), clock }
    }

    /// Gives a reporter its place.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Reporter, Refusal> {
        let mut known = self.lock();
        if known.living.len() >= MOST {
            return Err(Refusal::Busy);
        }
        let number = known.next;
        known.next += 1;
        known.living.insert(number, None);
        Ok(Reporter { reporters: Arc::clone(self), number })
    }

    /// Everybody who is connected, with how long ago they last reported.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let known = self.lock();
        let now = self.clock.monotonic();
        let process = |report: &Report| {
            let silent_secs = u32::try_from(now.saturating_sub(report.at).as_secs()).unwrap_or(u32::MAX);
            Process { silent_secs, ..report.snapshot.process.clone() }
        };
        let mut processes: Vec<_> = known.living.values().flatten().map(process).collect();
        processes.sort_by_key(|process| (process.role, process.started_at, process.pid));
        processes
    }

    /// What all of them counted, living and departed.
    pub(crate) fn families(&self) -> Vec<Family> {
        let known = self.lock();
        let living = known.living.values().flatten().flat_map(|report| report.snapshot.families.clone());
        living.chain(known.departed.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Takes the newest snapshot in place of the last.
    pub(crate) fn tell(&self, snapshot: Snapshot) {
        let report = Report { snapshot, at: self.reporters.clock.monotonic() };
        if let Some(place) = self.reporters.lock().living.get_mut(&self.number) {
            *place = Some(report);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut known = self.reporters.lock();
        if let Some(Some(last)) = known.living.remove(&self.number) {
            let departed = std::mem::take(&mut known.departed);
            known.departed = merge(departed.into_iter().chain(without_gauges(last.snapshot.families)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;
    use relay_proto::telemetry::{Role, Sample, Values};

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
                family("requests", Values::Counters(sample())),
                family("connections", Values::Gauges(sample())),
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
        let (first, second) = (reporters.enter().unwrap(), reporters.enter().unwrap());
        first.tell(snapshot(1, 10.0));
        first.tell(snapshot(1, 12.0));
        second.tell(snapshot(2, 5.0));
        assert_eq!(sums(&reporters), [("connections".to_owned(), 17.0), ("requests".to_owned(), 17.0)]);
        drop(first);
        assert_eq!(sums(&reporters), [("connections".to_owned(), 5.0), ("requests".to_owned(), 17.0)]);
        assert_eq!(reporters.processes().iter().map(|process| process.pid).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn it_is_known_for_how_long_a_process_has_not_reported() {
        let hands = ManualClock::at(UnixSeconds::new(1_750_000_000));
        let reporters = Arc::new(Reporters::new(hands.clock()));
        let (stopped, lively) = (reporters.enter().unwrap(), reporters.enter().unwrap());
        stopped.tell(snapshot(1, 10.0));
        for _ in 0..42 {
            hands.advance(Duration::from_secs(1));
            lively.tell(snapshot(2, 5.0));
        }
        let silence = |reporters: &Reporters| {
            reporters.processes().iter().map(|process| process.silent_secs).collect::<Vec<_>>()
        };
        assert_eq!(silence(&reporters), [42, 0]);
        stopped.tell(snapshot(1, 11.0));
        assert_eq!(silence(&reporters), [0, 0]);
    }

    #[test]
    fn the_number_of_reporters_is_bounded() {
        let reporters = Arc::new(Reporters::new(Clock::system()));
        let mut all: Vec<_> = (0..MOST).map(|_| reporters.enter().unwrap()).collect();
        assert_eq!(reporters.enter().unwrap_err(), Refusal::Busy);
        all.pop();
        assert!(reporters.enter().is_ok());
    }
}
