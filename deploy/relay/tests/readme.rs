//! The README is one that a stranger can read in a minute, with the commands that the project's own check runs.

const README: &str = include_str!("../../../README.md");

/// Bytes that the README may have. What is longer belongs into another document.
const LONGEST: usize = 10_000;

#[test]
fn it_is_short() {
    assert!(README.len() <= LONGEST, "README.md has {} bytes, and may have {LONGEST}", README.len());
}

#[test]
fn commands_that_are_checked_are_lines_of_their_own() {
    for command in [
        "cargo run --release --bin relay -- up",
        "cargo test --workspace",
        "deploy/docker/build.sh",
        "docker compose up -d --wait",
    ] {
        assert!(README.lines().any(|line| line == command), "{command}");
    }
}
