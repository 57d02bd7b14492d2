//! What federated counts. No label names a peer: what is known of each is for `relay peers`.

use prometheus::Registry;
use relay_daemon::counted;
use relay_daemon::metrics::{gather, registry};
use relay_proto::messages::{CapacityReply, Family};

counted! {
    /// Federated's counters.
    pub(crate) struct Metrics {
        pub(crate) peers_connected: IntGauge = "relay_federation_peers_connected",
            "Peers with a connection.";
        pub(crate) offloads_sent: IntCounter = "relay_federation_offloads_sent_total",
            "Blobs that peers took.";
        pub(crate) offloads_declined: IntCounter = "relay_federation_offloads_declined_total",
            "Blobs that peers did not take when they were offered.";
        pub(crate) offloads_received: IntCounter = "relay_federation_offloads_received_total",
            "Blobs taken from peers.";
        pub(crate) offloads_rejected: IntCounter = "relay_federation_offloads_rejected_total",
            "Blobs of peers that were not taken: no room, broken, or moved too often.";
        pub(crate) recalled: IntCounter = "relay_federation_recalled_total",
            "Blobs that peers gave back for a fetch.";
        pub(crate) recalls_unanswered: IntCounter = "relay_federation_recalls_unanswered_total",
            "Questions for blobs that a peer did not answer in time.";
        pub(crate) deletions_sent: IntCounter = "relay_federation_deletions_sent_total",
            "Deletions that peers have confirmed.";
        pub(crate) drain_notices: IntCounter = "relay_federation_drain_notices_total",
            "Times that a peer said it is about to be away.";
        pub(crate) rate_limited: IntCounter = "relay_federation_rate_limited_total",
            "Messages of peers beyond what they may send.";
        pub(crate) dials_failed: IntCounter = "relay_federation_dials_failed_total",
            "Attempts to connect to a peer that came to nothing.";
        pub(crate) handshakes_refused: IntCounter = "relay_federation_handshakes_refused_total",
            "Connections of others that were turned away: unknown, unproved, or too many.";
        pub(crate) pins_refused: IntCounter = "relay_federation_pins_refused_total",
            "Attempts to connect to a peer that showed another key than the one it is pinned to.";
        pub(crate) clocks_apart: IntGauge = "relay_federation_peers_clock_apart",
            "Peers with a connection whose clock is more than five minutes from this relay's: no mail moves.";
        pub(crate) fill: Gauge = "relay_federation_store_fill_ratio",
            "Live bytes of the store over its ceiling, as federated last saw it.";
    }
}

impl Metrics {
    /// Makes them, and the registry of all that this process counts.
    pub(crate) fn new() -> Result<(Self, Registry), prometheus::Error> {
        let registry = registry()?;
        Ok((Self::register(&registry)?, registry))
    }

    /// Notes how full the store is.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub(crate) fn saw(&self, capacity: CapacityReply) {
        self.fill.set(capacity.live_bytes as f64 / capacity.ceiling_bytes.max(1) as f64);
    }
}

/// Every metric of this process, for the documentation.
///
/// # Errors
/// When two metrics have one name.
pub fn metrics() -> Result<Vec<Family>, prometheus::Error> {
    Ok(gather(&Metrics::new()?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fill_is_a_ratio_of_the_ceiling() {
        let (metrics, _) = Metrics::new().unwrap();
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
