//! Privacy: what clients say is told to nobody, on no path, at no log level. Unique values go through every
//! endpoint in every form of request, through success and failure, and then everything that an operator can read is searched
//! for them.

mod oblivious;
pub(crate) mod said;
mod vault;

use crate::rotation;
use crate::scanner::{Scanner, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::binaries::Program;
use relay_tests::fields::{
    ack_fields, claim_fields, mailbox_fields, offer_fields, proof_fields, put_fields, random_bytes,
    random_mailbox, random_name, send_fields,
};
use relay_tests::process::Launch;
use relay_tests::reply::UNTOLD;
use relay_tests::{Action, Client, Cluster, Owner, Via, procfs};
use said::{Said, name_at_rest, names_at_rest};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const FORWARDED: &str = "203.0.113.177";
const FORWARDED_V6: &str = "2001:db8:4a5c:77aa::9f3";

/// Requests that succeed.
async fn succeed(client: &Client, said: &mut Said) {
    let owner = Owner::random();
    said.never_at_rest("a public key", &owner.public_key());
    let mailbox = random_mailbox();
    said.never_at_rest("a mailbox token", &mailbox);
    let registration = owner.register(&[&mailbox]);
    said.secret("a registration's signature", registration["signature"].as_str().unwrap());
    client.call(Action::Register, &registration).await.success();

    let (ciphertext, hint) = (random_bytes(400), random_bytes(74));
    said.secret("a ciphertext", &hex::encode(&ciphertext));
    said.secret("an origin hint", &hex::encode(&hint));
    let mut fields = send_fields(&mailbox, &ciphertext);
    fields["origin_hint"] = json!(STANDARD.encode(&hint));
    let id = client.call(Action::Send, &fields).await.blob_id();
    let (hash, expected_id) = names_at_rest(&mailbox, &ciphertext);
    assert_eq!(id, expected_id, "the names at rest are made in another way; tell this test");
    said.secret("a mailbox hash", &hash);
    said.secret("a blob id", &id);

    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
    assert!(client.ack(&mailbox, &id).await.acknowledged());
    assert!(!client.ack(&mailbox, &id).await.acknowledged());
    client.send(&owner.mailbox(), b"to be purged").await.blob_id();
    let purge = owner.purge(&mailbox);
    said.secret("a purge token", purge["purge_token"].as_str().unwrap());
    said.secret("a purge's signature", purge["signature"].as_str().unwrap());
    client.call(Action::Purge, &purge).await.success();
    said.refusals.push(client.call(Action::Purge, &purge).await);
    // Something stays, so that the files hold it when they are searched.
    client.send(&mailbox, &random_bytes(200)).await.blob_id();
}

/// Requests that are refused, each for another reason.
async fn fail(client: &Client, said: &mut Said) {
    let mailbox = random_mailbox();
    said.never_at_rest("a refused mailbox token", &mailbox);
    let owner = Owner::random();
    said.never_at_rest("a refused public key", &owner.public_key());
    let foreign = Owner::random().purge(&mailbox);
    let late = owner.purge_at(&owner.mailbox(), 1);
    let mut forged = owner.purge(&owner.mailbox());
    forged["signature"] = json!(hex::encode(random_bytes(64)));
    for purge in [&foreign, &late, &forged] {
        said.never_at_rest("a refused purge token", purge["purge_token"].as_str().unwrap());
        said.secret("a refused signature", purge["signature"].as_str().unwrap());
    }
    let [recipient, base64, hint, key, id, field, value] = [
        "a bad recipient",
        "bad base64",
        "a bad hint",
        "a bad key",
        "a bad id",
        "an unknown field",
        "a bad value",
    ]
    .map(|what| said.nonsense(what));
    let changed = |mut fields: Value, name: &str, value: &str| {
        fields[name] = json!(value);
        fields
    };
    let sound = send_fields(&mailbox, b"sound");
    for (action, fields) in [
        (Action::Purge, foreign),
        (Action::Purge, late.clone()),
        (Action::Purge, forged),
        (Action::Purge, changed(late, "public_key", &key)),
        (Action::Send, changed(sound.clone(), "recipient_id", &recipient)),
        (Action::Send, changed(sound.clone(), "recipient_id", &(mailbox.clone() + "00"))),
        (Action::Send, changed(sound.clone(), "ciphertext", &base64)),
        (Action::Send, changed(sound, "origin_hint", &hint)),
        (Action::Ack, ack_fields(&mailbox, &id)),
        (Action::Fetch, mailbox_fields(&[&mailbox, &recipient])),
        (Action::Register, json!({ "mailbox_tokens": { field: value } })),
    ] {
        said.refusals.push(client.call(action, &fields).await);
    }
    for via_path in ["a path", "a query", "a method"] {
        let nonsense = said.nonsense(via_path);
        said.refusals.push(match via_path {
            "a path" => client.raw("GET", &format!("/v2/{nonsense}"), &[], "").await,
            "a query" => client.raw("POST", &format!("/v2/send?token={nonsense}"), &[], "{").await,
            _ => client.raw(&nonsense, "/v2/send", &[], "").await,
        });
    }
    let body = said.nonsense("a body");
    said.refusals.push(client.raw("POST", "/v2/send", &[], format!("{{\"{body}\": {body}")).await);
    let body = said.nonsense("a large body");
    said.refusals.push(client.raw("POST", "/v2/send", &[], body.repeat(100_000)).await);
}

/// Asks while the store is away, and lets it come back.
async fn fail_without_store(relay: &mut Cluster, client: &Client, said: &mut Said) {
    let mailbox = random_mailbox();
    said.never_at_rest("a token without a store", &mailbox);
    let key = random_mailbox();
    said.never_at_rest("a recovery key without a store", &key);
    let payload = said.nonsense("a payload without a store");
    let (proof, offer) = (proof_fields(&key, b"nowhere"), offer_fields(&payload));
    let (second, third) = (client.another(), client.another());
    relay.storaged.kill();
    let (one, two, three) = tokio::join!(
        client.send(&mailbox, b"nowhere"),
        second.call(Action::RecoveryStore, &proof),
        third.call(Action::ExchangeOffer, &offer),
    );
    for reply in [one, two, three] {
        reply.failure(503);
        said.refusals.push(reply);
    }
    relay.storaged.spawn();
    relay.storaged.ready().await;
}

async fn run_limits_and_quotas(client: &Client, said: &mut Said) {
    let mailbox = random_mailbox();
    said.never_at_rest("a limited mailbox token", &mailbox);
    let mut statuses = Vec::new();
    for _ in 0..80 {
        let reply = client.send(&mailbox, &random_bytes(32)).await;
        if reply.status != 200 {
            statuses.push(reply.text());
            said.refusals.push(reply);
        }
    }
    assert!(statuses.iter().any(|text| text.contains("quota exceeded for recipient")));
    assert!(statuses.iter().any(|text| text.contains("rate limit exceeded")));
}

pub(crate) fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

/// Says everything there is to say, in every form of request and from two addresses.
async fn say_everything(relay: &mut Cluster) -> Said {
    let mut said = Said::default();
    said.secrets.push(Secret::text("a forwarded address", FORWARDED));
    said.secrets.push(Secret::text("a forwarded IPv6 address", FORWARDED_V6));
    let agent = said.nonsense("a user agent");
    let inner_agent = said.nonsense("a sealed user agent");
    for via in Via::ALL {
        for forwarded in [FORWARDED, FORWARDED_V6] {
            let mut client = relay
                .client_via(via)
                .with_outer_header("user-agent", &agent)
                .with_outer_header("x-forwarded-for", forwarded);
            if matches!(via, Via::Bhttp | Via::OuterBhttp) {
                client = client.with_header("user-agent", &inner_agent);
            }
            succeed(&client, &mut said).await;
            vault::succeed(&client, &mut said).await;
            fail(&client, &mut said).await;
            vault::fail(&client, &mut said).await;
            run_limits_and_quotas(&client, &mut said).await;
            if forwarded == FORWARDED {
                fail_without_store(relay, &client, &mut said).await;
            }
        }
    }
    oblivious::fail(&relay.client(), &mut said).await;
    said
}

#[tokio::test]
async fn what_clients_say_is_told_to_nobody() {
    let mut relay = Cluster::builder()
        .federated()
        .variable("RUST_LOG", "trace")
        .variable("RELAY_RATE_LIMIT", 60)
        .variable("RELAY_MAX_BLOBS_PER_USER", 20)
        .variable("RELAY_TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    let mut said = say_everything(&mut relay).await;
    for reply in &said.refusals {
        assert!(reply.status == UNTOLD || (400..600).contains(&reply.status), "{}", reply.describe());
    }
    let answers: Vec<_> = said
        .refusals
        .iter()
        .map(|reply| {
            let headers = format!("{:?}", reply.headers).into_bytes();
            ("an answer".to_owned(), [&reply.body[..], &headers].concat())
        })
        .collect();
    let data = relay.data();
    let mut told = answers;
    for service in relay.services() {
        let place = service.launch.name().to_owned();
        let metrics = service.ops.get("/metrics").await;
        told.push((format!("metrics of {place}"), metrics.body.to_vec()));
        let open = procfs::command_and_environment(service.pid());
        assert!(!open.is_empty());
        told.push((format!("process table of {place}"), open));
    }
    let mut at_rest = files(&data);
    for service in relay.services() {
        service.terminate().await;
    }
    at_rest.extend(files(&data));
    // What the relay says to nobody either.
    for seed in rotation::secrets(&relay) {
        said.secrets.push(Secret::new("a key of the relay's own", &seed));
    }
    let output = files(&relay.directory().join("output"));
    let lines: usize = output.iter().map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').count()).sum();
    assert!(lines > 20, "at this level processes have something to say; {lines} lines were searched");
    told.extend(output);

    let (secrets, never_at_rest) = (Scanner::new(&said.secrets), Scanner::new(&said.never_at_rest));
    let mut found = Vec::new();
    for (place, bytes) in &told {
        found.extend(secrets.leaks(place, bytes));
    }
    for (place, bytes) in &at_rest {
        found.extend(never_at_rest.leaks(place, bytes));
    }
    told.extend(at_rest);
    found.extend(said.told_codes(&told));
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "leaks:\n{}", found.join("\n"));
}

#[tokio::test]
async fn what_is_at_rest_can_be_found_by_this_search() {
    let mut relay = Cluster::simple().await;
    let ciphertext = random_bytes(100);
    let mailbox = random_mailbox();
    let client = relay.client();
    client.send(&mailbox, &ciphertext).await.blob_id();
    let [key, gate, slot] = [random_name(), random_name(), random_name()];
    let (proof, entry, blob) = (random_bytes(50), random_bytes(50), random_bytes(50));
    let owner = Owner::random();
    let [payload, response] = [random_name(), random_name()];
    client.call(Action::RecoveryStore, &proof_fields(&key, &proof)).await.success();
    client.call(Action::GuardianStore, &owner.guardian_store(&[&entry])).await.success();
    client.call(Action::Escrow, &put_fields(&gate, &slot, &blob, 600)).await.outcome();
    let code = client.call(Action::ExchangeOffer, &offer_fields(&payload)).await.said("code");
    client.call(Action::ExchangeClaim, &claim_fields(&code, &response)).await.success();
    // Killed, so that nothing moves between the files while they are read.
    relay.kill();
    let at_rest = files(&relay.data());
    let (hash, id) = names_at_rest(&mailbox, &ciphertext);
    let names = [
        ("a mailbox", hash),
        ("a blob", id),
        ("a recovery key", name_at_rest("recovery", &key)),
        ("a guardian set", name_at_rest("guardian", &owner.guardian_hash())),
        ("a gate", name_at_rest("gate", &gate)),
        ("a slot", name_at_rest("slot", &slot)),
        ("an offer", said::offer_at_rest(&code)),
    ];
    let contents = [&ciphertext, &proof, &entry, &blob].map(|bytes| ("a content", hex::encode(bytes)));
    let texts = [&payload, &response].map(|text| ("a text", hex::encode(text)));
    for (what, hex) in names.into_iter().chain(contents).chain(texts) {
        let scanner = Scanner::new(&[Secret::hex(what, &hex)]);
        let found = at_rest.iter().any(|(path, bytes)| !scanner.leaks(path, bytes).is_empty());
        assert!(found, "{what} is not found; its name at rest is made in another way, tell these tests");
    }
}

#[tokio::test]
async fn a_planted_leak_is_found_where_processes_speak() {
    let directory = tempfile::tempdir().unwrap();
    let planted = hex::encode(random_bytes(16));
    let launch = Launch::new(Program::Storaged, directory.path()).variable("RELAY_RATE_LIMIT", &planted);
    assert_eq!(launch.finish().await.code, Some(78));
    let scanner = Scanner::new(&[Secret::hex("a planted value", &planted)]);
    let found: Vec<_> =
        files(directory.path()).iter().flat_map(|(path, bytes)| scanner.leaks(path, bytes)).collect();
    assert!(!found.is_empty());
}

#[tokio::test]
async fn a_secret_variable_is_not_shown_even_when_it_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let token = format!("{} with a blank", hex::encode(random_bytes(16)));
    let launch = Launch::new(Program::Gateway, directory.path()).variable("RELAY_METRICS_TOKEN", &token);
    let refusal = launch.finish().await;
    assert_eq!(refusal.code, Some(78));
    assert!(refusal.stderr.contains("RELAY_METRICS_TOKEN"));
    assert!(!refusal.stderr.contains(&token[..32]), "{}", refusal.stderr);
}
