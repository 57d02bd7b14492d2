//! Emptying a relay into its peers.

use super::{Mail, SMALL, has_moved};
use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::{Federation, peering};

#[tokio::test]
async fn an_emptied_relay_gives_back_what_it_held_and_moves_its_own() {
    let mut federation = Federation::pair(&SMALL).await;
    let (mut mine, mut theirs) = (Mail::default(), Mail::default());
    theirs.fill(&federation.relays[1].client(), 30, 50_000).await;
    let held = has_moved(&federation.relays[1]).await;
    mine.fill(&federation.relays[0].client(), 10, 20_000).await;
    // The peer has room again only where it does not move its mail back at once.
    federation.relays[1].peer_link().launch.set("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.9");
    federation.relays[1].peer_link().restart().await;
    federation.connected().await;
    let [leaving, staying] = &federation.relays[..] else { panic!("two relays") };
    assert_eq!(leaving.stored("relay_federation_held_blobs").await, held);

    let said = leaving.command(&["drain"]).finish().await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(leaving.stored("relay_blobs_stored").await, 0);
    assert_eq!(staying.stored("relay_federation_hints_active").await, 0, "what was theirs is home");
    assert_eq!(staying.stored("relay_federation_held_blobs").await, 10);
    assert!(staying.peering_metrics().await.sum("relay_federation_drain_notices_total") >= 1.0);

    // Clients notice nothing, on either relay.
    mine.receive_all(&leaving.client()).await;
    theirs.receive_all(&staying.client()).await;
    federation.settled().await;
}

#[tokio::test]
async fn emptying_goes_on_after_a_restart_until_it_is_stopped() {
    let mut federation = Federation::pair(&[("RELAY_FEDERATION_DRAIN_TIMEOUT", "1")]).await;
    let mut mail = Mail::default();
    mail.fill(&federation.relays[0].client(), 10, 20_000).await;
    // The peer is up and has no room: nothing moves, and the order stands.
    for relay in &mut federation.relays[1..] {
        relay.kill();
        relay.set("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.001");
        relay.set("RELAY_FEDERATION_OFFLOAD_REFUSE", "0.002");
        relay.set("RELAY_MAX_STORAGE_BYTES", "1048576");
        relay.start().await;
    }
    federation.connected().await;
    let said = federation.relays[0].command(&["drain"]).finish().await;
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    federation.relays[0].kill();
    federation.relays[0].start().await;
    federation.relays[1].kill();
    for name in
        ["RELAY_FEDERATION_OFFLOAD_THRESHOLD", "RELAY_FEDERATION_OFFLOAD_REFUSE", "RELAY_MAX_STORAGE_BYTES"]
    {
        federation.relays[1].unset(name);
    }
    federation.relays[1].start().await;
    deadline::until("an empty relay", PATIENCE, async || {
        (federation.relays[0].stored("relay_blobs_stored").await == 0).then_some(())
    })
    .await;
    let [leaving, staying] = &federation.relays[..] else { panic!("two relays") };
    assert_eq!(staying.stored("relay_federation_held_blobs").await, 10);

    let stopped = leaving.command(&["drain", "--stop"]).finish().await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    mail.fill(&leaving.client(), 1, 1000).await;
    mail.receive_all(&leaving.client()).await;
}

#[tokio::test]
async fn nothing_is_emptied_without_a_peer_to_take_it() {
    let alone = Cluster::builder().federated().start().await;
    let said = alone.command(&["drain"]).finish().await;
    assert_eq!(said.code, Some(69), "{}", said.stderr);
    let lonely = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_PEERS", "ws://127.0.0.1:9")
        .start()
        .await;
    let said = lonely.command(&["drain"]).finish().await;
    assert_eq!(said.code, Some(69), "{}", said.stderr);
}

#[tokio::test]
async fn mail_that_would_outlast_the_peers_time_stays_and_that_is_said() {
    let brief = Cluster::builder().variable("RELAY_BLOB_TTL_SECS", 14_400);
    let mut federation = Federation::build([Cluster::builder().variable("RELAY_BLOB_TTL_SECS", 7200), brief]);
    for relay in &mut federation.relays {
        relay.set("RELAY_FEDERATION_DRAIN_TIMEOUT", 1);
        relay.start().await;
    }
    federation.connected().await;
    let mut mail = Mail::default();
    mail.fill(&federation.relays[0].client(), 5, 1000).await;
    federation.relays[0].kill();
    federation.relays[0].unset("RELAY_BLOB_TTL_SECS");
    federation.relays[0].start().await;
    federation.connected().await;
    let [leaving, staying] = &federation.relays[..] else { panic!("two relays") };
    mail.fill(&leaving.client(), 5, 1000).await;
    let shown = leaving.command(&["peers"]).finish().await.stdout;
    assert!(shown.contains("keeps mail for 4 h 0 min, and this relay for 120 d 0 h"), "{shown}");

    // What fits moves; what does not stays, and loses none of its time.
    deadline::until("half of it to move, and the reason for the other half", PATIENCE, async || {
        let said = leaving.command(&["drain"]).finish().await;
        assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
        let moved = staying.stored("relay_federation_held_blobs").await;
        (moved == 5 && said.stderr.contains("5 of them would outlast")).then_some(())
    })
    .await;
    assert_eq!(leaving.stored("relay_blobs_stored").await, 5);
    mail.receive_all(&leaving.client()).await;
    federation.settled().await;
}
