//! What storage reports to its operator.

use super::DEADLINE;
use crate::admin_client::Admin;
use crate::doctor::facts::{Counters, Sources, StorageReport};
use relay_daemon::Clock;
use relay_proto::UnixSeconds;
use relay_proto::client::StorageClient;
use relay_proto::messages::{CollectRequest, Family, Kind, Sample};
use relay_proto::telemetry::Role;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// How long gateways may take to report what they counted: they do so every second.
const REPORTED: Duration = Duration::from_millis(2500);
/// Between two requests for the counters.
const LOOK: Duration = Duration::from_millis(100);

/// How old a storage must be, in seconds, before a silent process is missing.
const YOUTH: u64 = 4;

/// A storage that can be asked.
pub(super) struct Storage(StorageClient);

impl Storage {
    /// The one behind the operator's socket. Inside a runtime only.
    pub(super) fn at(socket: PathBuf) -> Self {
        Self(StorageClient::new(socket))
    }

    /// Everything it reports; `None` when it does not even report its status. A storage that has just begun is given the
    /// time in which the other processes report.
    pub(super) async fn report(&self, clock: &Clock) -> Option<StorageReport> {
        let mut report = self.report_at_once().await?;
        while is_incomplete(&report) && is_young(&report, clock.now()) {
            sleep(LOOK).await;
            report = self.report_at_once().await?;
        }
        Some(report)
    }

    async fn report_at_once(&self) -> Option<StorageReport> {
        let admin = Admin(self.0.admin());
        let (status, keys, peering, before) = tokio::join!(
            in_time(admin.status()),
            in_time(admin.keys()),
            in_time(admin.peers()),
            self.count()
        );
        let (status, before) = (status?, before.unwrap_or_default());
        Some(StorageReport { status, keys, peering, before, after: before })
    }

    async fn count(&self) -> Option<Counters> {
        let collected = in_time(self.0.telemetry().collect(CollectRequest {})).await?;
        Some(counters(&collected.into_inner().families))
    }

    /// Counts again, when so many requests more have been reported or should have been.
    pub(super) async fn count_again(&self, before: Counters, requests: u32) -> Counters {
        let mut after = before;
        let look = async {
            loop {
                after = self.count().await.unwrap_or(after);
                if after.sources.all() - before.sources.all() >= f64::from(requests) {
                    return;
                }
                sleep(LOOK).await;
            }
        };
        // What was not reported in time is not there.
        drop(timeout(REPORTED, look).await);
        after
    }
}

/// Returns true if a process that should report does not.
fn is_incomplete(report: &StorageReport) -> bool {
    let reports = |role: Role| report.status.processes.iter().any(|process| process.runs(role));
    let wants_peers = report.peering.as_ref().is_some_and(|peering| !peering.identity.is_empty());
    let silent = report.peering.as_ref().is_some_and(|peering| !peering.reporting);
    !reports(Role::Gateway) || (wants_peers && silent)
}

fn is_young(report: &StorageReport, now: UnixSeconds) -> bool {
    let storage = report.status.processes.iter().find(|process| process.runs(Role::Storaged));
    storage.is_some_and(|storage| UnixSeconds::new(storage.started_at).distance(now) < YOUTH)
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Option<T> {
    timeout(DEADLINE, call).await.ok()?.ok()
}

impl Sources {
    const fn all(&self) -> f64 {
        self.connection + self.forwarded + self.unnamed + self.unbelieved
    }
}

fn counters(families: &[Family]) -> Counters {
    let all = |name: &str| sum(families, name, None);
    let source = |label: &str| sum(families, "relay_client_addresses_total", Some(label));
    Counters {
        full: all("relay_storage_full"),
        panics: all("relay_panics_total"),
        damaged: all("relay_blobs_damaged_total"),
        connections_refused: all("relay_connections_refused_total"),
        busy: all("relay_client_addresses_busy"),
        limited: sum(families, "relay_rate_limited_total", Some("address")),
        limited_relays: sum(families, "relay_rate_limited_total", Some("relay")),
        sources: Sources {
            connection: source("connection"),
            forwarded: source("forwarded"),
            unnamed: source("unnamed"),
            unbelieved: source("unbelieved"),
        },
    }
}

/// The sum of a metric's series, or of those with a label of this value.
fn sum(families: &[Family], name: &str, label: Option<&str>) -> f64 {
    let wanted =
        |sample: &&Sample| label.is_none_or(|label| sample.labels.iter().any(|known| known.value == label));
    let is_meant = |family: &&Family| family.name == name && family.kind() != Kind::Histogram;
    let samples = families.iter().find(is_meant).into_iter().flat_map(|family| &family.samples);
    samples.filter(wanted).map(|sample| sample.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::messages::Label;

    #[test]
    fn every_counter_that_matters_is_one_that_a_process_has() {
        let families: Vec<Family> =
            [storaged::metrics().unwrap(), gateway::metrics().unwrap()].into_iter().flatten().collect();
        for name in [
            "relay_storage_full",
            "relay_panics_total",
            "relay_blobs_damaged_total",
            "relay_connections_refused_total",
            "relay_client_addresses_busy",
            "relay_rate_limited_total",
            "relay_client_addresses_total",
        ] {
            assert!(families.iter().any(|family| family.name == name), "{name}");
        }
    }

    #[test]
    fn series_are_summed_by_label() {
        let sample = |value: &str, counted| {
            let label = Label { name: "scope".to_owned(), value: value.to_owned() };
            Sample { labels: vec![label], value: counted, ..Sample::default() }
        };
        let (name, help) = ("m".to_owned(), String::new());
        let samples = vec![sample("address", 2.0), sample("mailbox", 3.0)];
        let families = [Family { name, help, kind: Kind::Counter.into(), samples }];
        assert_eq!(sum(&families, "m", None), 5.0);
        assert_eq!(sum(&families, "m", Some("address")), 2.0);
        assert_eq!(sum(&families, "n", None), 0.0);
    }
}
