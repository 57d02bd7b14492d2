//! Peers whose clocks are wrong: no mail moves, and everybody is told why.

use super::{Mail, SMALL, has_moved};
use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE, unix_now};
use relay_tests::federation::peering;
use relay_tests::peer::message::{Names, Offload};
use relay_tests::peer::{About, Blob, Body, Conduct, Greeting, InMemoryPeer, Listening, Options, PeerKeys};
use serde_json::Value;
use std::net::Ipv4Addr;

const NOT_NOW: i32 = 3;

/// A peer that waits to be dialled, and whose clock is so many seconds ahead.
async fn ahead_by(seconds: i64) -> InMemoryPeer {
    let about =
        Some(About { unix_time: unix_now().saturating_add_signed(seconds), ..About::default_of_a_peer() });
    let options = Options::greeting(Greeting { about, ..Greeting::default() });
    let listening = Listening::start_on((Ipv4Addr::LOCALHOST, 0).into(), PeerKeys::generate(), options).await;
    InMemoryPeer::listen_as(listening, Conduct::default())
}

async fn shown(relay: &Cluster, peer: &InMemoryPeer) -> Value {
    let finished = relay.command(&["peers", "--json"]).finish().await;
    let told: Value = serde_json::from_str(&finished.stdout).unwrap();
    told["peers"].as_array().unwrap().iter().find(|row| row["url"] == peer.url()).unwrap().clone()
}

#[tokio::test]
async fn nothing_is_offered_to_a_peer_whose_clock_is_apart_nor_taken_from_it_and_the_operator_sees_why() {
    let (early, late, right) = (ahead_by(6 * 3600).await, ahead_by(-400).await, ahead_by(0).await);
    let urls = [&early, &late, &right].map(InMemoryPeer::url).join(",");
    let builder = SMALL.into_iter().fold(Cluster::builder(), |all, (name, value)| all.variable(name, value));
    let relay = peering(builder).federated().variable("RELAY_FEDERATION_PEERS", urls).start().await;
    relay.has_peers(3).await;
    let mut mail = Mail::default();
    mail.fill(&relay.client(), 60, 50_000).await;
    has_moved(&relay).await;
    assert!(!right.blobs().is_empty());
    for apart in [&early, &late] {
        assert!(apart.blobs().is_empty(), "mail was offered to a peer with another time");
        for home in [false, true] {
            let offer = Body::Offload(Offload { blobs: vec![Blob::random(100)], home });
            let Body::OffloadAck(ack) = apart.ask(offer).await else { panic!("no verdicts") };
            assert_eq!(ack.verdicts, [NOT_NOW]);
        }
        assert!(apart.forget(vec![Blob::random(100).name()]).await, "deletions go on");
        let recall = Body::Recall(Names { names: vec![Blob::random(100).name()] });
        assert!(matches!(apart.ask(recall).await, Body::RecallAck(_)));
        let row = shown(&relay, apart).await;
        assert_eq!(row["link"], "up");
        assert!(row["trouble"].as_str().unwrap().contains("more than 5 minutes apart"), "{row}");
    }
    let ahead = shown(&relay, &early).await["clock_ahead_seconds"].as_i64().unwrap();
    assert!((21_000..=21_600).contains(&ahead), "{ahead}");
    assert_eq!(shown(&relay, &right).await["trouble"], Value::Null);
    deadline::until("the two to be counted", PATIENCE, async || {
        let metrics = relay.peering_metrics().await;
        (metrics.sum("relay_federation_peers_clock_apart") == 2.0).then_some(())
    })
    .await;
    mail.receive_all(&relay.client()).await;
}
