//! What an outer relay counts. No label names a client or says what one asked.

use crate::limits::address::Source;
use prometheus::core::Collector;
use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// How the forwarding of a sealed request ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum ForwardOutcome {
    /// The target answered it with a sealed answer.
    Answered,
    /// The target refused it.
    Refused,
    /// It is not one, or too long, or broke off.
    Malformed,
    /// It is beyond a limit of the outer relay's.
    Limited,
    /// The target was not reached, or its answer was not one.
    Unreachable,
    /// The target did not answer in time.
    Silent,
}

impl ForwardOutcome {
    const ALL: [Self; 6] =
        [Self::Answered, Self::Refused, Self::Malformed, Self::Limited, Self::Unreachable, Self::Silent];

    const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Limited => "limited",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
        }
    }
}

/// Counters of one outer relay.
#[derive(Debug)]
pub(super) struct OuterMetrics {
    pub(super) registry: Registry,
    pub(super) connections_active: IntGauge,
    pub(super) connections_refused: IntCounter,
    requests: IntCounterVec,
    pub(super) keys_kept: IntCounter,
    pub(super) keys_fetched: IntCounter,
    pub(super) keys_failed: IntCounter,
    sources: IntCounterVec,
    pub(super) limited_address: IntCounter,
    pub(super) limited_share: IntCounter,
    pub(super) limited_target: IntCounter,
    pub(super) limited_memory: IntCounter,
    pub(super) limited_connections: IntCounter,
    pub(super) target_connections: IntCounter,
    pub(super) retries: IntCounter,
}

impl OuterMetrics {
    /// Counters at zero, every series present from the start.
    pub(super) fn new() -> Result<Self, Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "oblivious_requests_total",
                "Sealed requests that clients sent, by what became of them.",
            ),
            &["outcome"],
        )?;
        for outcome in ForwardOutcome::ALL {
            requests.with_label_values(&[outcome.label()]);
        }
        let keys = IntCounterVec::new(
            Opts::new(
                "oblivious_keys_total",
                "Requests for keys, by whether one was kept, fetched, or not to be had.",
            ),
            &["outcome"],
        )?;
        let sources = IntCounterVec::new(
            Opts::new(
                "oblivious_client_addresses_total",
                "Requests, by where the client's address was found: a connection of its own, X-Forwarded-For of a trusted proxy, or neither: a trusted proxy that names nobody, somebody else who does.",
            ),
            &["source"],
        )?;
        for source in Source::ALL {
            sources.with_label_values(&[source.label()]);
        }
        let limited = IntCounterVec::new(
            Opts::new(
                "oblivious_rate_limited_total",
                "Refusals by a limit, by what was spent: the rate of an address, its share of what a target takes, what a target takes of all, memory, connections of an address.",
            ),
            &["scope"],
        )?;
        let metrics = Self {
            registry: relay_daemon::metrics::registry()?,
            connections_active: IntGauge::new(
                "oblivious_connections_active",
                "Client connections that are open.",
            )?,
            connections_refused: IntCounter::new(
                "oblivious_connections_refused_total",
                "Client connections turned away because too many were open.",
            )?,
            keys_kept: keys.with_label_values(&["kept"]),
            keys_fetched: keys.with_label_values(&["fetched"]),
            keys_failed: keys.with_label_values(&["failed"]),
            limited_address: limited.with_label_values(&["address"]),
            limited_share: limited.with_label_values(&["share"]),
            limited_target: limited.with_label_values(&["target"]),
            limited_memory: limited.with_label_values(&["memory"]),
            limited_connections: limited.with_label_values(&["connections"]),
            target_connections: IntCounter::new(
                "oblivious_target_connections_total",
                "Connections to targets that were opened.",
            )?,
            retries: IntCounter::new(
                "oblivious_target_retries_total",
                "Requests that went by a new connection because a kept one was closed before they were sent.",
            )?,
            requests,
            sources,
        };
        metrics.register(keys)?;
        metrics.register(limited)?;
        metrics.register(metrics.requests.clone())?;
        metrics.register(metrics.sources.clone())?;
        metrics.register(metrics.connections_active.clone())?;
        metrics.register(metrics.connections_refused.clone())?;
        metrics.register(metrics.target_connections.clone())?;
        metrics.register(metrics.retries.clone())?;
        Ok(metrics)
    }

    fn register(&self, collector: impl Collector + 'static) -> Result<(), Error> {
        self.registry.register(Box::new(collector))
    }

    /// Counts where the address of a request's client was found.
    pub(super) fn addressed(&self, source: Source) {
        self.sources.with_label_values(&[source.label()]).inc();
    }

    /// Counts a sealed request.
    pub(super) fn request(&self, outcome: ForwardOutcome) {
        self.requests.with_label_values(&[outcome.label()]).inc();
    }
}
