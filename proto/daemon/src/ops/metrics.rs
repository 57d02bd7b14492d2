//! Counting: what a process counted becomes messages here, which are added up and printed as they are.
//!
//! Labels come from enums or route templates. None names a client, a mailbox, a blob or a code.

mod known;
mod merge;
mod text;

pub use known::{Known, known};
pub use merge::merge;
pub use text::render;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounter, Registry};
use relay_proto::messages::{Bucket, Family, Kind, Label, Sample};
use std::sync::LazyLock;

/// Panics of this process.
pub static PANICS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("relay_panics_total", "Panics that were caught."));

/// Warnings of libraries in this process.
pub static LIBRARY_WARNINGS: LazyLock<IntCounter> = LazyLock::new(|| {
    let about = "Warnings of libraries, of which one of each kind is logged a minute.";
    counter("relay_library_warnings_total", about)
});

#[expect(clippy::expect_used, reason = "a constant name is valid")]
fn counter(name: &str, about: &str) -> IntCounter {
    IntCounter::new(name, about).expect("a constant name is valid")
}

/// Declares what a process counts: a struct with a counter or gauge in each field, and `register`, which makes it and
/// registers all of them.
#[macro_export]
macro_rules! counted {
    ($(#[$about:meta])* $visible:vis struct $Counted:ident {
        $($(#[$doc:meta])* $see:vis $field:ident: $Kind:ident = $name:literal, $help:literal;)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        $visible struct $Counted {
            $($(#[$doc])* $see $field: ::prometheus::$Kind,)*
        }

        impl $Counted {
            /// Makes all of them.
            fn register(registry: &::prometheus::Registry) -> Result<Self, ::prometheus::Error> {
                let counted = Self { $($field: ::prometheus::$Kind::new($name, $help)?,)* };
                $(registry.register(Box::new(counted.$field.clone()))?;)*
                Ok(counted)
            }
        }
    };
}

/// A registry that counts panics and warnings already.
///
/// # Errors
/// When a name is taken twice.
pub fn registry() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(PANICS.clone()))?;
    registry.register(Box::new(LIBRARY_WARNINGS.clone()))?;
    Ok(registry)
}

/// Everything a registry holds now.
pub fn gather(registry: &Registry) -> Vec<Family> {
    registry.gather().iter().filter_map(family).collect()
}

fn family(gathered: &MetricFamily) -> Option<Family> {
    let kind = match gathered.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let samples = gathered.get_metric().iter().map(|metric| sample(kind, metric)).collect();
    let (name, help) = (gathered.name().to_owned(), gathered.help().to_owned());
    Some(Family { name, help, kind: kind.into(), samples })
}

/// Reads one series. A metric that is no histogram has an empty one.
fn sample(kind: Kind, metric: &Metric) -> Sample {
    let histogram = metric.get_histogram();
    let value = match kind {
        Kind::Counter => metric.get_counter().get_value(),
        Kind::Histogram => histogram.get_sample_sum(),
        Kind::Gauge | Kind::Unspecified => metric.get_gauge().get_value(),
    };
    let label = |label: &LabelPair| Label { name: label.name().to_owned(), value: label.value().to_owned() };
    let bucket = |bucket: &prometheus::proto::Bucket| Bucket {
        upper_bound: bucket.upper_bound(),
        cumulative_count: bucket.cumulative_count(),
    };
    Sample {
        labels: metric.get_label().iter().map(label).collect(),
        value,
        count: histogram.get_sample_count(),
        buckets: histogram.get_bucket().iter().map(bucket).collect(),
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
