//! The tables of `deploy/REFERENCE.md` and `deploy/RUNBOOKS.md`, generated from the code, so that the documents cannot differ
//! from it.
//!
//! A table belongs between two markers, `<!-- generated: NAME -->` and `<!-- end -->`. A test compares;
//! `relay reference --write deploy/REFERENCE.md` writes it again.

use crate::display::output::Answer;
use crate::doctor;
use relay_daemon::variables::KNOWN;
use relay_daemon::{Exit, Failure};
use relay_proto::messages::{Family, Kind};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::Path;

const START: &str = "<!-- generated: ";
const START_END: &str = " -->\n";
const END: &str = "<!-- end -->";

/// The table of what `relay doctor` finds.
const FINDINGS: &str = "findings";

/// Returns the tables, or writes them into a file.
///
/// # Errors
/// When the file cannot be read or written, or its markers do not fit.
pub(crate) fn run(write: Option<&Path>) -> Result<Answer, Failure> {
    let Some(path) = write else {
        let tables = tables().map_err(|problem| Failure::new(Exit::Internal, problem))?;
        let marked = |(name, table)| format!("{START}{name}{START_END}{table}{END}\n\n");
        return Ok(tables.into_iter().chain(runbook_tables()).map(marked).collect::<String>().into());
    };
    let failed = |error: std::io::Error| failure!(Io, "cannot use {}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(failed)?;
    let renewed =
        renew(&text).map_err(|problem| failure!(Usage, "{} cannot be renewed: {problem}", path.display()))?;
    fs::write(path, renewed).map_err(failed)?;
    Ok(String::new().into())
}

/// Returns REFERENCE.md or RUNBOOKS.md with every marked part replaced by what the code says now.
///
/// # Errors
/// When a marker has no end, names no table, or a table has no marker.
pub fn renew(text: &str) -> Result<String, String> {
    let is_runbook = text.contains(&format!("{START}{FINDINGS}{START_END}"));
    replace(text, if is_runbook { runbook_tables() } else { tables()? })
}

fn replace(text: &str, mut tables: BTreeMap<&'static str, String>) -> Result<String, String> {
    let mut renewed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(START) {
        let (name, after) = after.split_once(START_END).ok_or("a marker does not end")?;
        let (_, after) = after.split_once(END).ok_or_else(|| format!("{name} has no end marker"))?;
        let table = tables.remove(name).ok_or_else(|| format!("there is no table {name}, or not twice"))?;
        for part in [before, START, name, START_END, &table, END] {
            renewed.push_str(part);
        }
        rest = after;
    }
    renewed.push_str(rest);
    match tables.keys().next() {
        Some(missing) => Err(format!("the table {missing} is not in it")),
        None => Ok(renewed),
    }
}

/// Every table by its name.
fn tables() -> Result<BTreeMap<&'static str, String>, String> {
    Ok(BTreeMap::from([
        ("variables", variables()),
        ("exit codes", exit_codes()),
        ("endpoints", endpoints()),
        ("errors", errors()),
        ("metrics", metrics()?),
    ]))
}

/// Every table of the runbooks by its name.
fn runbook_tables() -> BTreeMap<&'static str, String> {
    let rows = doctor::codes().map(|[code, severity, meaning, fix]| {
        vec![format!("`{code}`"), severity.to_owned(), meaning.to_owned(), fix.to_owned()]
    });
    BTreeMap::from([(FINDINGS, table(&["code", "severity", "meaning", "what mends it"], rows))])
}

fn variables() -> String {
    let rows = KNOWN.iter().map(|variable| {
        let default = match variable.default {
            "" => "unset".to_owned(),
            default => format!("`{default}`"),
        };
        vec![format!("`{}`", variable.name), default, variable.about.to_owned()]
    });
    table(&["variable", "default", "meaning"], rows)
}

fn exit_codes() -> String {
    let rows = Exit::ALL.iter().map(|(exit, meaning)| vec![exit.code().to_string(), (*meaning).to_owned()]);
    table(&["code", "meaning"], rows)
}

fn endpoints() -> String {
    let rows = gateway::endpoints()
        .into_iter()
        .map(|endpoint| vec![format!("`{} {}`", endpoint.method, endpoint.path), endpoint.about.to_owned()]);
    table(&["endpoint", "meaning"], rows)
}

fn errors() -> String {
    let rows = gateway::errors()
        .into_iter()
        .map(|row| vec![row.status.to_string(), format!("`{}`", row.text), row.when.to_owned()]);
    table(&["status", "text", "when"], rows)
}

fn unsound(error: impl Display) -> String {
    format!("the metrics are not sound: {error}")
}

/// Metrics of all processes, each once, with the processes that have it.
fn metrics() -> Result<String, String> {
    let processes = [
        ("storaged", storaged::metrics().map_err(unsound)?),
        ("gateway", gateway::metrics().map_err(unsound)?),
        ("federated", federated::metrics().map_err(unsound)?),
        ("oblivious", gateway::oblivious::metrics().map_err(unsound)?),
    ];
    let mut all: BTreeMap<String, (Family, Vec<&'static str>)> = BTreeMap::new();
    for (process, families) in processes {
        for family in families {
            all.entry(family.name.clone()).or_insert_with(|| (family, Vec::new())).1.push(process);
        }
    }
    let rows = all.into_values().map(|(family, processes)| {
        let kind = match family.kind() {
            Kind::Unspecified => "unknown",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        vec![format!("`{}`", family.name), kind.to_owned(), processes.join(", "), family.help]
    });
    Ok(table(&["metric", "kind", "counted by", "meaning"], rows))
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::metrics::known;
    use relay_proto::telemetry::Role;

    fn empty() -> String {
        tables()
            .unwrap()
            .keys()
            .map(|name| format!("Text.\n{START}{name}{START_END}stale row\n{END}\n"))
            .collect()
    }

    #[test]
    fn marked_parts_are_replaced_and_the_rest_is_kept() {
        let renewed = renew(&empty()).unwrap();
        assert!(!renewed.contains("stale row"));
        assert_eq!(renewed.matches("Text.\n").count(), tables().unwrap().len());
        assert!(renewed.contains("| `RELAY_LISTEN_ADDR` | `0.0.0.0:8080` |"));
        assert_eq!(renew(&renewed).unwrap(), renewed);
    }

    #[test]
    fn runbooks_have_a_table_of_their_own() {
        let text = format!("{START}{FINDINGS}{START_END}stale row\n{END}\nText.\n");
        let renewed = renew(&text).unwrap();
        assert!(renewed.contains("| `data-owner` | error |") && renewed.ends_with("Text.\n"), "{renewed}");
        assert!(!renewed.contains("stale row"));
        assert!(replace(&text, tables().unwrap()).is_err() && replace("", runbook_tables()).is_err());
    }

    #[test]
    fn markers_that_do_not_fit_are_told() {
        assert!(renew("").unwrap_err().contains("not in it"));
        assert!(renew("<!-- generated: variables -->\nno end").unwrap_err().contains("no end"));
        assert!(
            renew("<!-- generated: nonsense -->\n<!-- end -->").unwrap_err().contains("no table nonsense")
        );
    }

    /// Storage believes a process what its role counts. A metric that is not listed there reaches no operator.
    #[test]
    fn storage_knows_what_each_role_counts_and_no_more() {
        let registered =
            [(Role::Gateway, gateway::metrics().unwrap()), (Role::Federated, federated::metrics().unwrap())];
        for (role, families) in registered {
            let counted: BTreeMap<_, _> = families
                .iter()
                .map(|family| (family.name.as_str(), (family.kind(), labels(family))))
                .collect();
            let listed: BTreeMap<_, _> =
                known(role).map(|known| (known.name, (known.kind, known.labels.to_vec()))).collect();
            assert_eq!(counted, listed, "of {role:?}; the list is in proto/daemon/src/ops/metrics/known.rs");
        }
    }

    fn labels(family: &Family) -> Vec<&str> {
        let labels = family.samples.first().map(|first| &first.labels);
        labels.into_iter().flatten().map(|label| label.name.as_str()).collect()
    }

    #[test]
    fn a_bar_in_a_cell_does_not_end_it() {
        let text = table(&["a"], [vec!["x|y".to_owned()]].into_iter());
        assert_eq!(text, "| a |\n|---|\n| x\\|y |\n");
    }
}
