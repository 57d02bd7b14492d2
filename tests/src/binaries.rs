//! The programs under test, built once a test process with the profile and target directory of the test
//! itself, so that no test ever meets a stale program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A program of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The operator's command.
    Relay,
    /// The store.
    Storaged,
    /// The edge.
    Gateway,
    /// The peer link.
    Federated,
    /// The outer relay of Oblivious HTTP.
    Oblivious,
}

impl Program {
    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Storaged => "storaged",
            Self::Gateway => "gateway",
            Self::Federated => "federated",
            Self::Oblivious => "oblivious",
        }
    }

    /// Where the program lies; builds all of them on first use.
    pub fn path(self) -> PathBuf {
        directory().join(self.name())
    }
}

/// Where the programs lie; builds all of them on first use.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let (target, profile) = place();
        build(workspace(), &target, &profile);
        target.join(folder(&profile))
    })
}

/// The directory of this workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a workspace")
}

/// The target directory and the profile of the running test.
pub(crate) fn place() -> (PathBuf, String) {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut directory = this.parent().expect("a program lies in a directory");
    if directory.ends_with("deps") {
        directory = directory.parent().expect("deps lies in a profile's directory");
    }
    let target = directory.parent().expect("a profile's directory lies in the target directory");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    (target.to_owned(), profile.to_owned())
}

/// The folder in the target directory where a profile's programs lie.
pub(crate) fn folder(profile: &str) -> &str {
    if profile == "dev" { "debug" } else { profile }
}

/// What cargo tells a test about the test's own package. Build scripts that ask for these variables, ring's for one, would
/// run again for every build by a test, and again for every build by a person, and all that depends on them with them.
const OF_THE_TEST: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// Builds the programs of a workspace.
pub(crate) fn build(workspace: &Path, target: &Path, profile: &str) {
    let mut cargo = Command::new(env!("CARGO"));
    // The whole workspace, as `cargo run` at its top would: a choice of packages is a choice of features, and
    // dependencies would be built once more for each.
    cargo.current_dir(workspace).args(["build", "--quiet", "--workspace", "--bins", "--profile", profile]);
    cargo.arg("--target-dir").arg(target);
    for variable in OF_THE_TEST {
        cargo.env_remove(variable);
    }
    let output = cargo.output().unwrap_or_else(|error| panic!("cannot run {}: {error}", env!("CARGO")));
    assert!(
        output.status.success(),
        "the programs under test do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
