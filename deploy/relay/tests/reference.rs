//! The generated tables of the operator's documents are what the code generates.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

fn check(document: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text == relay::reference::renew(&text).unwrap(),
        "a table of {document} differs from the code; write it again with\n  \
         cargo run --bin relay -- reference --write deploy/{document}"
    );
}

#[test]
fn the_reference_has_the_tables_of_the_code() {
    check("REFERENCE.md");
}

#[test]
fn the_runbooks_have_the_findings_of_the_code() {
    check("RUNBOOKS.md");
}
