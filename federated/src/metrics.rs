//! What federated counts.

use prometheus::{Gauge, Registry};
use relay_daemon::metrics::{gather, registry};
use relay_daemon::{Exit, Failure};
use relay_proto::admin::Capacity;
use relay_proto::telemetry::Family;

/// Federated's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// All of them.
    pub(crate) registry: Registry,
    fill: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, Failure> {
        build().map_err(|error| Failure::new(Exit::Internal, error))
    }

    /// Notes how full the store is.
    pub(crate) fn saw(&self, capacity: Capacity) {
        self.fill.set(fill(capacity));
    }
}

fn build() -> Result<Metrics, prometheus::Error> {
    let registry = registry()?;
    let fill = Gauge::new(
        "relay_federation_store_fill_ratio",
        "Live bytes of the store over its ceiling, as federated last saw it.",
    )?;
    registry.register(Box::new(fill.clone()))?;
    Ok(Metrics { registry, fill })
}

fn fill(capacity: Capacity) -> f64 {
    capacity.live_bytes as f64 / capacity.ceiling_bytes.max(1) as f64
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
        metrics.saw(Capacity { live_bytes: 256, ceiling_bytes: 1024, durable: true });
        assert!((metrics.fill.get() - 0.25).abs() < 1e-9);
        metrics.saw(Capacity { live_bytes: 0, ceiling_bytes: 0, durable: true });
        assert!(metrics.fill.get().abs() < 1e-9);
    }

    #[test]
    fn every_metric_is_described() {
        let names: Vec<_> = metrics().unwrap().into_iter().map(|metric| metric.name).collect();
        assert_eq!(names, ["relay_federation_store_fill_ratio", "relay_panics_total"]);
    }
}
