//! A peer in another language, over other libraries: what the two agree on is what the document says.

use super::{Mail, SMALL, has_moved};
use relay_tests::Cluster;
use relay_tests::federation::{accepting, peering};
use relay_tests::interop::{WaitingPeer, program, python_for_peers, run};
use relay_tests::peer::PeerKeys;
use serde_json::Value;

#[tokio::test]
async fn a_peer_of_another_make_leaves_mail_and_gets_it_back() {
    let Some(python) = python_for_peers() else { return };
    let keys = PeerKeys::generate();
    let relay = accepting(&keys).start().await;
    let visit = |identity: [u8; 32]| {
        let mut command = program(&python, "peer.py");
        command.args(["--identity", &hex::encode(identity)]).arg(format!("ws://{}", relay.address()));
        run(command)
    };
    let output = visit(keys.identity_private()).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["offloaded"], &said["recalled"], &said["forgotten"]),
        (&4.into(), &4.into(), &4.into())
    );
    assert_eq!(relay.stored("relay_blobs_stored").await, 0);
    // One of them was offered twice.
    assert_eq!(relay.peering_metrics().await.sum("relay_federation_offloads_received_total"), 5.0);

    let stranger = visit(PeerKeys::generate().identity_private()).await;
    assert_eq!(stranger.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&stranger.stdout).unwrap();
    assert!(said["what"].as_str().unwrap().starts_with("Ended"), "{said}");
}

#[tokio::test]
async fn a_peer_of_another_make_holds_mail_that_clients_receive_through_its_origin() {
    let Some(python) = python_for_peers() else { return };
    let mut other = WaitingPeer::start(&python, "/below");
    let listening = other.event("listening").await;
    let url = format!("{}#{}", listening["url"].as_str().unwrap(), listening["key"].as_str().unwrap());
    let builder = SMALL.into_iter().fold(Cluster::builder(), |all, (name, value)| all.variable(name, value));
    let relay = peering(builder).federated().variable("RELAY_FEDERATION_PEERS", url).start().await;
    other.event("greeted").await;
    let client = relay.client();
    let mut mail = Mail::default();
    mail.fill(&client, 30, 50_000).await;
    has_moved(&relay).await;
    mail.receive_all(&client).await;
    relay_tests::deadline::until("all of it to be told", relay_tests::deadline::PATIENCE, async || {
        (relay.stored("relay_federation_outbox_entries").await == 0).then_some(())
    })
    .await;
}
