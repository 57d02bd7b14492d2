//! The generated tables of the operator's documents are what the code generates.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

type Renew = fn(&str) -> Result<String, String>;

fn check(document: &str, renew: Renew) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text == renew(&text).unwrap(),
        "a table of {document} differs from the code; write it again with\n  \
         cargo run --bin relay -- reference --write deploy/{document}"
    );
}

#[test]
fn the_reference_has_the_tables_of_the_code() {
    check("REFERENCE.md", relay::reference::renew);
}

#[test]
fn the_runbooks_have_the_findings_of_the_code() {
    check("RUNBOOKS.md", relay::reference::renew_runbook);
}
