//! What federated counts. No label names a peer: what is known of each is for `relay peers`.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use relay_daemon::metrics::{gather, registry};
use relay_daemon::{Exit, Failure};
use relay_proto::messages::{CapacityReply, Family};

/// Federated's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// All of them.
    pub(crate) registry: Registry,
    pub(crate) peers_connected: IntGauge,
    pub(crate) offloads_sent: IntCounter,
    pub(crate) offloads_declined: IntCounter,
    pub(crate) offloads_received: IntCounter,
    pub(crate) offloads_rejected: IntCounter,
    pub(crate) recalled: IntCounter,
    pub(crate) recalls_unanswered: IntCounter,
    pub(crate) deletions_sent: IntCounter,
    pub(crate) drain_notices: IntCounter,
    pub(crate) rate_limited: IntCounter,
    pub(crate) dials_failed: IntCounter,
    pub(crate) handshakes_refused: IntCounter,
    pub(crate) pins_refused: IntCounter,
    pub(crate) clocks_apart: IntGauge,
    fill: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, Failure> {
        build().map_err(|error| Failure::new(Exit::Internal, error))
    }

    /// Notes how full the store is.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub(crate) fn saw(&self, capacity: CapacityReply) {
        self.fill.set(capacity.live_bytes as f64 / capacity.ceiling_bytes.max(1) as f64);
    }
}

fn build() -> Result<Metrics, prometheus::Error> {
    let registry = registry()?;
    let counter = |name, help| register(&registry, IntCounter::new(name, help)?);
    Ok(Metrics {
        peers_connected: register(
            &registry,
            IntGauge::new("relay_federation_peers_connected", "Peers with a connection.")?,
        )?,
        offloads_sent: counter("relay_federation_offloads_sent_total", "Blobs that peers took.")?,
        offloads_declined: counter(
            "relay_federation_offloads_declined_total",
            "Blobs that peers did not take when they were offered.",
        )?,
        offloads_received: counter("relay_federation_offloads_received_total", "Blobs taken from peers.")?,
        offloads_rejected: counter(
            "relay_federation_offloads_rejected_total",
            "Blobs of peers that were not taken: no room, broken, or moved too often.",
        )?,
        recalled: counter("relay_federation_recalled_total", "Blobs that peers gave back for a fetch.")?,
        recalls_unanswered: counter(
            "relay_federation_recalls_unanswered_total",
            "Questions for blobs that a peer did not answer in time.",
        )?,
        deletions_sent: counter(
            "relay_federation_deletions_sent_total",
            "Deletions that peers have confirmed.",
        )?,
        drain_notices: counter(
            "relay_federation_drain_notices_total",
            "Times that a peer said it is about to be away.",
        )?,
        rate_limited: counter(
            "relay_federation_rate_limited_total",
            "Messages of peers beyond what they may send.",
        )?,
        dials_failed: counter(
            "relay_federation_dials_failed_total",
            "Attempts to connect to a peer that came to nothing.",
        )?,
        handshakes_refused: counter(
            "relay_federation_handshakes_refused_total",
            "Connections of others that were turned away: unknown, unproved, or too many.",
        )?,
        pins_refused: counter(
            "relay_federation_pins_refused_total",
            "Attempts to connect to a peer that showed another key than the one it is pinned to.",
        )?,
        clocks_apart: register(
            &registry,
            IntGauge::new(
                "relay_federation_peers_clock_apart",
                "Peers with a connection whose clock is more than five minutes from this relay's: no mail moves.",
            )?,
        )?,
        fill: register(
            &registry,
            Gauge::new(
                "relay_federation_store_fill_ratio",
                "Live bytes of the store over its ceiling, as federated last saw it.",
            )?,
        )?,
        registry,
    })
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Every metric of this process, for the documentation.
///
/// # Errors
/// When two metrics have one name.
pub fn metrics() -> Result<Vec<Family>, prometheus::Error> {
    Ok(gather(&build()?.registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fill_is_a_ratio_of_the_ceiling() {
        let metrics = Metrics::new().unwrap();
        metrics.saw(CapacityReply { live_bytes: 256, ceiling_bytes: 1024, durable: true, foreign_bytes: 0 });
        assert!((metrics.fill.get() - 0.25).abs() < 1e-9);
        metrics.saw(CapacityReply { live_bytes: 0, ceiling_bytes: 0, durable: true, foreign_bytes: 0 });
        assert!(metrics.fill.get().abs() < 1e-9);
    }

    #[test]
    fn no_metric_names_a_peer() {
        let text = relay_daemon::metrics::render(&metrics().unwrap());
        let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(
            series.len() > 10 && series.iter().all(|line| line.starts_with("relay_") && !line.contains('{')),
            "{text}"
        );
    }
}
