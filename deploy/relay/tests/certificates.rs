//! On a machine without CA certificates no TLS certificate can be checked, and the command says so.

use std::process::Command;

#[test]
fn a_selftest_without_ca_certificates_fails_and_says_what_to_install() {
    for via in ["plain", "ohttp"] {
        let output = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["selftest", "https://127.0.0.1:9", "--via", via])
            // Where these are set, nothing else on the machine is read.
            .env("SSL_CERT_FILE", "/nonexistent/certificates.pem")
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for said in ["no CA certificates", "ca-certificates", "SSL_CERT_FILE"] {
            assert!(errors.contains(said), "{errors}");
        }
        assert!(output.stdout.is_empty() && errors.lines().count() == 1, "{errors}");
    }
}
