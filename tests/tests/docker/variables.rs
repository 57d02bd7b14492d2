//! What an operator can set, against what reaches the processes under Docker Compose.

use relay_tests::binaries;
use std::collections::BTreeSet;
use std::fs;

/// Why the outer relay's variables reach no container.
const OUTER: &str = "the outer relay is not among these containers";

/// Variables that are not for the operator of these containers to set, and why.
const FIXED: [(&str, &str); 17] = [
    ("RELAY_DATA_DIR", "the images have it, and the volume is there"),
    ("RELAY_SOCKET_DIR", "the volumes are there"),
    ("RELAY_SOCKET_UIDS", "the images have the users"),
    ("RELAY_LISTEN_ADDR", "the front expects the port"),
    ("RELAY_METRICS_ADDR", "health checks expect the port"),
    ("RELAY_TLS_VERIFIED", "the front ends TLS"),
    ("RELAY_TRUSTED_PROXIES", "the front's network: RELAY_SUBNET"),
    ("RELAY_GATEWAYS", "it is for `relay up`; here it is `--scale`"),
    ("RELAY_FEDERATION_LISTEN_ADDR", "peers come by the front"),
    ("OBLIVIOUS_TARGETS", OUTER),
    ("OBLIVIOUS_ORIGIN", OUTER),
    ("OBLIVIOUS_LISTEN_ADDR", OUTER),
    ("OBLIVIOUS_METRICS_ADDR", OUTER),
    ("OBLIVIOUS_ALLOW_HTTP", OUTER),
    ("OBLIVIOUS_ADDR_RATE_LIMIT", OUTER),
    ("OBLIVIOUS_TARGET_RATE_LIMIT", OUTER),
    ("OBLIVIOUS_TARGET_TIMEOUT", OUTER),
];

fn project_file(path: &str) -> String {
    fs::read_to_string(binaries::workspace().join(path)).unwrap()
}

#[test]
fn every_variable_reaches_the_containers_or_is_fixed_for_a_reason() {
    let reference = project_file("deploy/REFERENCE.md");
    let (_, table) = reference.split_once("<!-- generated: variables -->").unwrap();
    let (table, _) = table.split_once("<!-- end -->").unwrap();
    let known: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let fixed: BTreeSet<&str> = FIXED.iter().map(|(name, _)| *name).collect();
    let compose = project_file("compose.yaml");
    let passed: BTreeSet<&str> = known
        .iter()
        .copied()
        .filter(|name| compose.contains(&format!("${{{name}:-")) || compose.contains(&format!("${{{name}:+")))
        .collect();
    assert!(known.len() > 40, "REFERENCE.md has no table of variables");
    assert_eq!(known.difference(&passed).copied().collect::<BTreeSet<_>>(), fixed);
}

#[test]
fn the_example_environment_names_only_what_compose_reads() {
    let compose = project_file("compose.yaml");
    for line in project_file(".env.example").lines().filter_map(|line| line.strip_prefix('#')) {
        let Some((name, _)) = line.split_once('=') else { continue };
        let is_a_variable = name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
        if is_a_variable && name != "COMPOSE_PROFILES" {
            assert!(compose.contains(&format!("${{{name}:")), "{name}");
        }
    }
}
