//! Counting: what a process counted becomes messages here, which are added up and printed as they are.
//!
//! Labels come from enums or route templates. None names a client, a mailbox, a blob or a code.

mod known;
mod merge;
mod text;

pub use known::{Known, known};
pub use merge::merge;
pub use text::render;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounter, Registry};
use relay_proto::messages::{Bucket, Family, Kind, Label, Sample};
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

fn family(gathered: &MetricFamily) -> Option<Family> {
    let (kind, read): (Kind, fn(&Metric) -> Sample) = match gathered.get_field_type() {
        MetricType::COUNTER => (Kind::Counter, |metric| number(metric.get_counter().get_value())),
        MetricType::GAUGE => (Kind::Gauge, |metric| number(metric.get_gauge().get_value())),
        MetricType::HISTOGRAM => (Kind::Histogram, |metric| histogram(metric.get_histogram())),
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let label = |label: &LabelPair| Label { name: label.name().to_owned(), value: label.value().to_owned() };
    let labels = |metric: &Metric| metric.get_label().iter().map(label).collect();
    let samples =
        gathered.get_metric().iter().map(|metric| Sample { labels: labels(metric), ..read(metric) });
    let (name, help) = (gathered.name().to_owned(), gathered.help().to_owned());
    Some(Family { name, help, kind: kind.into(), samples: samples.collect() })
}

fn number(value: f64) -> Sample {
    Sample { value, ..Sample::default() }
}

fn histogram(gathered: &Histogram) -> Sample {
    let bucket = |bucket: &prometheus::proto::Bucket| Bucket {
        upper_bound: bucket.upper_bound(),
        cumulative_count: bucket.cumulative_count(),
    };
    Sample {
        labels: Vec::new(),
        value: gathered.get_sample_sum(),
        count: gathered.get_sample_count(),
        buckets: gathered.get_bucket().iter().map(bucket).collect(),
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
