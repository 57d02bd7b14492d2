//! What operators watch a relay by: rules that hold, and no name in them that the relay does not have.

use relay_tests::fields::random_mailbox;
use relay_tests::{Cluster, binaries};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Series that a relay may have at most, whatever its clients do.
const MOST_SERIES: usize = 200;

/// The labels that there are.
const LABELS: [&str; 5] = ["reason", "scope", "source", "outcome", "le"];

fn deploy(path: &str) -> PathBuf {
    binaries::workspace().join("deploy").join(path)
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(deploy("prometheus")).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// The names of the relay's metrics in a text of any kind.
fn named(text: &str) -> BTreeSet<String> {
    named_with(text, "relay_")
}

/// The words in a text that begin like this.
fn named_with(text: &str, begin: &str) -> BTreeSet<String> {
    let words =
        text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    words.filter(|word| word.starts_with(begin) && !word.ends_with('_')).map(str::to_owned).collect()
}

/// The metric behind a series: histograms have three kinds.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|kind| name.strip_suffix(kind)).unwrap_or(name)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// What the rules ask.
fn expressions() -> Vec<String> {
    let rules = read("prometheus/relay.rules.yml");
    let expression = |rest: &str| -> String {
        let lines = rest.lines().skip(1).take_while(|line| line.starts_with("          "));
        lines.map(str::trim).collect::<Vec<_>>().join(" ")
    };
    rules.split("expr: >-").skip(1).map(expression).collect()
}

/// What the panels ask.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana/relay.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// The labels that a query asks for, and their values.
fn matchers(query: &str) -> Vec<(String, String)> {
    let matchers = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let pairs = matchers.flat_map(|matchers| matchers.split(','));
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.trim().to_owned(), value.trim_start_matches('~').trim_matches('"').to_owned())
        })
        .collect()
}

/// What a running relay of all its processes shows: names of metrics, number of series, labels with their values.
async fn shown() -> (BTreeSet<String>, usize, BTreeSet<(String, String)>) {
    let relay = Cluster::builder().gateways(2).federated().start().await;
    for _ in 0..20 {
        let mailbox = random_mailbox();
        let id = relay.client().send(&mailbox, b"counted").await.blob_id();
        relay.client().fetch(&[&mailbox]).await.success();
        relay.client().ack(&mailbox, &id).await.success();
        relay.client().ack(&mailbox, "no id").await.failure(400);
    }
    let text = relay.gateways[0].ops.get("/metrics").await.text();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let names = lines.iter().flat_map(|line| named(line.split(['{', ' ']).next().unwrap()));
    let labels = lines.iter().flat_map(|line| matchers(line)).collect();
    (names.map(|name| base(&name).to_owned()).collect(), lines.len(), labels)
}

#[test]
fn rules_hold_and_every_alarm_sounds_when_it_should_and_only_then() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "--lint-fatal", "relay.rules.yml"]);
    promtool(&["test", "rules", "relay.rules.test.yml"]);
    let read = |name: &str| fs::read_to_string(deploy("prometheus").join(name)).unwrap();
    let (rules, tests) = (read("relay.rules.yml"), read("relay.rules.test.yml"));
    let alarms: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alarms.len() > 20);
    for alarm in alarms {
        for kind in ["sounds", "is silent"] {
            assert!(tests.contains(&format!("- name: \"{alarm} {kind}\"")), "{alarm} {kind}");
        }
    }
}

#[tokio::test]
async fn what_is_watched_is_there_and_what_is_there_is_watched() {
    let (shown, _, _) = shown().await;
    // What the rules record may be asked for as well; `up` is Prometheus' own.
    let asked: Vec<String> = expressions().into_iter().chain(queries()).collect();
    assert!(asked.len() > 80);
    let rules = read("prometheus/relay.rules.yml");
    let recorded: BTreeSet<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ").map(str::to_owned)).collect();
    let unrecorded: Vec<_> = named_with(&asked.join("\n"), "relay:").difference(&recorded).cloned().collect();
    assert!(unrecorded.is_empty(), "no rule records {unrecorded:?}");
    let watched = named(&asked.join("\n"));
    let watched: BTreeSet<String> = watched.iter().map(|name| base(name).to_owned()).collect();
    let unknown: Vec<_> = watched.difference(&shown).collect();
    assert!(unknown.is_empty(), "the relay has no {unknown:?}");
    let unwatched: Vec<_> = shown.difference(&watched).collect();
    assert!(unwatched.is_empty(), "nobody looks at {unwatched:?}");
}

#[tokio::test]
async fn series_stay_few_and_their_labels_are_words() {
    let (_, series, labels) = shown().await;
    assert!(series <= MOST_SERIES, "{series} series");
    for (name, value) in labels {
        assert!(LABELS.contains(&name.as_str()), "a label {name}");
        let is_word = value.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        assert!(is_word || name == "le", "{name} is {value}");
    }
}

#[tokio::test]
async fn every_label_that_is_asked_for_is_one_that_there_is() {
    let (_, _, labels) = shown().await;
    let asked: Vec<String> = expressions().into_iter().chain(queries()).collect();
    assert!(asked.len() > 80);
    for query in asked {
        for matcher in matchers(&query) {
            let (name, values) = matcher;
            for value in values.split('|').filter(|_| name != "job") {
                assert!(labels.contains(&(name.clone(), value.to_owned())), "no {name} is {value}: {query}");
            }
        }
        for names in query.split(" by (").skip(1).filter_map(|rest| rest.split(')').next()) {
            let known = names.split(", ").all(|name| LABELS.contains(&name));
            assert!(known, "no label is called {names}: {query}");
        }
    }
}

#[test]
fn panels_ask_what_prometheus_can_answer() {
    // As rules, they go through Prometheus' own parser.
    let mut rules = String::from("groups:\n  - name: panels\n    rules:\n");
    for (number, query) in queries().iter().enumerate() {
        let query = query.replace("$__rate_interval", "1m");
        rules.push_str(&format!("      - record: panel:{number}\n        expr: >-\n          {query}\n"));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("panels.yml");
    fs::write(&path, rules).unwrap();
    promtool(&["check", "rules", "--lint=none", path.to_str().unwrap()]);
}

#[test]
fn every_alarm_has_a_page_that_names_it() {
    let rules = read("prometheus/relay.rules.yml");
    let runbooks = read("RUNBOOKS.md");
    let mut alarm = "";
    let mut pages = 0;
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alarm = name;
        }
        let Some(anchor) = line.strip_prefix("runbook: \"RUNBOOKS.md#") else { continue };
        let anchor = anchor.trim_end_matches('"');
        let page = runbooks
            .split("\n## ")
            .find(|page| page.lines().next().is_some_and(|title| anchor_of(title) == anchor))
            .unwrap_or_else(|| panic!("there is no page {anchor}"));
        assert!(page.contains(alarm), "the page {anchor} does not name {alarm}");
        pages += 1;
    }
    assert_eq!(pages, rules.matches("- alert: ").count(), "an alarm without a page");
    let named = runbooks
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("Relay") && word.len() > 5);
    for alarm in named {
        assert!(rules.contains(&format!("- alert: {alarm}\n")), "there is no alarm {alarm}");
    }
}

/// What a heading is linked by.
fn anchor_of(title: &str) -> String {
    title.to_lowercase().replace([',', '\'', '?'], "").replace(' ', "-")
}

#[test]
fn every_panel_is_complete_and_in_a_place_of_its_own() {
    let dashboard: Value = serde_json::from_str(&read("grafana/relay.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str().unwrap());
    let groups = ["What clients see", "The store", "Limits", "Oblivious HTTP", "Federation", "Processes"];
    assert_eq!(rows.collect::<Vec<_>>(), groups);
    let (mut numbers, mut titles, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "two panels of one number: {title}");
        assert!(!title.is_empty() && titles.insert(title), "two panels called {title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title} is wider than the page");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(places.insert((x, y)), "{title} lies over another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} asks nothing");
        for source in targets.iter().chain([panel]).map(|part| &part["datasource"]) {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
    }
}
