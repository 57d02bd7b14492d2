//! The commands in the runbooks, by where they are meant to be run.

use crate::binaries;

/// The blocks of shell commands of one kind: ```` ```sh KIND ````.
///
/// # Panics
/// When there are no runbooks, or no such block.
pub fn blocks(kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(binaries::workspace().join("deploy/RUNBOOKS.md")).expect("runbooks");
    let begin = format!("```sh {kind}\n");
    let blocks: Vec<String> = text
        .split(&begin)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect();
    assert!(!blocks.is_empty(), "the runbooks have no block of kind {kind}");
    blocks
}

/// Where blocks of shell commands are meant to be run, once for each block.
///
/// # Panics
/// When there are no runbooks.
pub fn kinds() -> Vec<String> {
    let text = std::fs::read_to_string(binaries::workspace().join("deploy/RUNBOOKS.md")).expect("runbooks");
    text.lines().filter_map(|line| line.strip_prefix("```sh")).map(|kind| kind.trim().to_owned()).collect()
}
