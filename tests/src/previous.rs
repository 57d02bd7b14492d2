//! The version before this one, for tests of upgrades and of the way back: the last one before the newest step of the
//! database's schema, built from this repository's own history.

use crate::binaries::{self, Program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the steps of the schema lie. The commit that added the newest one begins this version.
const STEPS: &str = "storaged/src/db/migrations";

/// What the version before calls itself.
const VERSION: &str = "0.0.0";

/// Names a directory that has the programs of the version before already.
const READY_MADE: &str = "PREVIOUS_VERSION_DIRECTORY";

/// The directory with the programs of the version before. Builds them if need be, and only once a commit.
///
/// The dependencies are those of this version where they are the same, so they are built in this version's target
/// directory, where they lie already; no other test may run meanwhile.
///
/// # Panics
/// When there is no history to build it from.
pub fn directory() -> PathBuf {
    if let Some(ready) = std::env::var_os(READY_MADE) {
        return PathBuf::from(ready);
    }
    let (target, profile) = binaries::place();
    let commit = commit(binaries::workspace());
    let home = target.join("previous").join(&commit);
    let programs = home.join(binaries::folder(&profile));
    if !programs.exists() {
        let source = home.join("source");
        unpack(&commit, &source);
        set_apart(&source.join("Cargo.toml"));
        binaries::build(&source, &target, &profile);
        let half = home.join("half");
        fs::create_dir_all(&half).expect("a directory");
        for program in [Program::Relay, Program::Storaged, Program::Gateway, Program::Federated] {
            let built = target.join(binaries::folder(&profile)).join(program.name());
            fs::copy(built, half.join(program.name())).expect("a program that was built");
        }
        fs::rename(half, &programs).expect("a directory of the same file system");
        // Their names now mean this version again.
        binaries::build(binaries::workspace(), &target, &profile);
    }
    programs
}

fn commit(workspace: &Path) -> String {
    let steps = git(workspace, &["ls-files", "--", STEPS]);
    let step = steps.lines().max().unwrap_or(STEPS);
    let newest = git(workspace, &["log", "--follow", "--diff-filter=A", "-1", "--format=%H", "--", step]);
    assert!(!newest.is_empty(), "there is no history to find the version before in; a full clone has it");
    git(workspace, &["rev-parse", &format!("{newest}^")])
}

/// Gives its packages a version of their own. In the target directory they would otherwise lie where those of this version
/// do, and what either generates from `.proto` files would be taken for the other's.
fn set_apart(manifest: &Path) {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let (before, rest) = text.split_once("\nversion = \"").expect("the workspace's version");
    let (_, after) = rest.split_once('"').expect("an end of it");
    fs::write(manifest, format!("{before}\nversion = \"{VERSION}\"{after}")).expect("a manifest");
}

fn git(workspace: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(workspace).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run git: {error}"));
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git speaks text").trim().to_owned()
}

fn unpack(commit: &str, source: &Path) {
    fs::create_dir_all(source).expect("a directory");
    let mut archive = Command::new("git")
        .current_dir(binaries::workspace())
        .args(["archive", commit])
        .stdout(Stdio::piped())
        .spawn()
        .expect("git");
    let from = archive.stdout.take().expect("a pipe");
    let unpacked = Command::new("tar").arg("-x").current_dir(source).stdin(from).status().expect("tar");
    assert!(unpacked.success() && archive.wait().expect("git").success(), "cannot unpack {commit}");
}
