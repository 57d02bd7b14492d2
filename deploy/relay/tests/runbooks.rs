//! The runbooks cannot lie about what `relay doctor` finds: its codes are the code's.

use std::path::Path;

#[test]
fn the_findings_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../RUNBOOKS.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text == relay::reference::renew_runbook(&text).unwrap(),
        "the table of findings is not the code's; mend it with\n  \
         cargo run --bin relay -- reference --write deploy/RUNBOOKS.md"
    );
}
