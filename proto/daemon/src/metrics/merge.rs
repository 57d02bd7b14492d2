//! Adds up what several processes counted.

use relay_proto::telemetry::{Family, Histogram, Sample, Values};
use std::collections::BTreeMap;

/// Sums families of the same name, series by series. Where two processes disagree about a family's kind,
/// the first one's stands.
pub fn merge(families: impl IntoIterator<Item = Family>) -> Vec<Family> {
    let mut merged: BTreeMap<String, Family> = BTreeMap::new();
    for family in families {
        match merged.get_mut(&family.name) {
            Some(sum) => add(&mut sum.values, family.values),
            None => {
                merged.insert(family.name.clone(), family);
            }
        }
    }
    merged.into_values().collect()
}

/// What remains of a process that is gone: what it counted, but not the state it was in.
pub fn without_gauges(families: Vec<Family>) -> Vec<Family> {
    families.into_iter().filter(|family| !matches!(family.values, Values::Gauges(_))).collect()
}

fn add(sum: &mut Values, more: Values) {
    match (sum, more) {
        (Values::Counters(sum), Values::Counters(more)) | (Values::Gauges(sum), Values::Gauges(more)) => {
            add_samples(sum, more, |sum, value| *sum += value);
        }
        (Values::Histograms(sum), Values::Histograms(more)) => add_samples(sum, more, add_histogram),
        _ => {}
    }
}

fn add_samples<T>(sum: &mut Vec<Sample<T>>, more: Vec<Sample<T>>, add: impl Fn(&mut T, T)) {
    for sample in more {
        match sum.iter_mut().find(|known| known.labels == sample.labels) {
            Some(known) => add(&mut known.value, sample.value),
            None => sum.push(sample),
        }
    }
}

fn add_histogram(sum: &mut Histogram, more: Histogram) {
    let same_bounds = sum.buckets.len() == more.buckets.len()
        && sum.buckets.iter().zip(&more.buckets).all(|(left, right)| left.0.total_cmp(&right.0).is_eq());
    if !same_bounds {
        return;
    }
    sum.sum += more.sum;
    sum.count = sum.count.saturating_add(more.count);
    for (known, (_, count)) in sum.buckets.iter_mut().zip(more.buckets) {
        known.1 = known.1.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(label: &str, value: f64) -> Family {
        let labels = vec![("kind".to_owned(), label.to_owned())];
        Family {
            name: "relay_things_total".to_owned(),
            help: String::new(),
            values: Values::Counters(vec![Sample { labels, value }]),
        }
    }

    fn histogram(bounds: [f64; 2], counts: [u64; 2]) -> Family {
        let value =
            Histogram { sum: 1.0, count: counts[1], buckets: bounds.into_iter().zip(counts).collect() };
        Family {
            name: "relay_seconds".to_owned(),
            help: String::new(),
            values: Values::Histograms(vec![Sample { labels: Vec::new(), value }]),
        }
    }

    #[test]
    fn equal_series_are_added_and_others_stand_beside_each_other() {
        let merged = merge([counter("a", 1.0), counter("b", 2.0), counter("a", 3.0)]);
        let Values::Counters(samples) = &merged[0].values else { panic!("not counters") };
        assert_eq!(samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [4.0, 2.0]);
    }

    #[test]
    fn histograms_are_added_only_when_their_buckets_agree() {
        let merged = merge([histogram([0.1, 1.0], [1, 2]), histogram([0.1, 1.0], [3, 4])]);
        let Values::Histograms(samples) = &merged[0].values else { panic!("not histograms") };
        assert_eq!(samples[0].value.buckets, [(0.1, 4), (1.0, 6)]);
        let merged = merge([histogram([0.1, 1.0], [1, 2]), histogram([0.2, 1.0], [3, 4])]);
        let Values::Histograms(samples) = &merged[0].values else { panic!("not histograms") };
        assert_eq!(samples[0].value.count, 2);
    }

    #[test]
    fn the_departed_keep_what_they_counted_and_lose_what_they_were() {
        let gauge = Family { values: Values::Gauges(Vec::new()), ..counter("a", 1.0) };
        assert_eq!(without_gauges(vec![gauge, counter("a", 1.0)]), [counter("a", 1.0)]);
    }
}
