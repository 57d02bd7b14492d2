//! Behind the outer relay that people really have: whatever strangers send, a strict client gets its mail.

use crate::signed_keys::anchor;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fault_proxy::FaultProxy;
use relay_tests::fields::{
    claim_fields, complete_fields, key_fields, mailbox_fields, offer_fields, proof_fields, random_bytes,
    random_mailbox, random_name, send_fields,
};
use relay_tests::oblivious::LONGEST_ANSWER;
use relay_tests::outer_relay::{Habits, OuterRelay};
use relay_tests::strict::StrictClient;
use relay_tests::{Action, Client, Cluster, Via};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Bytes of the largest blob that a sealed answer has room for, its origin hint included.
const LARGEST: usize = 73_206;
/// Bytes of JSON that the blobs of a page may take, at least.
const PAGE: usize = 97_000;

async fn strict(cluster: &Cluster, form: Via) -> (OuterRelay, StrictClient) {
    let outer = OuterRelay::start(cluster.address(), Habits::default()).await;
    let client = StrictClient::new(&outer, anchor(cluster).await, form);
    (outer, client)
}

/// Leaves a blob of a stranger's, who asks a gateway directly.
async fn leave(client: &Client, mailbox: &str, size: usize, with_hint: bool) {
    let mut fields = send_fields(mailbox, &random_bytes(size));
    if with_hint {
        fields["origin_hint"] = json!(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [7; 74]));
    }
    client.call(Action::Send, &fields).await.blob_id();
}

#[tokio::test]
async fn one_strangers_blob_keeps_no_mailbox_shut() {
    let cluster = Cluster::simple().await;
    let direct = cluster.client();
    for form in Via::OUTER {
        let (outer, client) = strict(&cluster, form).await;
        let mailbox = random_mailbox();
        let mut mail = BTreeSet::new();
        for (friend, size) in [74_000, 1 << 20, LARGEST + 1, 74_000].into_iter().enumerate() {
            mail.insert(client.send(&mailbox, format!("from friend {friend}").as_bytes()).await.unwrap());
            leave(&direct, &mailbox, size, friend % 2 == 1).await;
        }
        let synced = client.sync(&[&mailbox]).await.unwrap();
        assert_eq!(synced.blobs.iter().map(|blob| blob.id.clone()).collect::<BTreeSet<_>>(), mail);
        assert_eq!((synced.rounds, synced.oversized), (1, 4));
        let again = client.sync(&[&mailbox]).await.unwrap();
        assert_eq!((again.blobs.len(), again.rounds, again.oversized), (0, 1, 4));
        assert_eq!((outer.failures(), outer.largest() <= LONGEST_ANSWER), (0, true));
        // They stay fetchable directly, each alone.
        for rest in [true, true, true, false] {
            let page = direct.fetch(&[&mailbox]).await.page();
            assert_eq!((page.blobs.len(), page.truncated), (1, rest));
            assert!(direct.ack(&mailbox, &page.blobs[0].id).await.acknowledged());
        }
        assert_eq!(client.sync(&[&mailbox]).await.unwrap().oversized, 0);
    }
}

#[tokio::test]
async fn every_small_mail_comes_soon_whatever_sizes_strangers_choose() {
    let cluster = Cluster::simple().await;
    let direct = cluster.client();
    let mut random = StdRng::seed_from_u64(11);
    for form in [Via::OUTER, Via::OUTER].concat() {
        let (outer, client) = strict(&cluster, form).await;
        let mailboxes = [random_mailbox(), random_mailbox()];
        let (mut small, mut bytes) = (BTreeSet::new(), 0);
        for round in 0..40_usize {
            let mailbox = &mailboxes[round % 2];
            let (size, hint) = (
                match round % 4 {
                    0 => random.random_range(1..72_000),
                    1 => random.random_range(LARGEST - 90..LARGEST + 90),
                    _ => random.random_range(LARGEST..1 << 20),
                },
                random.random_bool(0.5),
            );
            leave(&direct, mailbox, size, hint).await;
            if size + if hint { 74 } else { 0 } <= LARGEST {
                bytes += 300 + size * 4 / 3;
            }
            let mail = random_bytes(random.random_range(1..1500));
            bytes += 200 + mail.len() * 4 / 3;
            small.insert(client.send(mailbox, &mail).await.unwrap());
        }
        let synced = client.sync(&mailboxes).await.unwrap();
        assert!(synced.rounds <= bytes.div_ceil(PAGE) + 2, "{} rounds for {bytes} bytes", synced.rounds);
        let got: BTreeSet<_> = synced.blobs.iter().map(|blob| blob.id.clone()).collect();
        assert!(small.is_subset(&got));
        assert_eq!(got.len() as u64 + synced.oversized, 80);
        assert_eq!((outer.failures(), outer.largest()), (0, LONGEST_ANSWER));
    }
}

#[tokio::test]
async fn a_recovery_query_of_fifty_full_proofs_arrives() {
    let cluster = Cluster::simple().await;
    let keys: Vec<String> = (0..50).map(|_| random_name()).collect();
    for key in &keys {
        let stored =
            cluster.client().call(Action::RecoveryStore, &proof_fields(key, &random_bytes(4096))).await;
        stored.success();
    }
    for form in Via::OUTER {
        let (outer, client) = strict(&cluster, form).await;
        // A client that only knows which ones it still misses.
        let mut missing: BTreeSet<String> = keys[1..].iter().cloned().chain([random_name()]).collect();
        let mut answers = 0;
        loop {
            let asked: Vec<_> = missing.iter().collect();
            let answer = client.call(Action::RecoveryQuery, &key_fields(&asked)).await.unwrap();
            answers += 1;
            for proof in answer["proofs"].as_array().unwrap() {
                assert!(missing.remove(proof["key_hash"].as_str().unwrap()));
            }
            if answer["truncated"] != true {
                break;
            }
        }
        assert_eq!((missing.len(), answers), (1, 3), "one was never stored");
        assert_eq!((outer.failures(), outer.largest() <= LONGEST_ANSWER), (0, true));
    }
}

#[tokio::test]
async fn a_network_that_doubles_reorders_and_cuts_loses_and_repeats_nothing() {
    let cluster = Cluster::simple().await;
    let faults = FaultProxy::to(cluster.address());
    let habits = Habits { duplicates: true, reorders: true, ..Habits::default() };
    let outer = OuterRelay::start(faults.address(), habits).await;
    let anchor = anchor(&cluster).await;
    for (seed, form) in (1..).zip(Via::OUTER) {
        let client = StrictClient::new(&outer, &anchor, form);
        let mailbox = random_mailbox();
        let mut sent = BTreeSet::new();
        for number in 0..20_u8 {
            sent.insert(client.send(&mailbox, &[number; 3000]).await.unwrap());
            if number % 5 == 0 {
                leave(&cluster.client(), &mailbox, 80_000, false).await;
            }
        }
        faults.cut_each(seed, 60_000..240_000);
        let mut got = BTreeSet::new();
        deadline::until("a sync without a fault", PATIENCE, async || {
            // What was acked in a sync that failed, the client has.
            let before = cluster.client().fetch(&[&mailbox]).await.page();
            let synced = client.sync(&[&mailbox]).await;
            let after = cluster.client().fetch(&[&mailbox]).await.page();
            got.extend(before.ids().into_iter().filter(|id| !after.ids().contains(id)).map(str::to_owned));
            synced.ok()
        })
        .await;
        assert_eq!(got, sent);
        faults.heal();
        faults.cut();
        let rest = client.sync(&[&mailbox]).await;
        let rest = match rest {
            Ok(rest) => rest,
            // The connection that was cut just now.
            Err(_) => client.sync(&[&mailbox]).await.unwrap(),
        };
        assert_eq!((rest.blobs.len(), rest.oversized), (0, 4));
    }
}

/// A sealed request with hostile sizes, of any kind.
fn hostile(random: &mut StdRng, mailboxes: &[String], keys: &[String], codes: &[String]) -> (Action, Value) {
    let mailbox = &mailboxes[random.random_range(0..mailboxes.len())];
    match random.random_range(0..20) {
        0..=3 => {
            let size = [10, 300, 3000, 20_000, 40_000][random.random_range(0..5)];
            (Action::Send, send_fields(mailbox, &random_bytes(random.random_range(1..size + 1))))
        }
        4..=9 => {
            let count = random.random_range(1..mailboxes.len() + 1);
            (Action::Fetch, mailbox_fields(&mailboxes[..count]))
        }
        10..=12 => (Action::RecoveryQuery, key_fields(&keys[random.random_range(0..25)..])),
        13 => {
            let letter = ["x", "\"", "\u{1}", "\u{e9}"][random.random_range(0..4)];
            (Action::ExchangeOffer, offer_fields(&letter.repeat(random.random_range(0..9000))))
        }
        14..=15 => {
            let code = &codes[random.random_range(0..codes.len())];
            (Action::ExchangeClaim, claim_fields(code, &"\u{1}".repeat(random.random_range(0..9000))))
        }
        16 => (Action::ExchangeComplete, complete_fields(&codes[random.random_range(0..codes.len())])),
        17 => (Action::Escrow, json!({ "escrow_action": "Get", "gate_hash": keys[0], "slot_hash": keys[1] })),
        18 => (Action::Register, mailbox_fields(mailboxes)),
        _ => (Action::GuardianQuery, json!({ "guardian_hash": keys[random.random_range(0..keys.len())] })),
    }
}

/// Fills a relay with what makes answers large.
async fn prepare(cluster: &Cluster, mailboxes: &[String], keys: &[String]) -> Vec<String> {
    let direct = cluster.client();
    let mut random = StdRng::seed_from_u64(3);
    for (number, mailbox) in mailboxes.iter().enumerate() {
        for _ in 0..6 {
            leave(&direct, mailbox, random.random_range(1..1 << 20), random.random_bool(0.5)).await;
            leave(&direct, mailbox, random.random_range(1..4000), random.random_bool(0.5)).await;
        }
        leave(&direct, mailbox, LARGEST - number, number % 2 == 0).await;
    }
    for key in keys {
        direct.call(Action::RecoveryStore, &proof_fields(key, &random_bytes(4096))).await.success();
    }
    for slot in [1, 2] {
        let put = relay_tests::fields::put_fields(&keys[0], &keys[slot], &random_bytes(65_536), 600_000);
        direct.call(Action::Escrow, &put).await.outcome();
    }
    let mut codes = Vec::new();
    for _ in 0..200 {
        let offer = offer_fields(&"\u{1}".repeat(16_000));
        codes.push(direct.call(Action::ExchangeOffer, &offer).await.said("code"));
    }
    codes
}

/// Sends sealed requests from some clients at once, each in either form, through an outer relay that counts.
async fn bombard(requests: usize, mailboxes: usize) -> OuterRelay {
    let cluster = Cluster::builder()
        .gateways(2)
        .variable("RELAY_MAX_STORAGE_BYTES", 8_u64 << 30)
        .variable("RELAY_MAX_BLOBS_PER_USER", 1_000_000)
        .variable("RELAY_MAX_STORAGE_PER_USER", 8_u64 << 30)
        .start()
        .await;
    let mailboxes: Vec<String> = (0..mailboxes).map(|_| random_mailbox()).collect();
    let keys: Vec<String> = (0..50).map(|_| random_name()).collect();
    let codes = prepare(&cluster, &mailboxes, &keys).await;
    let outer = OuterRelay::start(cluster.address(), Habits::default()).await;
    let anchor = anchor(&cluster).await;
    let tasks: Vec<_> = (0..8)
        .map(|seed: usize| {
            let client = StrictClient::new(&outer, &anchor, Via::OUTER[seed % 2]);
            let (mailboxes, keys, codes) = (mailboxes.clone(), keys.clone(), codes.clone());
            let mut random = StdRng::seed_from_u64(seed as u64);
            tokio::spawn(async move {
                for _ in 0..requests / 8 {
                    let (action, fields) = hostile(&mut random, &mailboxes, &keys, &codes);
                    // A refusal inside is an answer like any other; one outside shows in the counters.
                    drop(client.call(action, &fields).await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    outer
}

#[tokio::test]
async fn no_sealed_answer_is_longer_than_an_outer_relay_lets_through() {
    let outer = bombard(2000, 10).await;
    assert_eq!((outer.requests(), outer.failures(), outer.largest()), (2000, 0, LONGEST_ANSWER));
}

#[tokio::test]
#[ignore = "a load run of some minutes"]
async fn a_hundred_thousand_hostile_requests_bring_no_longer_answer_and_no_error_outside() {
    let outer = bombard(100_000, 40).await;
    assert_eq!((outer.requests(), outer.failures(), outer.largest()), (100_000, 0, LONGEST_ANSWER));
}
