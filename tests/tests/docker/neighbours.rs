//! Two relays on one engine that peer with one another, each as its operator has it: by name, over TLS, by way of the
//! other's front.

use relay_tests::compose::Compose;
use relay_tests::deadline::{self, PATIENCE};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

/// Where the front of the far one is.
const FAR: &str = "far.relay.local";

fn relay(number: u8) -> Compose {
    Compose::lay_out(number)
        .variable("COMPOSE_PROFILES", "federation")
        .variable("RELAY_FEDERATION_ENABLED", "true")
        .variable("RELAY_FEDERATION_ALLOW_CIDRS", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16")
        .variable("RELAY_FEDERATION_CAPACITY_INTERVAL", 1)
}

/// What the operator is told of peers.
fn peers(relay: &Compose) -> Value {
    serde_json::from_str(&relay.compose("run --rm admin peers --json")).unwrap()
}

/// Waits until a relay shows its only peer as connected.
async fn is_connected(relay: &Compose, whose: &str) {
    let mut shown = Value::Null;
    let seen = deadline::within(PATIENCE, async || {
        shown = peers(relay);
        let peers = shown["peers"].as_array()?;
        peers.iter().any(|peer| peer["link"] == "up").then_some(())
    })
    .await;
    assert!(seen.is_some(), "{whose}: {shown}\n{}", relay.compose("logs federated"));
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn relays_peer_by_name_over_tls_by_way_of_their_fronts() {
    // Certificates for the name come from the front's own authority, as do those for localhost.
    let mut far = relay(8)
        .variable("RELAY_DOMAIN", format!("localhost, {FAR}"))
        .variable("RELAY_FEDERATION_PEERS", "wss://relay.invalid");
    far.changed_by(&format!("services: {{front: {{networks: {{outside: {{aliases: [{FAR}]}}}}}}}}\n"));
    far.up("--wait").await;
    // It is read by the other relay's federated.
    fs::set_permissions(far.authority(), Permissions::from_mode(0o644)).unwrap();
    let near = relay(9).variable("RELAY_FEDERATION_PEERS", format!("wss://{FAR}:8443"));
    near.changed_by(&format!(
        "services:\n  federated:\n    networks: [outside, far]\n    environment: {{SSL_CERT_FILE: /root.crt}}\n    \
         volumes: [\"{}:/root.crt:ro\"]\nnetworks:\n  far: {{name: {}_outside, external: true}}\n",
        far.authority().display(),
        far.name(),
    ));
    near.up("--wait").await;

    // The near one has proved who it is, and the far one's operator takes it.
    let identity = peers(&near)["identity"].as_str().unwrap().to_owned();
    far.set("RELAY_FEDERATION_ACCEPT", identity);
    far.compose("up -d --wait --no-deps federated");
    is_connected(&near, "near").await;
    is_connected(&far, "far").await;
}
