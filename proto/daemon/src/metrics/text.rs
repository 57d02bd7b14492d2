//! The Prometheus text format, version 0.0.4.

use relay_proto::telemetry::{Family, Histogram, Sample, Values};
use std::fmt::{self, Write as _};

/// Writes families as Prometheus text.
pub fn render(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing into a String cannot fail.
        if write_family(&mut text, family).is_err() {
            break;
        }
    }
    text
}

fn write_family(text: &mut String, family: &Family) -> fmt::Result {
    let Family { name, help, values } = family;
    let kind = match values {
        Values::Counters(_) => "counter",
        Values::Gauges(_) => "gauge",
        Values::Histograms(_) => "histogram",
    };
    writeln!(text, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(text, "# TYPE {name} {kind}")?;
    match values {
        Values::Counters(samples) | Values::Gauges(samples) => {
            for Sample { labels, value } in samples {
                write_line(text, name, labels, None, *value)?;
            }
        }
        Values::Histograms(samples) => {
            for sample in samples {
                write_histogram(text, name, sample)?;
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "the format has floating-point values only")]
fn write_histogram(text: &mut String, name: &str, sample: &Sample<Histogram>) -> fmt::Result {
    let Sample { labels, value: Histogram { sum, count, buckets } } = sample;
    let bucket = format!("{name}_bucket");
    for (bound, cumulative) in buckets.iter().filter(|(bound, _)| bound.is_finite()) {
        write_line(text, &bucket, labels, Some(&bound.to_string()), *cumulative as f64)?;
    }
    write_line(text, &bucket, labels, Some("+Inf"), *count as f64)?;
    write_line(text, &format!("{name}_sum"), labels, None, *sum)?;
    write_line(text, &format!("{name}_count"), labels, None, *count as f64)
}

fn write_line(
    text: &mut String,
    name: &str,
    labels: &[(String, String)],
    bound: Option<&str>,
    value: f64,
) -> fmt::Result {
    text.push_str(name);
    let mut separator = '{';
    for (label, value) in labels
        .iter()
        .map(|(label, value)| (label.as_str(), value.as_str()))
        .chain(bound.map(|bound| ("le", bound)))
    {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(text, "{separator}{label}=\"{escaped}\"")?;
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    writeln!(text, " {value}")
}
