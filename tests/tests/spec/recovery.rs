//! Recovery proofs: what people leave against the day on which they lose everything is there on that day.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::deadline::unix_now;
use relay_tests::fields::{key_fields, proof_fields, random_bytes, random_name};
use relay_tests::{Action, Client, Cluster, Reply, Via};
use serde_json::{Value, json};

const LIFE: u64 = 90 * 86_400;

async fn store(client: &Client, key: &str, proof: &[u8]) {
    client.call(Action::RecoveryStore, &proof_fields(key, proof)).await.success();
}

async fn query<K: AsRef<str>>(client: &Client, keys: &[K]) -> Reply {
    client.call(Action::RecoveryQuery, &key_fields(keys)).await
}

/// Keys and proofs of an answer, in its order.
fn proofs(reply: &Reply) -> Vec<(String, Vec<u8>)> {
    let json = reply.success();
    let entry = |entry: &Value| {
        let proof = STANDARD.decode(entry["proof_data"].as_str().unwrap()).unwrap();
        (entry["key_hash"].as_str().unwrap().to_owned(), proof)
    };
    json["proofs"].as_array().unwrap().iter().map(entry).collect()
}

/// All that is found, asking again for the keys behind the last proof where an answer says that there is a rest.
/// Answers also how many answers that took.
async fn all_proofs(client: &Client, keys: &[String]) -> (Vec<(String, Vec<u8>)>, usize) {
    let (mut found, mut rest, mut answers) = (Vec::new(), keys, 0);
    loop {
        let reply = query(client, rest).await;
        found.extend(proofs(&reply));
        answers += 1;
        if reply.json().get("truncated").is_none() {
            return (found, answers);
        }
        let (last, _) = found.last().unwrap();
        let asked = rest.iter().position(|key| key == last).unwrap();
        rest = &rest[asked + 1..];
    }
}

#[tokio::test]
async fn a_stored_proof_is_found_by_its_key() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let [first, second, unknown] = [random_name(), random_name(), random_name()];
        store(&client, &first, b"first").await;
        store(&client, &second, b"second").await;
        for _ in 0..2 {
            let found = proofs(&query(&client, &[&unknown, &first]).await);
            assert_eq!(found, [(first.clone(), b"first".to_vec())]);
        }
        let mut found = proofs(&query(&client, &[&second, &first]).await);
        found.sort_by(|one, other| one.1.cmp(&other.1));
        assert_eq!(found, [(first, b"first".to_vec()), (second, b"second".to_vec())]);
    }
}

#[tokio::test]
async fn storing_again_replaces() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let key = random_name();
        for proof in [b"one".as_slice(), b"another", b"another", b"one"] {
            store(&client, &key.to_uppercase(), proof).await;
            assert_eq!(proofs(&query(&client, &[&key]).await), [(key.clone(), proof.to_vec())]);
        }
    }
}

#[tokio::test]
async fn a_key_comes_back_as_the_client_wrote_it() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let key = "00aAbBcCdDeEfF11".repeat(4);
        store(&client, &key, via.name().as_bytes()).await;
        for written in [key.clone(), key.to_lowercase(), key.to_uppercase()] {
            assert_eq!(proofs(&query(&client, &[&written]).await)[0].0, written);
        }
    }
}

#[tokio::test]
async fn an_unknown_key_finds_nothing() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let reply = query(&relay.client_via(via), &[random_name()]).await;
        assert_eq!(reply.success(), json!({ "status": "ok", "proofs": [] }));
    }
}

#[tokio::test]
async fn a_proof_lives_ninety_days_and_tells_its_hour_only() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let key = random_name();
        let before = unix_now();
        store(&client, &key, b"proof").await;
        let after = unix_now();
        let json = query(&client, &[&key]).await.success();
        let [created_at, expires_at] =
            ["created_at", "expires_at"].map(|name| json["proofs"][0][name].as_u64().unwrap());
        assert_eq!(created_at % 3600, 0);
        assert!((before - before % 3600..=after).contains(&created_at), "{created_at}");
        assert!((before + LIFE..=after + LIFE + 3600).contains(&expires_at), "never earlier: {expires_at}");
    }
}

#[tokio::test]
async fn a_proof_has_1_to_4096_bytes() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let key = random_name();
        for length in [1, 4095, 4096] {
            let proof = random_bytes(length);
            store(&client, &key, &proof).await;
            assert_eq!(proofs(&query(&client, &[&key]).await), [(key.clone(), proof)]);
        }
        for length in [0, 4097, 10_000] {
            let fields = proof_fields(&key, &random_bytes(length));
            let reply = client.call(Action::RecoveryStore, &fields).await;
            reply.refuses(400, "proof_data must be base64 of 1-4096 bytes");
        }
        assert_eq!(proofs(&query(&client, &[&key]).await)[0].1.len(), 4096, "a refusal replaces nothing");
    }
}

#[tokio::test]
async fn one_query_takes_1_to_50_keys_and_shows_all_of_their_proofs() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mut keys: Vec<String> = (0..50).map(|_| random_name()).collect();
        for key in &keys {
            store(&client, key, &random_bytes(4096)).await;
        }
        let (found, answers) = all_proofs(&client, &keys).await;
        assert_eq!(found.len(), 50);
        assert!(found.iter().all(|(key, proof)| keys.contains(key) && proof.len() == 4096));
        assert_eq!(answers, if via == Via::Plain { 1 } else { 3 }, "a sealed answer is a page");
        keys.push(random_name());
        query(&client, &keys).await.refuses(400, "key_hashes must contain 1-50 entries");
        query(&client, &keys[..0]).await.refuses(400, "key_hashes must contain 1-50 entries");
    }
}

#[tokio::test]
async fn a_key_named_twice_is_found_once() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let key = random_name();
        store(&client, &key, b"once").await;
        assert_eq!(proofs(&query(&client, &[&key, &key.to_uppercase(), &key]).await).len(), 1);
    }
}

#[tokio::test]
async fn a_proof_survives_that_everything_is_killed() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let mut stored = Vec::new();
    for (index, via) in Via::ALL.into_iter().enumerate() {
        let (key, proof) = (random_name(), random_bytes(1000));
        store(&relay.client_of_via(index % 2, via), &key, &proof).await;
        stored.push((key, proof));
    }
    for _ in 0..2 {
        relay.kill();
        relay.start().await;
        for via in Via::ALL {
            for gateway in 0..2 {
                for (key, proof) in &stored {
                    let found = query(&relay.client_of_via(gateway, via), &[key]).await;
                    assert_eq!(proofs(&found), [(key.clone(), proof.clone())]);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_address_may_query_only_so_often() {
    let relay = Cluster::builder()
        .gateways(2)
        .separate_ports()
        .variable("RELAY_RECOVERY_RATE_LIMIT", 3)
        .start()
        .await;
    for gateway in [0, 1, 0] {
        query(&relay.client_of(gateway), &[random_name()]).await.success();
    }
    for gateway in [0, 1] {
        let refused = query(&relay.client_of(gateway), &[random_name()]).await;
        refused.refuses(429, "rate limit exceeded");
        let wait = refused.retry_after();
        assert!((1..=20).contains(&wait), "three a minute: the next one in a third of one, not in {wait}");
    }
    relay.client().send(&random_name(), b"mail is another matter").await.blob_id();
}

#[tokio::test]
async fn all_clients_behind_a_named_relay_may_query_ten_times_as_often() {
    for via in Via::OBLIVIOUS {
        let relay = Cluster::builder()
            .variable("RELAY_RECOVERY_RATE_LIMIT", 1)
            .variable("RELAY_OHTTP_RELAYS", "127.0.0.1")
            .start()
            .await;
        for _ in 0..10 {
            query(&relay.client_via(via), &[random_name()]).await.success();
        }
        query(&relay.client_via(via), &[random_name()]).await.refuses(429, "rate limit exceeded");
    }
}

#[tokio::test]
async fn sealing_to_oneself_brings_no_more_queries() {
    let relay = Cluster::builder().variable("RELAY_RECOVERY_RATE_LIMIT", 1).start().await;
    query(&relay.client(), &[random_name()]).await.success();
    for via in Via::ALL {
        query(&relay.client_via(via), &[random_name()]).await.refuses(429, "rate limit exceeded");
    }
}
