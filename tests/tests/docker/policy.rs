//! What each container may do, as the engine sees it.

use relay_tests::compose::{Compose, docker};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where something is mounted, and whether it may be written to.
type Mounts = &'static [(&'static str, bool)];

/// A service, its user, and what is mounted.
const SERVICES: [(&str, &str, Mounts); 6] = [
    (
        "storaged",
        "10001:10001",
        &[
            ("/etc/relay/anchor", false),
            ("/run/relay/admin", true),
            ("/run/relay/federation", true),
            ("/run/relay/gateway", true),
            ("/var/lib/relay", true),
        ],
    ),
    ("gateway", "10002:10002", &[("/run/relay/gateway", false), ("/run/relay/peering", false)]),
    (
        "federated",
        "10003:10003",
        &[("/run/relay/federated", true), ("/run/relay/federation", false), ("/run/relay/peering", true)],
    ),
    ("oblivious", "10006:10006", &[]),
    ("front", "10005:10005", &[("/data", true)]),
    ("admin", "10001:10004", &[("/backups", true), ("/run/relay/admin", false)]),
];

fn inspect(container: &str) -> Value {
    let found: Value = serde_json::from_str(&docker(&["inspect", container])).unwrap();
    found[0].clone()
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn every_container_may_do_its_own_job_and_nothing_else() {
    let relay = Compose::lay_out(5)
        .variable("COMPOSE_PROFILES", "federation,admin,oblivious")
        .variable("OBLIVIOUS_TARGETS", "https://relay.invalid")
        .variable("RELAY_FEDERATION_ENABLED", "true")
        .variable("RELAY_FEDERATION_PEERS", "wss://relay.invalid");
    relay.compose("create");
    for (service, user, mounts) in SERVICES {
        let containers = relay.containers(service);
        assert_eq!(containers.len(), 1, "{service}");
        let container = inspect(&containers[0]);
        let host = &container["HostConfig"];
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        assert!(host["CapAdd"].is_null(), "{service}");
        assert_eq!(host["Privileged"], false, "{service}");
        assert_eq!(host["IpcMode"], "none", "{service}");
        let security = host["SecurityOpt"].to_string();
        assert!(security.contains("no-new-privileges:true") && !security.contains("unconfined"), "{service}");
        assert!((1..=256).contains(&host["PidsLimit"].as_i64().unwrap()), "{service}");
        assert!((1..=(512 << 20)).contains(&host["Memory"].as_i64().unwrap()), "{service}");
        assert!(host["Ulimits"].to_string().contains(r#""Hard":0,"Name":"core""#), "{service}");
        let found: BTreeSet<(String, bool)> = container["Mounts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|mount| (mount["Destination"].as_str().unwrap().to_owned(), mount["RW"].as_bool().unwrap()))
            .collect();
        let expected: BTreeSet<_> = mounts.iter().map(|&(path, writes)| (path.to_owned(), writes)).collect();
        assert_eq!(found, expected, "{service}");
        let image = inspect(container["Image"].as_str().unwrap());
        let runs_as = container["Config"]["User"].as_str().unwrap();
        assert_eq!(runs_as, user, "{service}");
        let labels = &image["Config"]["Labels"];
        for label in ["revision", "version", "created", "ref.name"] {
            let value = labels[format!("org.opencontainers.image.{label}")].as_str().unwrap_or_default();
            assert!(!value.is_empty() && value != "unknown", "{service}: {label}");
        }
    }
    let networks = |service: &str| {
        let container = inspect(&relay.containers(service)[0]);
        let names = container["NetworkSettings"]["Networks"].as_object().unwrap().clone();
        names.keys().map(|name| name.trim_start_matches(relay.name()).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(inspect(&relay.containers("storaged")[0])["HostConfig"]["NetworkMode"], "none");
    assert_eq!(networks("gateway"), ["_inside"]);
    assert_eq!(networks("federated"), ["_outside"]);
    assert_eq!(networks("oblivious"), ["_outer"]);
    let inside: Value =
        serde_json::from_str(&docker(&["network", "inspect", &format!("{}_inside", relay.name())])).unwrap();
    assert_eq!(inside[0]["Internal"], true);
    let published = |service: &str| {
        inspect(&relay.containers(service)[0])["HostConfig"]["PortBindings"]
            .as_object()
            .is_some_and(|ports| !ports.is_empty())
    };
    assert!(
        published("front") && !published("gateway") && !published("federated") && !published("oblivious")
    );
}

#[test]
#[ignore = "wants Docker; .ci/run runs it"]
fn an_image_holds_one_program_and_no_shell() {
    for name in ["storaged", "gateway", "federated", "oblivious", "relay"] {
        let image = format!("relay/{name}:latest");
        let container = docker(&["create", &image]);
        let listing = std::process::Command::new("sh")
            .args(["-c", &format!("docker export {container} | tar -t")])
            .output()
            .unwrap();
        docker(&["rm", &container]);
        // What the engine puts into every container by itself.
        let engine = [
            "dev/",
            "proc/",
            "sys/",
            "etc/hostname",
            "etc/hosts",
            "etc/mtab",
            "etc/resolv.conf",
            ".dockerenv",
        ];
        let listing = String::from_utf8(listing.stdout).unwrap();
        let files: Vec<&str> = listing
            .lines()
            .filter(|path| !path.ends_with('/') && !engine.iter().any(|made| path.starts_with(made)))
            .collect();
        let certificates = "etc/ssl/certs/ca-certificates.crt";
        let expected: &[&str] =
            if ["federated", "oblivious", "relay"].contains(&name) { &[certificates, name] } else { &[name] };
        assert_eq!(files, expected, "{name}");
        let health = inspect(&image)["Config"]["Healthcheck"]["Test"].clone();
        let expected = if name == "relay" {
            Value::Null
        } else {
            serde_json::json!(["CMD", format!("/{name}"), "health"])
        };
        assert_eq!(health, expected, "{name}");
    }
    let front = inspect("relay/front:latest")["Config"]["Healthcheck"]["Test"].clone();
    assert_eq!(front, serde_json::json!(["CMD", "/gateway", "health"]));
}
