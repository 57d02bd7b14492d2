//! More mail than one relay can hold.

use super::Mail;
use relay_tests::deadline::{self, PATIENCE, pace};
use relay_tests::federation::Federation;
use relay_tests::fields::{random_bytes, random_mailbox, send_fields};
use relay_tests::{Action, Client, Cluster};
use std::time::{Duration, Instant};

/// Bytes that each relay may take, and bytes of mail that go to one of them, of which the other one takes no more than
/// half of its own store.
const CEILING: usize = 64 << 20;
const MAIL: usize = 76 << 20;

/// Clients at once, and mailboxes of each.
const CLIENTS: usize = 8;
const MAILBOXES: usize = 12;

/// What one client was answered.
struct Sent {
    mail: Mail,
    /// How often it was told that the relay is full, and tried again.
    repeats: usize,
}

/// Sends its part. A full relay says so, and a client waits and tries again.
async fn send(client: &Client, seed: usize) -> Sent {
    let mailboxes: Vec<String> = (0..MAILBOXES).map(|_| random_mailbox()).collect();
    let mut sent = Sent { mail: Mail::default(), repeats: 0 };
    let (mut bytes, mut turn) = (0, seed);
    while bytes < MAIL / CLIENTS {
        // 1 to 64 KiB, every size as likely as any other.
        turn += 1;
        let length = 1024 + (turn * 40_503) % (63 * 1024 + 1);
        let (mailbox, blob) = (&mailboxes[turn % MAILBOXES], random_bytes(length));
        let began = Instant::now();
        let id = loop {
            let reply = client.call(Action::Send, &send_fields(mailbox, &blob)).await;
            if reply.status != 507 {
                break reply.blob_id();
            }
            reply.refuses(507, "quota exceeded: relay storage is full");
            sent.repeats += 1;
            assert!(began.elapsed() < PATIENCE, "the relay stays full");
            pace(Duration::from_millis(100)).await;
        };
        sent.mail.0.insert((mailbox.clone(), id), blob);
        bytes += length;
    }
    sent
}

async fn is_empty(relay: &Cluster) -> bool {
    relay.stored("relay_blobs_stored").await == 0
}

#[tokio::test]
async fn two_relays_hold_more_than_one_and_lose_nothing() {
    let federation = Federation::pair(&[("RELAY_MAX_STORAGE_BYTES", &CEILING.to_string())]).await;
    let [origin, peer] = &federation.relays[..] else { panic!("two relays") };
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..CLIENTS {
        let client = origin.client();
        tasks.spawn(async move { send(&client, seed * 1000).await });
    }
    let sent = tasks.join_all().await;
    let repeats: usize = sent.iter().map(|sent| sent.repeats).sum();
    let blobs: usize = sent.iter().map(|sent| sent.mail.0.len()).sum();
    let moved = origin.stored("relay_federation_hints_active").await;
    eprintln!("{blobs} blobs sent in {:?}, {repeats} times repeated, {moved} moved by then", began.elapsed());
    assert!(peer.stored("relay_federation_held_blobs").await > 0, "one relay cannot hold it all");

    let began = Instant::now();
    let here = tokio::task::LocalSet::new();
    let mut tasks = tokio::task::JoinSet::new();
    for mut sent in sent {
        let client = origin.client();
        tasks.spawn_local_on(async move { sent.mail.receive_all(&client).await }, &here);
    }
    here.run_until(tasks.join_all()).await;
    eprintln!("received in {:?}", began.elapsed());
    federation.settled().await;
    deadline::until("two empty stores", PATIENCE, async || {
        (is_empty(origin).await && is_empty(peer).await).then_some(())
    })
    .await;
}
