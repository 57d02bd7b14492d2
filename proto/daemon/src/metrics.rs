//! Counting: what a process counted, what the processes counted together, and how that is written down.
//!
//! Labels come from enums or route templates. None names a client, a mailbox, a blob or a code.

mod known;
mod merge;
mod text;

pub use known::{Kind, Known, known};
pub use merge::{merge, without_gauges};
pub use text::render;

use prometheus::proto::MetricType;
use prometheus::{IntCounter, Registry};
use relay_proto::telemetry::{Family, Histogram, Sample, Values};
use std::sync::OnceLock;

/// Panics of this process.
#[expect(clippy::expect_used, reason = "a constant name is valid")]
pub fn panics() -> &'static IntCounter {
    static PANICS: OnceLock<IntCounter> = OnceLock::new();
    PANICS.get_or_init(|| {
        IntCounter::new("relay_panics_total", "Panics that were caught.").expect("a constant name is valid")
    })
}

/// Warnings of libraries in this process.
#[expect(clippy::expect_used, reason = "a constant name is valid")]
pub fn library_warnings() -> &'static IntCounter {
    static WARNINGS: OnceLock<IntCounter> = OnceLock::new();
    WARNINGS.get_or_init(|| {
        let about = "Warnings of libraries, of which one of each kind is logged a minute.";
        IntCounter::new("relay_library_warnings_total", about).expect("a constant name is valid")
    })
}

/// A registry that counts panics and warnings already.
///
/// # Errors
/// When a name is taken twice.
pub fn registry() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(panics().clone()))?;
    registry.register(Box::new(library_warnings().clone()))?;
    Ok(registry)
}

/// Everything a registry holds now.
pub fn gather(registry: &Registry) -> Vec<Family> {
    registry.gather().iter().filter_map(family).collect()
}

fn family(family: &prometheus::proto::MetricFamily) -> Option<Family> {
    let metrics = family.get_metric().iter();
    let values = match family.get_field_type() {
        MetricType::COUNTER => {
            Values::Counters(metrics.map(|metric| sample(metric, metric.get_counter().get_value())).collect())
        }
        MetricType::GAUGE => {
            Values::Gauges(metrics.map(|metric| sample(metric, metric.get_gauge().get_value())).collect())
        }
        MetricType::HISTOGRAM => {
            Values::Histograms(metrics.map(|metric| sample(metric, histogram(metric))).collect())
        }
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    Some(Family { name: family.name().to_owned(), help: family.help().to_owned(), values })
}

fn sample<T>(metric: &prometheus::proto::Metric, value: T) -> Sample<T> {
    let labels =
        metric.get_label().iter().map(|label| (label.name().to_owned(), label.value().to_owned())).collect();
    Sample { labels, value }
}

fn histogram(metric: &prometheus::proto::Metric) -> Histogram {
    let histogram = metric.get_histogram();
    Histogram {
        sum: histogram.get_sample_sum(),
        count: histogram.get_sample_count(),
        buckets: histogram
            .get_bucket()
            .iter()
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

    #[test]
    fn what_is_counted_is_gathered_and_written() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("relay_things_total", "Things."), &["kind"]).unwrap();
        counter.with_label_values(&["good"]).inc_by(2);
        registry.register(Box::new(counter)).unwrap();
        let options = HistogramOpts::new("relay_seconds", "Time.").buckets(vec![0.1, 1.0]);
        let histogram = HistogramVec::new(options, &[]).unwrap();
        histogram.with_label_values::<&str>(&[]).observe(0.5);
        registry.register(Box::new(histogram)).unwrap();
        let text = render(&gather(&registry));
        assert_eq!(
            text,
            "# HELP relay_seconds Time.\n\
             # TYPE relay_seconds histogram\n\
             relay_seconds_bucket{le=\"0.1\"} 0\n\
             relay_seconds_bucket{le=\"1\"} 1\n\
             relay_seconds_bucket{le=\"+Inf\"} 1\n\
             relay_seconds_sum 0.5\n\
             relay_seconds_count 1\n\
             # HELP relay_things_total Things.\n\
             # TYPE relay_things_total counter\n\
             relay_things_total{kind=\"good\"} 2\n"
        );
    }
}
