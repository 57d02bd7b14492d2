//! What peers hold for a relay that knows less than they do: one that was put back to a backup, or that lost its keys with
//! its disk. And peers that say what is not true.

use super::{Mail, SMALL, has_moved};
use relay_tests::Cluster;
use relay_tests::cluster::Builder;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::{Federation, peering};
use relay_tests::fields::random_mailbox;
use relay_tests::peer::blob::mailbox_name;
use relay_tests::peer::{Blob, Body, Conduct, InMemoryPeer, Listening, OnInventory, Options, PeerKeys};
use std::fs;

fn small() -> Builder {
    SMALL.iter().fold(Cluster::builder(), |builder, (name, value)| builder.variable(name, value))
}

/// Runs the operator's command, which succeeds; returns what it says.
async fn command(relay: &Cluster, arguments: &[&str]) -> String {
    let finished = relay.command(arguments).finish().await;
    assert_eq!(finished.code, Some(0), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}

async fn until_stored(relay: &Cluster, name: &str, holds: impl Fn(u64) -> bool) -> u64 {
    deadline::until(name, PATIENCE, async || Some(relay.stored(name).await).filter(|number| holds(*number)))
        .await
}

async fn identity(relay: &Cluster) -> String {
    let peers: serde_json::Value = serde_json::from_str(&command(relay, &["peers", "--json"]).await).unwrap();
    peers["identity"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn after_a_restore_beside_two_peers_every_unacked_blob_is_fetched_at_its_origin() {
    let mut federation = Federation::start([small(), Cluster::builder(), Cluster::builder()]).await;
    let mut mail = Mail::default();
    {
        let origin = &federation.relays[0];
        for _ in 0..4 {
            mail.fill(&origin.client(), 10, 50_000).await;
        }
        has_moved(origin).await;
        command(origin, &["backup", origin.directory().join("backups").to_str().unwrap()]).await;

        // What comes after the backup moves to the peers, and so does everything else; some of it is acked there.
        let mut acked = Mail::default();
        let late = mail.fill(&origin.client(), 10, 50_000).await;
        let over = acked.fill(&origin.client(), 10, 50_000).await;
        command(origin, &["drain"]).await;
        assert!(mail.0.keys().any(|(mailbox, _)| *mailbox == late));
        for (mailbox, id) in acked.0.keys().filter(|(mailbox, _)| *mailbox == over) {
            assert!(origin.client().ack(mailbox, id).await.acknowledged());
        }
        until_stored(origin, "relay_federation_outbox_entries", |entries| entries == 0).await;
        for peer in &federation.relays[1..] {
            assert!(peer.stored("relay_federation_held_blobs").await > 0, "both hold some");
        }
    }
    let origin = &mut federation.relays[0];
    origin.kill();
    let backup = fs::read_dir(origin.directory().join("backups")).unwrap().next().unwrap().unwrap().path();
    command(origin, &["restore", "--replace", backup.to_str().unwrap()]).await;
    origin.start().await;
    federation.connected().await;
    let origin = &federation.relays[0];
    until_stored(origin, "relay_federation_claims_active", |claims| claims >= 10).await;
    // Nothing is missing, and nothing comes that was acked after the backup and lay with peers.
    mail.receive_all(&origin.client()).await;
    federation.settled().await;
    assert_eq!(federation.relays[0].stored("relay_federation_claims_active").await, 0);
    for peer in &federation.relays[1..] {
        until_stored(peer, "relay_blobs_stored", |blobs| blobs == 0).await;
    }
}

#[tokio::test]
async fn a_relay_that_lost_its_disk_has_its_mail_back_once_the_peers_operator_agrees() {
    let mut federation = Federation::pair(&SMALL).await;
    let mut mail = Mail::default();
    mail.fill(&federation.relays[0].client(), 20, 50_000).await;
    command(&federation.relays[0], &["drain"]).await;
    let old = identity(&federation.relays[0]).await;
    let lost = &mut federation.relays[0];
    lost.kill();
    fs::remove_dir_all(lost.data()).unwrap();
    let url = format!("ws://{}", lost.address());
    lost.start().await;
    let new = identity(&federation.relays[0]).await;
    assert_ne!(old, new);
    let [lost, peer] = &federation.relays[..] else { panic!("two relays") };

    // Nobody has mail of others for saying so.
    let early = peer.command(&["peers", "reassign", &old, &new]).finish().await;
    assert_eq!(early.code, Some(66), "{}", early.stderr);
    command(peer, &["peers", "forget", &url]).await;
    federation.connected().await;
    assert_eq!(lost.stored("relay_federation_claims_active").await, 0);
    let refused = peer.command(&["peers", "reassign", &new, &old]).finish().await;
    assert_eq!(refused.code, Some(66), "it is connected under that identity: {}", refused.stderr);

    let said = command(peer, &["peers", "reassign", &old, &new]).await;
    assert!(said.starts_with("20 blobs"), "{said}");
    federation.relays[0].peer_link().restart().await;
    until_stored(&federation.relays[0], "relay_federation_claims_active", |claims| claims == 20).await;
    mail.receive_all(&federation.relays[0].client()).await;
    federation.settled().await;
}

/// A relay that dials a peer which says what it holds.
async fn beside(conduct: Conduct, builder: Builder) -> (Cluster, InMemoryPeer) {
    let mut listening = Listening::start(PeerKeys::generate()).await;
    listening.greet(Options::listing());
    let peer = InMemoryPeer::listen_as(listening, conduct);
    let relay = peering(builder)
        .federated()
        .variable("RELAY_FEDERATION_PEERS", peer.url())
        .variable("RELAY_FEDERATION_PEER_TIMEOUT", "1")
        .start()
        .await;
    (relay, peer)
}

fn asked(desk: &relay_tests::peer::memory::Desk) -> usize {
    desk.heard.iter().filter(|heard| matches!(heard.body, Some(Body::Inventory(_)))).count()
}

#[tokio::test]
async fn mail_of_which_the_peer_alone_knows_is_fetched_and_acked_at_its_origin() {
    let mut listening = Listening::start(PeerKeys::generate()).await;
    listening.greet(Options::listing());
    let peer = InMemoryPeer::listen_as(listening, Conduct::default());
    let mailbox = random_mailbox();
    let blobs: Vec<Blob> =
        (0..3_u8).map(|number| Blob::new(&mailbox_name(&mailbox), &[number; 100])).collect();
    peer.look(|desk| desk.held.extend(blobs.iter().map(|blob| (blob.name(), blob.clone()))));
    let relay =
        peering(Cluster::builder()).federated().variable("RELAY_FEDERATION_PEERS", peer.url()).start().await;
    until_stored(&relay, "relay_federation_claims_active", |claims| claims == 3).await;
    let client = relay.client();
    let page = client.fetch(&[&mailbox]).await.page();
    assert_eq!(page.blobs.len(), 3);
    for blob in &page.blobs {
        assert!(client.ack(&mailbox, &blob.id).await.acknowledged());
    }
    peer.holds(0).await;
    assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
    assert_eq!(relay.stored("relay_federation_claims_active").await, 0);
}

#[tokio::test]
async fn a_peer_that_lists_without_end_costs_so_many_rows_and_no_mail() {
    let endless = Conduct { inventory: OnInventory::Endless, ..Conduct::default() };
    let (relay, peer) =
        beside(endless, Cluster::builder().variable("RELAY_MAX_STORAGE_BYTES", "16777216")).await;
    // Half of what fits beside the mail.
    until_stored(&relay, "relay_federation_claims_active", |claims| claims == 2048).await;
    let seen = peer.look(|desk| asked(desk));
    peer.until("more questions", |desk| (asked(desk) > seen + 4).then_some(())).await;
    assert_eq!(relay.stored("relay_federation_claims_active").await, 2048);
    let mut mail = Mail::default();
    mail.fill(&relay.client(), 10, 1000).await;
    mail.receive_all(&relay.client()).await;
}

#[tokio::test]
async fn whatever_a_peer_says_of_what_it_holds_costs_no_mail() {
    for conduct in [
        OnInventory::Silent,
        OnInventory::NotNow,
        OnInventory::Circles,
        OnInventory::TooMany,
        OnInventory::AnotherKind,
    ] {
        let (relay, peer) = beside(Conduct { inventory: conduct, ..Conduct::default() }, small()).await;
        peer.until("to be asked", |desk| (asked(desk) > 0).then_some(())).await;
        let mut mail = Mail::default();
        mail.fill(&relay.client(), 24, 50_000).await;
        mail.receive_all(&relay.client()).await;
        assert_eq!(relay.stored("relay_federation_claims_active").await, 0);
        eprintln!("{conduct:?}: all there");
    }
}

#[tokio::test]
async fn a_peer_of_an_older_version_is_not_asked_what_it_holds() {
    let peer = InMemoryPeer::listen(PeerKeys::generate(), Conduct::default()).await;
    let relay = peering(small()).federated().variable("RELAY_FEDERATION_PEERS", peer.url()).start().await;
    let mut mail = Mail::default();
    mail.fill(&relay.client(), 24, 50_000).await;
    has_moved(&relay).await;
    mail.receive_all(&relay.client()).await;
    peer.holds(0).await;
    assert_eq!(peer.look(|desk| asked(desk)), 0);
}
