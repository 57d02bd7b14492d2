//! What a gateway counts. No label names a client, a mailbox or a blob.

use crate::bodies::error::Reason;
use crate::limits::address::Source;
use prometheus::core::Collector;
use prometheus::{Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Bounds of the duration histogram, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What became of a sealed request before anything in it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DecapsulationOutcome {
    /// It was opened.
    Opened,
    /// Its key or suite is not accepted.
    Key,
    /// It is no sealed message.
    Malformed,
}

impl DecapsulationOutcome {
    const ALL: [Self; 3] = [Self::Opened, Self::Key, Self::Malformed];

    const fn label(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Key => "key",
            Self::Malformed => "malformed",
        }
    }
}

/// Counters of one gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) connections_active: IntGauge,
    pub(crate) connections_refused: IntCounter,
    pub(crate) tunnels_active: IntGauge,
    pub(crate) messages_received: IntCounter,
    messages_rejected: IntCounterVec,
    pub(crate) message_duration: Histogram,
    pub(crate) limited_addresses: IntCounter,
    pub(crate) limited_mailboxes: IntCounter,
    pub(crate) limited_relays: IntCounter,
    pub(crate) limited_memory: IntCounter,
    pub(crate) limited_connections: IntCounter,
    openings: IntCounterVec,
    sources: IntCounterVec,
    /// Not shown with the others: `/ready` tells it.
    certificate_ends: AtomicI64,
    pub(crate) storage_retries: IntCounter,
    pub(crate) storage_reachable: IntGauge,
}

impl Metrics {
    /// Counters at zero, every series present from the start.
    pub(crate) fn new() -> Result<Self, Error> {
        let registry = relay_daemon::metrics::registry()?;
        let counter = |name: &str, help: &str| enlist(&registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| enlist(&registry, IntGauge::new(name, help)?);
        let labelled = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counters = enlist(&registry, IntCounterVec::new(Opts::new(name, help), &[label])?)?;
            for value in values {
                counters.with_label_values(&[value]);
            }
            Ok::<_, Error>(counters)
        };
        let limited = labelled(
            "relay_rate_limited_total",
            "Requests refused by a rate limit, by what was too busy.",
            "scope",
            &[],
        )?;
        Ok(Self {
            connections_active: gauge("relay_connections_active", "Client connections that are open.")?,
            connections_refused: counter(
                "relay_connections_refused_total",
                "Client connections turned away because too many were open.",
            )?,
            tunnels_active: gauge(
                "relay_federation_tunnels_active",
                "Connections of peers that gateways pass on to federated.",
            )?,
            messages_received: counter(
                "relay_messages_received_total",
                "Client requests received (POST to a /v2 path).",
            )?,
            messages_rejected: labelled(
                "relay_messages_rejected_total",
                "Client requests that were refused, by reason.",
                "reason",
                &Reason::ALL.iter().map(|reason| reason.label()).collect::<Vec<_>>(),
            )?,
            message_duration: enlist(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "relay_message_duration_seconds",
                        "Time from a client request's headers to its answer.",
                    )
                    .buckets(SECONDS.to_vec()),
                )?,
            )?,
            limited_addresses: limited.with_label_values(&["address"]),
            limited_mailboxes: limited.with_label_values(&["mailbox"]),
            limited_relays: limited.with_label_values(&["relay"]),
            limited_memory: limited.with_label_values(&["memory"]),
            limited_connections: limited.with_label_values(&["connections"]),
            openings: labelled(
                "relay_ohttp_requests_total",
                "Sealed requests received, by whether they could be opened.",
                "outcome",
                &DecapsulationOutcome::ALL.map(DecapsulationOutcome::label),
            )?,
            sources: labelled(
                "relay_client_addresses_total",
                "Requests, by where the client's address was found: a connection of its own, X-Forwarded-For of a trusted proxy, or neither: a trusted proxy that names nobody, somebody else who does.",
                "source",
                &Source::ALL.map(Source::label),
            )?,
            certificate_ends: AtomicI64::new(0),
            storage_retries: counter(
                "relay_storage_retries_total",
                "Calls to storage that were made again because it was away or busy.",
            )?,
            storage_reachable: gauge(
                "relay_storage_reachable",
                "Gateways that have storage's policy stream.",
            )?,
            registry,
        })
    }

    /// Counts a sealed request.
    pub(crate) fn opening(&self, outcome: DecapsulationOutcome) {
        self.openings.with_label_values(&[outcome.label()]).inc();
    }

    /// Counts a request by where its client's address was found.
    pub(crate) fn addressed(&self, source: Source) {
        self.sources.with_label_values(&[source.label()]).inc();
    }

    /// How many sealed requests had this outcome.
    #[cfg(test)]
    pub(crate) fn openings(&self, outcome: DecapsulationOutcome) -> u64 {
        self.openings.with_label_values(&[outcome.label()]).get()
    }

    /// Notes when the certificate ends that is among the keys, in unix seconds; 0 where there is none.
    pub(crate) fn certificate_ends_at(&self, seconds: u64) {
        self.certificate_ends.store(i64::try_from(seconds).unwrap_or(i64::MAX), Relaxed);
    }

    /// When the certificate ends that is shown, in unix seconds; 0 while there is none.
    pub(crate) fn certificate_ends(&self) -> i64 {
        self.certificate_ends.load(Relaxed)
    }

    /// Counts a refused request.
    pub(crate) fn rejected(&self, reason: Reason) {
        self.messages_rejected.with_label_values(&[reason.label()]).inc();
    }

    /// How many requests were refused for a reason.
    #[cfg(test)]
    pub(crate) fn rejections(&self, reason: Reason) -> u64 {
        self.messages_rejected.with_label_values(&[reason.label()]).get()
    }
}

/// Makes a metric be among those that are shown.
fn enlist<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_from_the_start_and_labels_stay_few() {
        let families = relay_daemon::metrics::gather(&Metrics::new().unwrap().registry);
        let text = relay_daemon::metrics::render(&families);
        for name in [
            "relay_messages_rejected_total{reason=\"invalid\"} 0",
            "relay_rate_limited_total{scope=\"mailbox\"} 0",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
        assert!(text.lines().count() < 100, "a gateway may not fill a dashboard by itself");
    }
}
