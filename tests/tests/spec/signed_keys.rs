//! Signed keys: whoever pinned the relay's anchor is given no key of somebody else's.

use crate::oblivious::{max_age, within_one};
use relay_tests::deadline::unix_now;
use relay_tests::oblivious::CHACHA20_POLY1305;
use relay_tests::signed_key::{self, ROLLOVER_PATH, SignedKey};
use relay_tests::{Client, Cluster, Reply, Via};
use serde_json::Value;

const DAY: u64 = 86_400;

pub(crate) async fn record(client: &Client) -> Reply {
    let reply = client.raw("GET", signed_key::PATH, &[], "").await;
    assert_eq!(reply.status, 200, "{}", reply.describe());
    assert_eq!(reply.header("content-type"), Some(signed_key::CONTENT_TYPE));
    reply
}

/// What operators see of their relay's keys.
pub(crate) async fn shown(relay: &Cluster) -> Value {
    let shown = relay.command(&["keys", "--json"]).finish().await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    serde_json::from_str(&shown.stdout).unwrap()
}

/// What operators publish for clients to pin.
pub(crate) async fn anchor(relay: &Cluster) -> String {
    shown(relay).await["anchor"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_anchor_vouches_for_todays_key() {
    let relay = Cluster::simple().await;
    let anchor = anchor(&relay).await;
    let before = unix_now();
    let reply = record(&relay.client()).await;
    let after = unix_now();
    assert!(reply.body.len() <= signed_key::LONGEST, "{} bytes", reply.body.len());
    let signed = SignedKey::parse(&reply.body);
    assert!((before / DAY..=after / DAY).contains(&signed.window), "day {}", signed.window);
    assert!(signed.is_vouched_for_by(&anchor));
    assert!(signed.not_before <= before && after < signed.not_after);
    assert_eq!(signed.key.suites()[0], CHACHA20_POLY1305, "clients take the first");
    for via in Via::OBLIVIOUS {
        let client = relay.client_via(via).with_key(signed.key.clone());
        client.fetch(&[relay_tests::fields::random_mailbox()]).await.page();
    }
}

#[tokio::test]
async fn the_signed_key_is_the_key_that_is_shown() {
    let relay = Cluster::simple().await;
    let (day, (key, record)) =
        within_one(DAY, async || (relay.client().key().await, record(&relay.client()).await)).await;
    let signed = SignedKey::parse(&record.body);
    assert_eq!((signed.window, signed.key), (day, key));
}

#[tokio::test]
async fn no_changed_record_is_vouched_for() {
    let relay = Cluster::simple().await;
    let anchor = anchor(&relay).await;
    let record = record(&relay.client()).await.body.to_vec();
    let config = 11..11 + 45;
    assert_eq!(record.len(), 187 + 45);
    for at in (1..record.len()).filter(|at| !(9..11).contains(at)) {
        // What would not even be read: the form of the configuration itself.
        if config.contains(&at) && ((12..14).contains(&at) || (46..48).contains(&at)) {
            continue;
        }
        let mut changed = record.clone();
        changed[at] ^= 1;
        assert!(!SignedKey::parse(&changed).is_vouched_for_by(&anchor), "byte {at}");
    }
    let other = Cluster::simple().await;
    let other = self::anchor(&other).await;
    assert_ne!(other, anchor, "each relay is an anchor of its own");
    assert!(!SignedKey::parse(&record).is_vouched_for_by(&other));
}

#[tokio::test]
async fn all_gateways_show_the_same_bytes_also_after_everything_was_killed() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let anchor_before = anchor(&relay).await;
    let (_, seen) = within_one(DAY, async || {
        let mut seen = Vec::new();
        for _ in 0..3 {
            for gateway in 0..2 {
                seen.push(record(&relay.client_of(gateway)).await.body);
            }
            relay.kill();
            relay.start().await;
        }
        seen
    })
    .await;
    assert!(seen.iter().all(|bytes| *bytes == seen[0]));
    assert_eq!(anchor(&relay).await, anchor_before);
}

#[tokio::test]
async fn a_record_is_not_to_be_kept_past_its_day() {
    let relay = Cluster::simple().await;
    let (_, (before, reply, after)) =
        within_one(DAY, async || (unix_now(), record(&relay.client()).await, unix_now())).await;
    let left = |now: u64| DAY - now % DAY;
    let age = max_age(&reply);
    assert!((left(after)..=left(before)).contains(&age), "{age} s");
}

#[tokio::test]
async fn an_anchor_that_never_changed_has_no_rollover() {
    let relay = Cluster::simple().await;
    relay.client().raw("GET", ROLLOVER_PATH, &[], "").await.failure(404);
}

#[tokio::test]
async fn records_are_read_and_not_written() {
    let relay = Cluster::simple().await;
    for path in [signed_key::PATH, ROLLOVER_PATH] {
        let reply = relay.client().raw("POST", path, &[], "").await;
        reply.failure(405);
        assert!(reply.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{}", reply.describe());
    }
}
