//! Interoperation: a client in another language, over other libraries, that shares no code with the relay or with
//! these tests.

use crate::signed_keys::anchor;
use relay_tests::Cluster;
use relay_tests::interop::{program, python};
use std::path::Path;
use std::process::Output;

#[tokio::test]
async fn a_client_of_another_make_is_served() {
    let Some(python) = python("cryptography, pyhpke") else { return };
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
    let Some(python) = python("cryptography, pyhpke") else { return };
    let relay = Cluster::simple().await;
    let url = format!("http://{}", relay.address());
    let other = relay_tests::Owner::random().public_key();
    let output = run(&python, &url, &other).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("DEVIATION: both signatures hold"), "{errors}");
}

async fn run(python: &Path, url: &str, anchor: &str) -> Output {
    let mut command = program(python, "client.py");
    command.args([url, anchor]);
    relay_tests::interop::run(command).await
}
