//! What strangers who ask to be peers, and peers themselves, cost others.

use crate::federation::Mail;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::{Federation, accepting, peering};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::honest::address;
use relay_tests::peer::{Dialled, Options, PeerKeys};
use relay_tests::{Client, Cluster};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// Sockets that a stranger keeps open and says nothing on; more than may arrive at once.
const SILENT: usize = 18;

/// Opens a WebSocket as a peer does, waits for its end in silence, and comes again, for ever.
async fn is_silent(relay: SocketAddr, options: Options) {
    loop {
        if let Ok(mut socket) = Dialled::socket(relay, &options).await {
            drop(socket.reader.binary().await);
        }
        // Refused: it tries as often as its address may ask.
        deadline::pace(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn silent_sockets_of_one_address_keep_no_peer_out() {
    let keys = PeerKeys::generate();
    let relay = accepting(&keys).start().await;
    let hostile = Options { source: Some(address(200)), ..Options::default() };
    let mut silent = JoinSet::new();
    for _ in 0..SILENT {
        silent.spawn(is_silent(relay.address(), hostile.clone()));
    }
    for _ in 0..30 {
        let channel = Dialled::connect(relay.address(), &keys, &Options::default()).await;
        relay.has_peers(1).await;
        drop(channel);
        relay.has_peers(0).await;
    }
    silent.abort_all();
}

#[tokio::test]
async fn silent_sockets_of_several_addresses_keep_no_peer_out() {
    let keys = PeerKeys::generate();
    let relay = accepting(&keys).variable("RELAY_ADDR_RATE_LIMIT", 600).start().await;
    let mut silent = JoinSet::new();
    for number in 0..SILENT * 2 {
        let source = Some(address(200 + (number % 4) as u8));
        silent.spawn(is_silent(relay.address(), Options { source, ..Options::default() }));
    }
    for _ in 0..5 {
        // As a relay does that dials, it comes again.
        let channel = deadline::until("a peer that gets in", PATIENCE, async || {
            Dialled::attempt(relay.address(), &keys, &Options::default()).await.ok()
        })
        .await;
        relay.has_peers(1).await;
        drop(channel);
        relay.has_peers(0).await;
    }
    silent.abort_all();
}

/// Bytes that each relay may take.
const CEILING: usize = 16 << 20;

/// Sends blobs of 48 KiB to mailboxes of its own until so many bytes are there, or the relay has refused for a while.
async fn fill(client: &Client, bytes: usize) -> (Mail, usize) {
    let (mut mail, mut refused, mut mailbox) = (Mail::default(), 0, String::new());
    for number in 0..bytes.div_ceil(BLOB) {
        if number % 64 == 0 {
            mailbox = random_mailbox();
        }
        let blob = random_bytes(BLOB);
        loop {
            let reply = client.send(&mailbox, &blob).await;
            if reply.status != 507 {
                mail.0.insert((mailbox.clone(), reply.blob_id()), blob);
                break;
            }
            refused += 1;
            if refused > 50 {
                return (mail, refused);
            }
            deadline::pace(Duration::from_millis(100)).await;
        }
    }
    (mail, refused)
}

/// Bytes of one blob.
const BLOB: usize = 48 << 10;

#[tokio::test]
async fn a_peers_overflow_leaves_a_relay_room_for_its_own_clients() {
    let federation = Federation::pair(&[("RELAY_MAX_STORAGE_BYTES", &CEILING.to_string())]).await;
    let [own, full] = &federation.relays[..] else { panic!("two relays") };
    let (mut theirs, refused) = fill(&full.client(), 2 * CEILING).await;
    assert!(refused > 50, "the other relay is full, and this one takes no more of its mail");
    assert!(own.stored("relay_federation_held_blobs").await > 100);
    let (mut mine, refused) = fill(&own.client(), CEILING / 3).await;
    assert_eq!(refused, 0, "own mail was refused");
    mine.receive_all(&own.client()).await;
    theirs.receive_all(&full.client()).await;
}

#[tokio::test]
async fn mail_of_peers_goes_home_where_a_relays_own_needs_the_room() {
    let small = || peering(Cluster::builder()).variable("RELAY_MAX_STORAGE_BYTES", CEILING);
    let eager = small().variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.1");
    let federation = Federation::start([small(), eager]).await;
    let [own, eager] = &federation.relays[..] else { panic!("two relays") };
    let (mut theirs, _) = fill(&eager.client(), CEILING / 2).await;
    let held = deadline::until("mail at the peer", PATIENCE, async || {
        let held = own.stored("relay_federation_held_blobs").await;
        (held > 100).then_some(held)
    })
    .await;
    // More than the half that is always its own: for a moment it may be too much at once.
    let (mut mine, _) = fill(&own.client(), CEILING / 8 * 5).await;
    assert_eq!(mine.0.len(), (CEILING / 8 * 5).div_ceil(BLOB), "own mail was refused for good");
    assert!(own.stored("relay_federation_held_blobs").await < held, "some of it went home");
    mine.receive_all(&own.client()).await;
    theirs.receive_all(&eager.client()).await;
}
