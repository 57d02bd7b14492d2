//! The Prometheus text format, version 0.0.4.

use relay_proto::messages::{Family, Kind, Label, Sample};
use std::fmt::{self, Write as _};

/// Writes families as Prometheus text. One of an unknown kind is left out.
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
    let Family { name, help, kind: _, samples } = family;
    let kind = match family.kind() {
        Kind::Unspecified => return Ok(()),
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(text, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(text, "# TYPE {name} {kind}")?;
    for sample in samples {
        if family.kind() == Kind::Histogram {
            write_histogram(text, name, sample)?;
        } else {
            write_line(text, name, &sample.labels, None, sample.value)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "the format has floating-point values only")]
fn write_histogram(text: &mut String, name: &str, sample: &Sample) -> fmt::Result {
    let Sample { labels, value: sum, count, buckets } = sample;
    let bucket = format!("{name}_bucket");
    for known in buckets.iter().filter(|known| known.upper_bound.is_finite()) {
        let bound = known.upper_bound.to_string();
        write_line(text, &bucket, labels, Some(&bound), known.cumulative_count as f64)?;
    }
    write_line(text, &bucket, labels, Some("+Inf"), *count as f64)?;
    write_line(text, &format!("{name}_sum"), labels, None, *sum)?;
    write_line(text, &format!("{name}_count"), labels, None, *count as f64)
}

fn write_line(
    text: &mut String,
    name: &str,
    labels: &[Label],
    bound: Option<&str>,
    value: f64,
) -> fmt::Result {
    text.push_str(name);
    let labels = labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let mut separator = '{';
    for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(text, "{separator}{label}=\"{escaped}\"")?;
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    writeln!(text, " {value}")
}
