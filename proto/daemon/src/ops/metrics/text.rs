//! The Prometheus text format, version 0.0.4.

use relay_proto::messages::{Family, Kind, Label, Sample};

/// Writes families as Prometheus text. One of an unknown kind is left out.
pub fn render(families: &[Family]) -> String {
    families.iter().map(family).collect()
}

fn family(family: &Family) -> String {
    let Family { name, help, kind: _, samples } = family;
    let kind = match family.kind() {
        Kind::Unspecified => return String::new(),
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let lines = samples.iter().map(|sample| match family.kind() {
        Kind::Histogram => histogram(name, sample),
        _ => line(name, &sample.labels, None, sample.value),
    });
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n") + &lines.collect::<String>()
}

#[expect(clippy::cast_precision_loss, reason = "the format has floating-point values only")]
fn histogram(name: &str, sample: &Sample) -> String {
    let Sample { labels, value: sum, count, buckets } = sample;
    let bucket = |bound: &str, count: u64| line(&format!("{name}_bucket"), labels, Some(bound), count as f64);
    let finite = buckets.iter().filter(|known| known.upper_bound.is_finite());
    let lines = finite.map(|known| bucket(&known.upper_bound.to_string(), known.cumulative_count));
    lines.collect::<String>()
        + &bucket("+Inf", *count)
        + &line(&format!("{name}_sum"), labels, None, *sum)
        + &line(&format!("{name}_count"), labels, None, *count as f64)
}

fn line(name: &str, labels: &[Label], bound: Option<&str>, value: f64) -> String {
    let labels = labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let labels = labels.chain(bound.map(|bound| ("le", bound))).map(|(label, value)| {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{label}=\"{escaped}\"")
    });
    let labels = labels.collect::<Vec<_>>().join(",");
    if labels.is_empty() { format!("{name} {value}\n") } else { format!("{name}{{{labels}}} {value}\n") }
}
