//! Finding what was measured in a report: `load/send 64/per_second` is a path, and a segment may end with `*`.

use crate::stats::Rounds;
use crate::table::number;
use serde_json::Value;

/// The values at a path, each with its own path in words.
pub(crate) fn select<'a>(report: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    path.split('/').fold(vec![(String::new(), report)], |found, segment| {
        let matches =
            |name: &str| segment.strip_suffix('*').map_or(name == segment, |prefix| name.starts_with(prefix));
        let inside = found.into_iter().flat_map(|(path, value)| {
            let children = children(value).into_iter().filter(|(name, _)| matches(name));
            children.map(move |(name, child)| (format!("{path} {name}").trim_start().to_owned(), child))
        });
        inside.collect()
    })
}

/// What is inside a value. A load is found by its name and number of connections, other items by their index.
fn children(value: &Value) -> Vec<(String, &Value)> {
    let name_of = |index: usize, item: &Value| match (&item["load"], &item["connections"]) {
        (Value::String(load), connections) => format!("{load} {connections}"),
        (_, Value::Number(connections)) => connections.to_string(),
        _ => index.to_string(),
    };
    match value {
        Value::Object(map) => map.iter().map(|(name, child)| (name.clone(), child)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (name_of(index, item), item)).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn rounds_at(report: &Value, path: &str) -> Option<Rounds> {
    let found = select(report, path);
    let rounds = found.first()?.1["rounds"].as_array()?;
    Some(Rounds(rounds.iter().filter_map(Value::as_f64).collect()))
}

/// A number, or the median of rounds.
pub(crate) fn number_of(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value["median"].as_f64())
}

/// A value for a person.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(" | "),
        Value::Number(count) if count.is_u64() => count.to_string(),
        other => number(number_of(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_leads_through_names_loads_and_patterns() {
        let rounds = json!({ "median": 2.0, "rounds": [1.0, 2.0, 3.0] });
        let report = json!({ "load": [
            { "load": "send", "connections": 1, "errors": 0, "per_second": rounds },
            { "load": "send", "connections": 64, "errors": 5 },
            { "load": "echo", "connections": 64, "errors": 7 },
        ]});
        let errors = select(&report, "load/send */errors");
        assert_eq!(
            errors,
            [("load send 1 errors".to_owned(), &json!(0)), ("load send 64 errors".to_owned(), &json!(5))]
        );
        assert_eq!(rounds_at(&report, "load/send 1/per_second").unwrap().0, [1.0, 2.0, 3.0]);
        assert_eq!(number_of(&report["load"][0]["per_second"]), Some(2.0));
        assert!(select(&report, "kills/errors").is_empty());
    }
}
