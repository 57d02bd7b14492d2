//! The Prometheus text format, as far as the relay speaks it.

/// One line of `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The name, with a histogram's suffix.
    pub name: String,
    /// Everything between the braces.
    pub labels: String,
    /// The value.
    pub value: f64,
}

/// A page of `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics(Vec<Series>);

impl Metrics {
    /// Reads the text.
    ///
    /// # Panics
    /// At a line that Prometheus would not take either.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(parse_line).collect())
    }

    /// Every line.
    pub fn series(&self) -> &[Series] {
        &self.0
    }

    /// Whether there is a metric of this name, whatever its labels. A histogram counts under its bare name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|series| series.name == name || series.name.strip_suffix("_count") == Some(name))
    }

    /// The sum over all labels; 0 when there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|series| series.name == name).map(|series| series.value).sum()
    }
}

fn parse_line(line: &str) -> Series {
    let parsed = || {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = match head.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}')?),
            None => (head, ""),
        };
        let value = value.replace("Inf", "inf").parse().ok()?;
        Some(Series { name: name.to_owned(), labels: labels.to_owned(), value })
    };
    parsed().unwrap_or_else(|| panic!("not a line of metrics: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_prometheus_reads_them() {
        let metrics = Metrics::parse(concat!(
            "# HELP a_total Things.\n# TYPE a_total counter\n",
            "a_total{kind=\"x y\"} 2\na_total{kind=\"z\"} 3\n",
            "b_bucket{le=\"+Inf\"} 4\nb_sum 0.5\nb_count 4\n",
        ));
        assert_eq!(metrics.sum("a_total"), 5.0);
        assert!(metrics.has("a_total") && metrics.has("b") && !metrics.has("c"));
        assert_eq!(metrics.series()[0].labels, "kind=\"x y\"");
    }

    #[test]
    #[should_panic(expected = "not a line of metrics")]
    fn a_broken_line_is_no_metric() {
        Metrics::parse("a_total");
    }
}
