//! What a gateway counts. No label names a client, a mailbox or a blob.

use crate::address::Source;
use crate::api::error::Reason;
use prometheus::core::Collector;
use prometheus::{Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use relay_proto::UnixSeconds;

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
    keys_told_at: IntGauge,
    certificate_ends: IntGauge,
    pub(crate) storage_retries: IntCounter,
    pub(crate) storage_reachable: IntGauge,
}

impl Metrics {
    /// Counters at zero, every series present from the start.
    pub(crate) fn new() -> Result<Self, Error> {
        let registry = relay_daemon::metrics::registry()?;
        let limited = IntCounterVec::new(
            Opts::new("relay_rate_limited_total", "Requests refused by a rate limit, by what was too busy."),
            &["scope"],
        )?;
        let rejected = IntCounterVec::new(
            Opts::new("relay_messages_rejected_total", "Client requests that were refused, by reason."),
            &["reason"],
        )?;
        for reason in Reason::ALL {
            rejected.with_label_values(&[reason.label()]);
        }
        let openings = IntCounterVec::new(
            Opts::new(
                "relay_ohttp_requests_total",
                "Sealed requests received, by whether they could be opened.",
            ),
            &["outcome"],
        )?;
        for outcome in DecapsulationOutcome::ALL {
            openings.with_label_values(&[outcome.label()]);
        }
        let sources = IntCounterVec::new(
            Opts::new(
                "relay_client_addresses_total",
                "Requests, by where the client's address was found: a connection of its own, X-Forwarded-For of a trusted proxy, or neither: a trusted proxy that names nobody, somebody else who does.",
            ),
            &["source"],
        )?;
        for source in Source::ALL {
            sources.with_label_values(&[source.label()]);
        }
        let metrics = Self {
            connections_active: IntGauge::new(
                "relay_connections_active",
                "Client connections that are open.",
            )?,
            connections_refused: IntCounter::new(
                "relay_connections_refused_total",
                "Client connections turned away because too many were open.",
            )?,
            tunnels_active: IntGauge::new(
                "relay_federation_tunnels_active",
                "Connections of peers that gateways pass on to federated.",
            )?,
            messages_received: IntCounter::new(
                "relay_messages_received_total",
                "Client requests received (POST to a /v2 path).",
            )?,
            message_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "relay_message_duration_seconds",
                    "Time from a client request's headers to its answer.",
                )
                .buckets(SECONDS.to_vec()),
            )?,
            limited_addresses: limited.with_label_values(&["address"]),
            limited_mailboxes: limited.with_label_values(&["mailbox"]),
            limited_relays: limited.with_label_values(&["relay"]),
            limited_memory: limited.with_label_values(&["memory"]),
            limited_connections: limited.with_label_values(&["connections"]),
            openings,
            sources,
            keys_told_at: IntGauge::new(
                "relay_ohttp_keys_told_timestamp_seconds",
                "Unix time at which storage last told a gateway its keys.",
            )?,
            certificate_ends: IntGauge::new(
                "relay_ohttp_certificate_shown_expiry_timestamp_seconds",
                "Unix time at which the certificate ends that a gateway shows; 0 while there is none.",
            )?,
            storage_retries: IntCounter::new(
                "relay_storage_retries_total",
                "Calls to storage that were made again because it was away or busy.",
            )?,
            storage_reachable: IntGauge::new(
                "relay_storage_reachable",
                "Gateways that have storage's policy stream.",
            )?,
            messages_rejected: rejected,
            registry,
        };
        metrics.enlist(limited)?;
        metrics.enlist(metrics.openings.clone())?;
        metrics.enlist(metrics.sources.clone())?;
        metrics.enlist(metrics.connections_active.clone())?;
        metrics.enlist(metrics.connections_refused.clone())?;
        metrics.enlist(metrics.tunnels_active.clone())?;
        metrics.enlist(metrics.messages_received.clone())?;
        metrics.enlist(metrics.messages_rejected.clone())?;
        metrics.enlist(metrics.message_duration.clone())?;
        metrics.enlist(metrics.storage_retries.clone())?;
        metrics.enlist(metrics.storage_reachable.clone())?;
        Ok(metrics)
    }

    fn enlist(&self, collector: impl Collector + 'static) -> Result<(), Error> {
        self.registry.register(Box::new(collector))
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

    /// Notes that storage told keys, and when the certificate among them ends.
    pub(crate) fn keys_told(&self, now: UnixSeconds, certificate_ends: u64) {
        let number = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        self.keys_told_at.set(number(now.get()));
        self.certificate_ends.set(number(certificate_ends));
    }

    /// When the certificate ends that is shown, in unix seconds; 0 while there is none.
    pub(crate) fn certificate_ends(&self) -> i64 {
        self.certificate_ends.get()
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
