//! The keys that clients seal to, as they read them.

use super::{DAY, fetch_plaintext, is_key_problem, max_age, within_one};
use relay_tests::deadline::unix_now;
use relay_tests::fields::random_mailbox;
use relay_tests::oblivious::{AES_128_GCM, CHACHA20_POLY1305, KEY_PATH, KEYS_TYPE, Key, WELL_KNOWN};
use relay_tests::{Cluster, Via};

#[tokio::test]
async fn the_key_is_one_bare_configuration_with_its_fingerprint() {
    let relay = Cluster::simple().await;
    let (day, (before, reply, after)) = within_one(DAY, async || {
        (unix_now(), relay.client().raw("GET", KEY_PATH, &[], "").await, unix_now())
    })
    .await;
    assert_eq!(reply.status, 200, "{}", reply.describe());
    assert_eq!(reply.header("content-type"), Some(KEYS_TYPE));
    assert_eq!(reply.body.len(), 45);
    let key = Key::bare(reply.body.clone());
    assert_eq!(u64::from(key.id()), day % 256);
    assert_eq!(key.suites(), [CHACHA20_POLY1305, AES_128_GCM]);
    assert_eq!(reply.header("key-fingerprint"), Some(key.fingerprint().as_str()));
    // It may be kept until its window ends and no longer.
    let left = |now: u64| DAY - now % DAY;
    assert!((left(after)..=left(before)).contains(&max_age(&reply)), "{} s", max_age(&reply));
}

#[tokio::test]
async fn the_list_holds_the_same_key_behind_its_length() {
    let relay = Cluster::simple().await;
    let (_, (key, list)) = within_one(DAY, async || {
        (relay.client().key().await, relay.client().raw("GET", WELL_KNOWN, &[], "").await)
    })
    .await;
    assert_eq!(list.status, 200, "{}", list.describe());
    assert_eq!(list.header("content-type"), Some(KEYS_TYPE));
    assert_eq!(list.body, [&[0, 45], &key.config()[..]].concat());
    assert!((1..=DAY).contains(&max_age(&list)));
}

#[tokio::test]
async fn all_gateways_show_one_key_and_a_restart_changes_nothing() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let (_, keys) = within_one(DAY, async || {
        let mut keys = Vec::new();
        for _ in 0..3 {
            for gateway in 0..2 {
                keys.push(relay.client_of(gateway).key().await);
            }
            relay.kill();
            relay.start().await;
        }
        keys
    })
    .await;
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test]
async fn a_key_that_clients_hold_outlives_that_everything_is_killed() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let key = relay.client_of(0).key().await;
    for _ in 0..2 {
        relay.kill();
        relay.start().await;
        for via in Via::OBLIVIOUS {
            for gateway in 0..2 {
                let client = relay.client_of_via(gateway, via).with_key(key.clone());
                client.send(&random_mailbox(), b"sealed long ago").await.blob_id();
            }
        }
    }
}

#[tokio::test]
async fn two_relays_have_different_keys() {
    let [one, other] = [Cluster::simple().await, Cluster::simple().await];
    let (_, keys) = within_one(DAY, async || [one.client().key().await, other.client().key().await]).await;
    assert_ne!(keys[0].config()[3..35], keys[1].config()[3..35]);
    let sealed = keys[0].seal(&fetch_plaintext()).0;
    assert_eq!(one.client().carry(sealed.clone()).await.status, 200);
    assert!(is_key_problem(&other.client().carry(sealed).await), "the same id and another key");
}

#[tokio::test]
async fn either_suite_is_served() {
    let relay = Cluster::simple().await;
    let key = relay.client().key().await;
    for suite in [CHACHA20_POLY1305, AES_128_GCM] {
        for via in Via::OBLIVIOUS {
            let client = relay.client_via(via).with_key(key.with_suite(suite));
            let mailbox = random_mailbox();
            let id = client.send(&mailbox, b"sealed").await.blob_id();
            assert_eq!(client.fetch(&[mailbox]).await.page().ids(), [id]);
        }
    }
}
