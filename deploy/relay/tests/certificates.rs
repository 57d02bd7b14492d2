//! On a machine without CA certificates no TLS certificate can be checked, and the command says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn relay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(arguments)
        .env_clear()
        // Where this is set, nothing else on the machine is read.
        .env("SSL_CERT_FILE", "/nonexistent/certificates.pem")
        .env("RELAY_DATA_DIR", "/nonexistent/data")
        .output()
        .unwrap()
}

fn says_what_to_install(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for said in ["no CA certificates", "ca-certificates", "SSL_CERT_FILE"] {
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_selftest_without_ca_certificates_fails_and_says_what_to_install() {
    for via in ["plain", "ohttp"] {
        let output = relay(&["selftest", "https://127.0.0.1:9", "--via", via]);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        says_what_to_install(&output.stderr);
    }
}

#[test]
fn a_doctor_without_ca_certificates_says_what_to_install() {
    let output = relay(&["doctor", "https://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(1));
    says_what_to_install(&output.stdout);
}
