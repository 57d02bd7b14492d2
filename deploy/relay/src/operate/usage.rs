//! `relay usage`: what takes the room in a running relay's store, by kind and age.

use crate::admin_client::{collect, stopped};
use crate::display::output::{Answer, answer, row};
use crate::display::units::{bytes, grouped};
use relay_daemon::{Failure, Vars};
use relay_proto::messages::{AgeUsage, KindUsage, UsageRequest};
use serde_json::json;

/// Shows how many rows and bytes there are of each kind, and how old they are.
pub(crate) fn usage(vars: &Vars, as_json: bool) -> Result<Answer, Failure> {
    let parts = collect(vars, async |mut admin| admin.0.usage(UsageRequest {}).await)?;
    let kinds: Result<Vec<_>, _> = parts.into_iter().map(KindUsage::checked).collect();
    let kinds = kinds.map_err(|refusal| stopped(&refusal.into()))?;
    Ok(answer(as_json, || machine(&kinds), || people(&kinds)))
}

/// Where an age ends; `None` for the last one.
fn below(age: &AgeUsage) -> Option<u64> {
    Some(age.below_secs).filter(|below| *below > 0)
}

fn machine(kinds: &[KindUsage]) -> serde_json::Value {
    let age = |age: &AgeUsage| json!({ "below_secs": below(age), "rows": age.rows, "bytes": age.bytes });
    let kind = |usage: &KindUsage| {
        let ages: Vec<_> = usage.ages.iter().map(age).collect();
        json!({ "kind": usage.kind().name(), "rows": rows(usage), "bytes": sum(usage), "ages": ages })
    };
    json!({ "kinds": kinds.iter().map(kind).collect::<Vec<_>>() })
}

fn rows(usage: &KindUsage) -> u64 {
    usage.ages.iter().map(|age| age.rows).sum()
}

fn sum(usage: &KindUsage) -> u64 {
    usage.ages.iter().map(|age| age.bytes).sum()
}

fn people(kinds: &[KindUsage]) -> String {
    let mut before = None;
    let ages = kinds.first().into_iter().flat_map(|usage| &usage.ages);
    let heads = ages.map(|age| column(std::mem::replace(&mut before, below(age)), below(age)));
    let line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        row(name, cells.map(|cell| format!("{cell:>12}")).collect::<String>())
    };
    let mut text = line("kind", &mut ["rows", "bytes"].map(str::to_owned).into_iter().chain(heads));
    for usage in kinds {
        let ages = usage.ages.iter().map(|age| if age.rows == 0 { "-".to_owned() } else { bytes(age.bytes) });
        let totals = [grouped(rows(usage)), bytes(sum(usage))];
        text += &line(usage.kind().name(), &mut totals.into_iter().chain(ages));
    }
    text + "Bytes are content and about what else a row of its kind takes. Ages count from when a row was stored or\n\
            renewed, as far as it tells.\n"
}

/// The head of a column.
fn column(above: Option<u64>, below: Option<u64>) -> String {
    let length = |seconds: u64| match seconds {
        seconds if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        seconds => format!("{} h", seconds / 3600),
    };
    match (above, below) {
        (_, Some(below)) => format!("< {}", length(below)),
        (Some(above), None) => format!(">= {}", length(above)),
        (None, None) => "all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, sample};

    fn told(as_json: bool) -> String {
        let storage = Storage::start(sample());
        usage(&storage.vars(), as_json).unwrap().text
    }

    #[test]
    fn every_kind_has_a_line_with_its_rows_bytes_and_ages() {
        let text = told(false);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "kind rows bytes < 1 h < 1 d >= 1 d");
        assert_eq!(lines[1].join(" "), "mail 1,200 1.1 MiB 1.0 MiB - 200.0 KiB");
        assert_eq!(lines[2].join(" "), "proofs 3 3.0 KiB - 3.0 KiB -");
    }

    #[test]
    fn programs_get_the_same() {
        let json: serde_json::Value = serde_json::from_str(&told(true)).unwrap();
        let mail = &json["kinds"][0];
        assert_eq!((mail["kind"].as_str(), mail["rows"].as_u64()), (Some("mail"), Some(1200)));
        assert_eq!(mail["ages"][0]["below_secs"], 3600);
        assert_eq!(mail["ages"][2]["below_secs"], serde_json::Value::Null);
    }
}
