//! Adds up what several processes counted.

use relay_proto::messages::{Family, Sample};
use std::collections::BTreeMap;

/// Sums families of the same name, series by series. Where two processes disagree about a family's kind, the first one's
/// stands.
pub fn merge(families: impl IntoIterator<Item = Family>) -> Vec<Family> {
    let mut merged: BTreeMap<String, Family> = BTreeMap::new();
    for family in families {
        let Some(sum) = merged.get_mut(&family.name) else {
            merged.insert(family.name.clone(), family);
            continue;
        };
        let is_same = sum.kind == family.kind;
        for sample in family.samples.into_iter().filter(|_| is_same) {
            match sum.samples.iter_mut().find(|known| known.labels == sample.labels) {
                Some(known) => add(known, &sample),
                None => sum.samples.push(sample),
            }
        }
    }
    merged.into_values().collect()
}

/// Histograms are added only when their buckets agree. Counters and gauges have none.
fn add(sum: &mut Sample, more: &Sample) {
    let bounds = |sample: &Sample| {
        sample.buckets.iter().map(|bucket| bucket.upper_bound.to_bits()).collect::<Vec<_>>()
    };
    if bounds(sum) != bounds(more) {
        return;
    }
    sum.value += more.value;
    sum.count = sum.count.saturating_add(more.count);
    for (known, bucket) in sum.buckets.iter_mut().zip(&more.buckets) {
        known.cumulative_count = known.cumulative_count.saturating_add(bucket.cumulative_count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::messages::{Bucket, Kind, Label};

    fn family(kind: Kind, sample: Sample) -> Family {
        let (name, help) = ("relay_things".to_owned(), String::new());
        Family { name, help, kind: kind.into(), samples: vec![sample] }
    }

    fn counter(label: &str, value: f64) -> Family {
        let labels = vec![Label { name: "kind".to_owned(), value: label.to_owned() }];
        family(Kind::Counter, Sample { labels, value, ..Sample::default() })
    }

    fn histogram(bounds: [f64; 2], counts: [u64; 2]) -> Family {
        let bucket = |(upper_bound, cumulative_count)| Bucket { upper_bound, cumulative_count };
        let buckets = bounds.into_iter().zip(counts).map(bucket).collect();
        family(Kind::Histogram, Sample { labels: Vec::new(), value: 1.0, count: counts[1], buckets })
    }

    #[test]
    fn equal_series_are_added_and_others_stand_beside_each_other() {
        let other_kind = family(Kind::Gauge, Sample::default());
        let merged = merge([counter("a", 1.0), counter("b", 2.0), counter("a", 3.0), other_kind]);
        assert_eq!(merged[0].samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [4.0, 2.0]);
    }

    #[test]
    fn histograms_are_added_only_when_their_buckets_agree() {
        let merged = merge([histogram([0.1, 1.0], [1, 2]), histogram([0.1, 1.0], [3, 4])]);
        let expected = histogram([0.1, 1.0], [4, 6]).samples[0].buckets.clone();
        assert_eq!((&merged[0].samples[0].buckets, merged[0].samples[0].count), (&expected, 6));
        let merged = merge([histogram([0.1, 1.0], [1, 2]), histogram([0.2, 1.0], [3, 4])]);
        assert_eq!(merged[0].samples[0].count, 2);
    }
}
