//! Who peers with whom, and who does not.

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::{Federation, peering};
use relay_tests::ports::HeldPort;
use relay_tests::tls_front::TlsFront;
use relay_tests::{Cluster, Reply};
use serde_json::Value;
use std::fs;

/// What `relay peers --json` says.
async fn peers(relay: &Cluster) -> Value {
    let said = relay.command(&["peers", "--json"]).finish().await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap()
}

async fn key(relay: &Cluster) -> Reply {
    relay.client().raw("GET", "/federation/key", &[], "").await
}

/// Waits until a peer's row says something.
async fn trouble(relay: &Cluster, text: &str) {
    deadline::until(text, PATIENCE, async || peers(relay).await.to_string().contains(text).then_some(()))
        .await;
}

/// A relay that dials another, which need not know it.
fn dialling(relay: &Cluster, suffix: &str) -> Cluster {
    let url = format!("ws://{}{suffix}", relay.address());
    peering(Cluster::builder()).federated().variable("RELAY_FEDERATION_PEERS", url).build()
}

#[tokio::test]
async fn relays_that_name_one_another_meet_and_their_operators_see_it() {
    let federation = Federation::pair(&[]).await;
    let [one, other] = &federation.relays[..] else { panic!("two relays") };
    let told = deadline::until("both to say so", PATIENCE, async || {
        let told = (peers(one).await, peers(other).await);
        let up = |told: &Value| told["peers"][0]["link"] == "up";
        (up(&told.0) && up(&told.1)).then_some(told)
    })
    .await;
    assert_eq!(told.0["peers"][0]["identity"], told.1["identity"]);
    assert_eq!(told.1["peers"][0]["identity"], told.0["identity"]);
    let shown = key(one).await;
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("text/plain")));
    assert_eq!(shown.text(), told.0["noise_key"].as_str().unwrap());
    let ops = one.gateways[0].ops.get("/pubkey").await;
    assert_eq!(ops.text(), shown.text(), "the operator's port shows the same");
    let table = one.command(&["peers"]).finish().await.stdout;
    assert!(table.contains(&format!("ws://{}", other.address())), "{table}");
    let status = one.command(&["status"]).finish().await.stdout;
    assert!(status.contains("federation"), "{status}");
}

#[tokio::test]
async fn a_relay_without_peers_shows_no_key_and_takes_no_upgrade() {
    let relay = Cluster::builder().federated().start().await;
    key(&relay).await.refuses(404, "this relay does not peer");
    relay.client().raw("GET", "/federation", &[], "").await.refuses(404, "this relay does not peer");
    let told = peers(&relay).await;
    assert_eq!((&told["enabled"], &told["identity"]), (&Value::Bool(false), &Value::Null));
}

#[tokio::test]
async fn a_stranger_is_turned_away_until_its_identity_is_accepted() {
    let federation = Federation::pair(&[]).await;
    let mut federation = federation.relays;
    let mut stranger = dialling(&federation[0], "");
    stranger.start().await;
    trouble(&stranger, "does not accept this relay yet").await;
    federation[0].has_peers(1).await;
    let identity = peers(&stranger).await["identity"].as_str().unwrap().to_owned();

    let accepting = &mut federation[0];
    accepting.peer_link().launch.set("RELAY_FEDERATION_ACCEPT", &identity);
    accepting.peer_link().restart().await;
    stranger.has_peers(1).await;
    // The named peer is dialled, and does not get in by itself any more.
    federation[0].has_peers(2).await;
    deadline::until("the stranger among the peers", PATIENCE, async || {
        let told = peers(&federation[0]).await;
        let rows = told["peers"].as_array().unwrap();
        rows.iter().any(|row| row["identity"] == *identity && row["link"] == "up").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_peer_with_another_key_is_refused_until_the_operator_forgets_the_old_one() {
    let mut federation = Federation::pair(&[]).await;
    let url = format!("ws://{}", federation.relays[1].address());
    federation.relays[1].kill();
    // As after a new installation, or as somebody in between would be: the address is the same, the keys are others.
    fs::remove_dir_all(federation.relays[1].data()).unwrap();
    federation.relays[1].start().await;
    let [one, other] = &federation.relays[..] else { panic!("two relays") };
    trouble(one, "its key is not the one it is pinned to").await;
    trouble(other, "does not accept this relay yet").await;
    let metrics = one.peering_metrics().await;
    assert_eq!(metrics.sum("relay_federation_peers_connected"), 0.0);
    assert!(metrics.sum("relay_federation_pins_refused_total") >= 1.0);
    let said = one.federated.as_ref().unwrap().output();
    assert!(said.contains("ERROR") && said.contains("relay peers forget"), "{said}");

    let unknown = one.command(&["peers", "forget", "ws://127.0.0.1:1"]).finish().await;
    assert_eq!(unknown.code, Some(66), "{}", unknown.stderr);
    let forgotten = one.command(&["peers", "forget", &url]).finish().await;
    assert_eq!(forgotten.code, Some(0), "{}", forgotten.stderr);
    one.has_peers(1).await;
}

#[tokio::test]
async fn a_key_that_the_operator_wrote_down_is_needed_from_the_first_word() {
    let listening =
        peering(Cluster::builder()).federated().variable("RELAY_FEDERATION_PEERS", "ws://127.0.0.1:9");
    let listening = listening.start().await;
    let mut wrong = dialling(&listening, &format!("#{}", "A".repeat(43)));
    wrong.start().await;
    trouble(&wrong, "its key is not the one it is pinned to").await;
    // With the true key it gets as far as being no peer of the other's.
    let mut right = dialling(&listening, &format!("#{}", key(&listening).await.text()));
    right.start().await;
    trouble(&right, "does not accept this relay yet").await;
}

#[tokio::test]
async fn peers_may_come_to_a_port_of_federation_itself() {
    let port = HeldPort::draw();
    let mut dialler = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_PEERS", format!("ws://{}", port.address()))
        .start()
        .await;
    let identity = peers(&dialler).await["identity"].as_str().unwrap().to_owned();
    let mut relay = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_LISTEN_ADDR", port.address())
        .variable("RELAY_FEDERATION_ACCEPT", identity)
        .start()
        .await;
    dialler.peer_link().restart().await;
    dialler.has_peers(1).await;
    relay.gateways[0].kill();
    relay.has_peers(1).await;
}

#[tokio::test]
async fn a_relay_that_stops_says_goodbye_and_one_that_dies_is_missed() {
    let mut federation = Federation::pair(&[]).await;
    assert_eq!(federation.relays[1].peer_link().terminate().await, 0);
    let one = &federation.relays[0];
    one.has_peers(0).await;
    assert_eq!(one.peering_metrics().await.sum("relay_federation_drain_notices_total"), 1.0);
    federation.relays[1].start().await;
    federation.connected().await;
    federation.relays[1].kill();
    federation.relays[0].has_peers(0).await;
    let one = federation.relays[0].peering_metrics().await;
    assert_eq!(one.sum("relay_federation_drain_notices_total"), 1.0, "it had no time to say it");
    federation.relays[1].start().await;
    federation.connected().await;
}

#[tokio::test]
async fn a_relay_that_names_itself_or_nobody_says_so() {
    let mut alone = peering(Cluster::builder()).federated().build();
    alone.set("RELAY_FEDERATION_PEERS", format!("ws://{}", alone.address()));
    alone.start().await;
    trouble(&alone, "is this relay itself").await;
    let mut nobody = peering(Cluster::builder()).federated().build();
    nobody.peer_link().spawn();
    assert_eq!(nobody.peer_link().exit_code().await, 78);
    assert!(nobody.peer_link().output().contains("RELAY_FEDERATION_PEERS="));
}

#[tokio::test]
async fn a_peer_behind_tls_is_met_where_its_certificate_is_trusted_and_nowhere_else() {
    let mut far = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_PEERS", "ws://127.0.0.1:9")
        .start()
        .await;
    let front = TlsFront::start(far.address(), far.directory()).await;
    let mut near = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_PEERS", front.peer_url())
        .variable("RELAY_FEDERATION_ALLOW_CIDRS", "127.0.0.0/8,::1/128")
        .start()
        .await;
    trouble(&near, "cannot be reached").await;
    let identity = peers(&near).await["identity"].as_str().unwrap().to_owned();
    far.peer_link().launch.set("RELAY_FEDERATION_ACCEPT", identity);
    far.peer_link().restart().await;
    near.has_peers(0).await;

    // Where the system keeps the certificates that it trusts, as OpenSSL's users say it.
    near.peer_link().launch.set("SSL_CERT_FILE", front.certificate().display());
    near.peer_link().restart().await;
    near.has_peers(1).await;
    far.has_peers(1).await;
}
