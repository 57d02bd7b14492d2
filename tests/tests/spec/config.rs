//! Configuration: what does not make sense stops a process at once, with everything an operator needs to mend it.

use relay_tests::binaries::Program;
use relay_tests::process::{Finished, Launch};
use std::path::Path;
use tempfile::TempDir;

const DAEMONS: [Program; 3] = [Program::Storaged, Program::Gateway, Program::Federated];

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("relay-").tempdir_in("/tmp").unwrap()
}

async fn start(program: Program, directory: &Path, variables: &[(&str, &str)]) -> Finished {
    let mut launch = Launch::new(program, directory);
    for (name, value) in variables {
        launch.set(name, value);
    }
    launch.finish().await
}

#[track_caller]
fn names(refusal: &Finished, words: &[&str]) {
    assert_eq!(refusal.code, Some(78), "{}", refusal.stderr);
    for word in words {
        assert!(refusal.stderr.contains(word), "no {word:?} in: {}", refusal.stderr);
    }
}

#[tokio::test]
async fn a_value_that_does_not_parse_is_named_with_an_example() {
    for (program, name, value, expected, example) in [
        (Program::Gateway, "RELAY_LISTEN_ADDR", "localhost", "address", "127.0.0.1:8080"),
        (Program::Gateway, "RELAY_METRICS_ADDR", ":8081", "address", "127.0.0.1:8081"),
        (Program::Gateway, "RELAY_MAX_CONNECTIONS", "0", "number", "1000"),
        (Program::Gateway, "RELAY_ADDR_MAX_CONNECTIONS", "0", "number", "64"),
        (Program::Gateway, "RELAY_TRUSTED_PROXIES", "10.0.0.0/99", "CIDR", "10.0.0.0/8"),
        (Program::Gateway, "RELAY_TLS_VERIFIED", "yes", "true or false", "true"),
        (Program::Storaged, "RELAY_RATE_LIMIT", "many", "number", "60"),
        (Program::Storaged, "RELAY_BLOB_TTL_SECS", "-1", "number", "10368000"),
        (Program::Storaged, "RELAY_STORAGE_BACKEND", "postgres", "sqlite or memory", "sqlite"),
        (Program::Storaged, "RELAY_MAX_STORAGE_BYTES", "1 GiB", "number", "1073741824"),
        (Program::Storaged, "RELAY_MIN_VERSION", "65536", "number", "2"),
        (Program::Federated, "RELAY_HANG_TIMEOUT", "2", "number from 3 to 3600", "30"),
        (Program::Storaged, "RELAY_OHTTP_KEY_ROTATION_HOURS", "12", "clients refuse a key", "24"),
    ] {
        let directory = directory();
        let refusal = start(program, directory.path(), &[(name, value)]).await;
        names(&refusal, &[&format!("{name}={value}"), expected, &format!("{name}={example}")]);
    }
}

#[tokio::test]
async fn all_mistakes_come_in_one_report() {
    for program in DAEMONS {
        let directory = directory();
        let mistakes =
            [("RELAY_LOG_FORMAT", "xml"), ("RELAY_RATE_LIMITS", "5"), ("RELAY_SOKET_DIR", "/tmp/x")];
        let refusal = start(program, directory.path(), &mistakes).await;
        names(&refusal, &["RELAY_LOG_FORMAT=xml", "RELAY_RATE_LIMITS", "RELAY_SOKET_DIR"]);
    }
}

#[tokio::test]
async fn an_unknown_name_gets_the_nearest_known_one() {
    for program in DAEMONS {
        let directory = directory();
        let refusal =
            start(program, directory.path(), &[("RELAY_RATE_LIMTI", "5"), ("RELAY_DATADIR", "x")]).await;
        names(&refusal, &["RELAY_RATE_LIMTI", "RELAY_RATE_LIMIT?", "RELAY_DATADIR", "RELAY_DATA_DIR?"]);
    }
}

#[tokio::test]
async fn a_refused_configuration_touches_nothing() {
    let directory = directory();
    let data = directory.path().join("data");
    let variables = [("RELAY_DATA_DIR", data.to_str().unwrap()), ("RELAY_RATE_LIMIT", "0")];
    names(&start(Program::Storaged, directory.path(), &variables).await, &["RELAY_RATE_LIMIT=0"]);
    assert!(!data.exists());
}

#[tokio::test]
async fn a_gateway_serves_strangers_only_behind_tls() {
    let directory = directory();
    let refusal = start(Program::Gateway, directory.path(), &[]).await;
    names(&refusal, &["RELAY_TLS_VERIFIED", "RELAY_LISTEN_ADDR", "0.0.0.0:8080"]);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let refusal = start(Program::Gateway, directory.path(), &[("RELAY_LISTEN_ADDR", address)]).await;
        names(&refusal, &["RELAY_TLS_VERIFIED=true", address]);
    }
    // With the operator's word it goes on, and finds that this machine has no such address.
    let word = [
        ("RELAY_LISTEN_ADDR", "192.0.2.1:8080"),
        ("RELAY_TLS_VERIFIED", "true"),
        ("RELAY_METRICS_ADDR", "127.0.0.1:0"),
    ];
    let refusal = start(Program::Gateway, directory.path(), &word).await;
    assert_eq!(refusal.code, Some(69), "{}", refusal.stderr);
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_explained() {
    let directory = directory();
    let long = directory.path().join("x".repeat(100));
    for program in [Program::Storaged, Program::Gateway] {
        let mut variables = vec![("RELAY_SOCKET_DIR", long.to_str().unwrap())];
        if program == Program::Gateway {
            variables.extend([("RELAY_LISTEN_ADDR", "127.0.0.1:0"), ("RELAY_METRICS_ADDR", "127.0.0.1:0")]);
        }
        names(&start(program, directory.path(), &variables).await, &["RELAY_SOCKET_DIR", "107"]);
    }
}

#[tokio::test]
async fn relay_up_reports_like_the_daemons() {
    let directory = directory();
    let launch = Launch::new(Program::Relay, directory.path())
        .arguments(&["up"])
        .variable("RELAY_RATE_LIMIT", "many")
        .variable("RELAY_GATEWAYS", "none")
        .variable("RELAY_DATADIR", "x");
    names(&launch.finish().await, &["RELAY_RATE_LIMIT=many", "RELAY_GATEWAYS=none", "RELAY_DATA_DIR?"]);
    assert!(!directory.path().join("data").exists());
}
