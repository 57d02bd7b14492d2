//! Peers, and whether they can come.

use super::{Diagnosis, comes_to_find, doctor, doctor_at, finds_nothing, look};
use relay_tests::Cluster;
use relay_tests::federation::{Federation, peering};
use relay_tests::front::{Front, Habits};

#[tokio::test]
async fn nothing_is_wrong_with_two_relays_that_peer() {
    let pair = Federation::pair(&[]).await;
    for relay in &pair.relays {
        finds_nothing(&doctor_at(&format!("http://{}", relay.address()), None, relay)).await;
    }
}

#[tokio::test]
async fn a_federation_that_does_not_report() {
    let mut pair = Federation::pair(&[]).await;
    pair.relays[0].peer_link().kill();
    comes_to_find("federation-silent", &doctor(&pair.relays[0])).await;
}

#[tokio::test]
async fn a_peer_that_is_away() {
    let mut pair = Federation::pair(&[]).await;
    pair.relays[1].kill();
    comes_to_find("peer-unreachable", &doctor(&pair.relays[0])).await;
}

#[tokio::test]
async fn a_peer_with_another_key() {
    let listening = peering(Cluster::builder()).federated();
    let listening = listening.variable("RELAY_FEDERATION_PEERS", "ws://127.0.0.1:9").start().await;
    let pinned = format!("ws://{}#{}", listening.address(), "A".repeat(43));
    let relay =
        peering(Cluster::builder()).federated().variable("RELAY_FEDERATION_PEERS", pinned).start().await;
    comes_to_find("peer-pin", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_front_that_passes_no_websocket_on() {
    let pair = Federation::pair(&[]).await;
    let front = Front::start(pair.relays[0].address(), Habits::default()).await;
    comes_to_find("front-upgrade", &doctor_at(&front.url(), None, &pair.relays[0])).await;
}

#[tokio::test]
async fn a_relay_that_is_being_emptied_is_told_and_is_no_fault() {
    let pair = Federation::pair(&[]).await;
    let drained = pair.relays[0].command(&["drain"]).finish().await;
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    let expected = Diagnosis { codes: vec!["draining".to_owned()], exit: 0 };
    assert_eq!(look(&doctor(&pair.relays[0])).await, expected);
}
