//! Tells the binaries which source they were built from, where git can say so.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn main() {
    // A packager without a repository sets these; with one, git answers. The commit's own time stands in
    // for the build's, so that building twice gives the same bytes.
    let facts = [
        ("RELAY_BUILD_SHA", &["rev-parse", "HEAD"][..]),
        ("RELAY_BUILD_REF", &["rev-parse", "--abbrev-ref", "HEAD"]),
        ("RELAY_BUILD_TIME", &["log", "-1", "--format=%cI"]),
    ];
    for (name, arguments) in facts {
        println!("cargo:rerun-if-env-changed={name}");
        if std::env::var_os(name).is_none() {
            let value = git(arguments).unwrap_or_else(|| "unknown".to_owned());
            println!("cargo:rustc-env={name}={value}");
        }
    }
    for watched in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}
