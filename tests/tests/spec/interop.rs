//! Interoperation: a client in another language, over other libraries, that shares no code with the relay or with
//! these tests.

use crate::signed_keys::anchor;
use relay_tests::Cluster;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has what the client needs. Where there is none, a test says so and proves nothing; under
/// continuous integration that is a failure.
///
/// # Panics
/// When `CI` is set and there is no such Python.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("INTEROP_PYTHON").unwrap_or_else(|| "python3".into());
    let works = Command::new(&named)
        .args(["-c", "import cryptography, pyhpke"])
        .output()
        .is_ok_and(|output| output.status.success());
    if works {
        return Some(named.into());
    }
    let lack = format!(
        "interoperation tests need a Python with the packages of tests/interop/requirements.txt; {} is none \
         (INTEROP_PYTHON names another)",
        Path::new(&named).display()
    );
    assert!(std::env::var_os("CI").is_none(), "{lack}");
    eprintln!("SKIPPED: {lack}");
    None
}

fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/client.py")
}

#[tokio::test]
async fn a_client_of_another_make_is_served() {
    let Some(python) = python() else { return };
    let relay = Cluster::simple().await;
    let (url, anchor) = (format!("http://{}", relay.address()), anchor(&relay).await);
    let output = run(&python, &url, &anchor).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    for proof in [
        "RFC 9458's example",
        "key",
        "list of keys",
        "signed key",
        "mail by envelope",
        "mail by Binary HTTP",
        "unknown key",
    ] {
        assert!(said.lines().any(|line| line.starts_with(&format!("ok {proof}"))), "no {proof} in: {said}");
    }
}

#[tokio::test]
async fn that_client_sees_a_deviation() {
    let Some(python) = python() else { return };
    let relay = Cluster::simple().await;
    let url = format!("http://{}", relay.address());
    let other = relay_tests::Owner::random().public_key();
    let output = run(&python, &url, &other).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("DEVIATION: both signatures hold"), "{errors}");
}

async fn run(python: &Path, url: &str, anchor: &str) -> std::process::Output {
    let mut command = Command::new(python);
    command.arg(client()).args([url, anchor]);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    relay_tests::deadline::soon("the client", run).await.unwrap()
}
