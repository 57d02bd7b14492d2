//! Interoperation: a client in another language, over other libraries, that shares no code with the relay or with
//! these tests.

use crate::signed_keys::anchor;
use relay_tests::interop::{program, python};
use relay_tests::{Cluster, binaries};
use serde_json::{Map, Value};
use std::fs;
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
        "vector purge",
        "vector key_record",
        "RFC 9458's example",
        "key",
        "list of keys",
        "signed key",
        "mail by envelope",
        "mail by Binary HTTP",
        "registration and purge",
        "guardian set",
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

#[tokio::test]
async fn that_client_checks_itself_against_every_vector() {
    let Some(python) = python("cryptography, pyhpke") else { return };
    let vectors = fs::read_to_string(binaries::workspace().join("proto/vectors.json")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vectors.json");
    let parsed: Map<String, Value> = serde_json::from_str(&vectors).unwrap();
    for (name, _) in &parsed {
        let mut changed = parsed.clone();
        let field = ["signature", "blob_id"].into_iter().find(|field| changed[name][*field].is_string());
        let text = &mut changed[name][field.unwrap()];
        *text = Value::from(text.as_str().unwrap().replacen(['0', '1', '2', '3', '4'], "5", 1));
        fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
        let mut command = program(&python, "signing.py");
        command.arg(&path);
        let output = relay_tests::interop::run(command).await;
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(&format!("DEVIATION: vector {name}: ")), "{errors}");
    }
}

async fn run(python: &Path, url: &str, anchor: &str) -> Output {
    let mut command = program(python, "client.py");
    command.args([url, anchor]);
    relay_tests::interop::run(command).await
}
