//! What an operator can set, against what reaches the processes under Docker Compose.

use relay_tests::binaries;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Variables that are not for the operator of these containers to set, and why.
const FIXED: [(&str, &str); 11] = [
    ("RELAY_DATA_DIR", "the images have it, and the volume is there"),
    ("RELAY_SOCKET_DIR", "the volumes are there"),
    ("RELAY_SOCKET_UIDS", "the images have the users"),
    ("RELAY_LISTEN_ADDR", "the front expects the port"),
    ("RELAY_METRICS_ADDR", "health checks expect the port"),
    ("RELAY_TLS_VERIFIED", "the front ends TLS"),
    ("RELAY_TRUSTED_PROXIES", "the front's network: RELAY_SUBNET"),
    ("RELAY_GATEWAYS", "it is for `relay up`; here it is `--scale`"),
    ("RELAY_FEDERATION_LISTEN_ADDR", "peers come by the front"),
    ("OBLIVIOUS_LISTEN_ADDR", "the front expects the port"),
    ("OBLIVIOUS_METRICS_ADDR", "health checks expect the port"),
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

/// The services of compose.yaml with their lines.
fn services(compose: &str) -> BTreeMap<&str, &str> {
    let (_, rest) = compose.split_once("\nservices:\n").unwrap();
    let (services, _) = rest.split_once("\nnetworks:\n").unwrap();
    let is_a_name =
        |line: &str| line.strip_prefix("  ").is_some_and(|name| name.starts_with(char::is_alphabetic));
    let starts: Vec<usize> = services
        .match_indices('\n')
        .map(|(end, _)| end + 1)
        .chain([0])
        .filter(|&start| services[start..].lines().next().is_some_and(is_a_name))
        .collect();
    let ends = |start| starts.iter().copied().filter(|&next| next > start).min().unwrap_or(services.len());
    let service = |&start: &usize| services[start..ends(start)].trim_start().split_once(":\n");
    starts.iter().filter_map(service).collect()
}

#[test]
fn the_outer_relay_runs_by_its_profile_alone_and_shares_only_the_front_with_this_relay() {
    let compose = project_file("compose.yaml");
    let services = services(&compose);
    let outer = services["oblivious"];
    for line in ["<<: *hardened", "profiles: [oblivious]", "networks: [outer]"] {
        assert!(outer.lines().any(|found| found.trim() == line), "no {line}");
    }
    for more in ["volumes:", "ports:", "cap_add:", "depends_on:", "*variables"] {
        assert!(!outer.contains(more), "{more}");
    }
    let on_its_network = services.iter().filter(|(_, lines)| {
        lines.lines().any(|line| line.trim().starts_with("networks: [") && line.contains("outer"))
    });
    assert_eq!(on_its_network.map(|(name, _)| *name).collect::<Vec<_>>(), ["front", "oblivious"]);
    let needs_it = services.values().any(|lines| {
        lines.lines().any(|line| line.trim().starts_with("depends_on:") && line.contains("oblivious"))
    });
    assert!(!needs_it, "a relay without the profile would not start");
}
