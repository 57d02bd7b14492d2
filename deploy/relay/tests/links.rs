//! Every link between the project's documents leads to a file or folder that is there, and to a heading that is in it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no document of the project's.
const PASSED_OVER: [&str; 3] = ["target", "data", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every Markdown file below a folder.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !PASSED_OVER.contains(&name.as_str()) {
            found.extend(documents(&path));
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found
}

/// A document's lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of a line's links.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchors of a document, as GitHub makes them of its headings.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    prose(text)
        .filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')))
        .filter_map(|rest| rest.strip_prefix(' '))
        .map(|heading| {
            let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
            let anchor =
                heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
            let before = seen.entry(anchor.clone()).or_default();
            *before += 1;
            if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
        })
        .collect()
}

/// Why a link of a document leads nowhere, if it does.
fn fault(document: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { document.to_owned() } else { document.parent()?.join(path) };
    if !file.exists() {
        return Some(format!("{} is not there", file.display()));
    }
    let anchor = anchor?;
    let is_there =
        fs::read_to_string(&file).is_ok_and(|text| anchors(&text).iter().any(|known| known == anchor));
    (!is_there).then(|| format!("{} has no heading #{anchor}", file.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents(&root());
    assert!(documents.len() > 8, "documents are missing");
    let mut count = 0;
    let mut faults = Vec::new();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for target in prose(&text).flat_map(targets) {
            count += 1;
            faults.extend(fault(document, target).map(|fault| format!("{}: {fault}", document.display())));
        }
    }
    assert!(count > 50, "there are {count} links");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_link_to_nowhere_is_found() {
    let readme = root().join("README.md");
    assert_eq!(fault(&readme, "deploy/REFERENCE.md#exit-codes"), None);
    assert_eq!(fault(&readme, "gateway"), None);
    for target in ["deploy/NOTHING.md", "deploy/REFERENCE.md#exit-code", "#nowhere"] {
        assert!(fault(&readme, target).is_some(), "{target}");
    }
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    let text = "# One `relay` command\n```sh\n# no heading\n```\n## purge\n### purge\n#none\n";
    assert_eq!(anchors(text), ["one-relay-command", "purge", "purge-1"]);
}

#[test]
fn alarms_name_pages_that_are_there() {
    let rules = fs::read_to_string(root().join("deploy/prometheus/relay.rules.yml")).unwrap();
    let pages = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: \"")?.strip_suffix('"'));
    let index = root().join("deploy/index");
    let faults: Vec<String> = pages.filter_map(|page| fault(&index, page)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
