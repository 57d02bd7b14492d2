//! The README cannot lie: its tables are the code's, its links lead somewhere, its commands are the ones that
//! are tested.

use std::path::Path;

const README: &str = include_str!("../../../README.md");

#[test]
fn the_tables_say_what_the_code_says() {
    let renewed = relay::reference::renew(README).unwrap();
    assert!(
        README == renewed,
        "the README's tables are not the code's; mend them with\n  \
         cargo run --bin relay -- reference --write README.md"
    );
}

#[test]
fn every_link_inside_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let targets: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        // What is said elsewhere is not here to be looked at.
        .filter(|target| !target.starts_with("https://www.rfc-editor.org/"))
        .collect();
    assert!(targets.len() > 5);
    for target in targets {
        assert!(root.join(target).is_file(), "{target} is not there");
    }
}

#[test]
fn the_two_commands_are_lines_of_their_own() {
    for command in ["cargo run --release --bin relay -- up", "cargo test --workspace"] {
        assert!(README.lines().any(|line| line == command), "{command}");
    }
}
