//! Privacy: what clients say is told to nobody, on no path, at no log level. Unique values go through every
//! endpoint, through success and failure, and then everything that an operator can read is searched for them.

use crate::scanner::{Scanner, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::binaries::Program;
use relay_tests::client::{ack_fields, mailbox_fields, random_bytes, random_mailbox, send_fields};
use relay_tests::process::Launch;
use relay_tests::{Action, Client, Cluster, Owner, Reply, Via, procfs};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;

const FORWARDED: &str = "203.0.113.177";
const FORWARDED_V6: &str = "2001:db8:4a5c:77aa::9f3";

/// Everything unique that was said, and the answers to what was refused.
struct Said {
    /// May be nowhere but in the store.
    secrets: Vec<Secret>,
    /// May not even be in the store.
    never_at_rest: Vec<Secret>,
    refusals: Vec<Reply>,
}

impl Said {
    fn secret(&mut self, what: &str, hex: &str) {
        self.secrets.push(Secret::hex(what, hex));
    }

    fn never_at_rest(&mut self, what: &str, hex: &str) {
        self.secret(what, hex);
        self.never_at_rest.push(Secret::hex(what, hex));
    }

    /// A unique text that is no valid value of anything.
    fn nonsense(&mut self, what: &str) -> String {
        let text = format!("zQ{}", hex::encode(random_bytes(12)));
        self.secrets.push(Secret::text(what, &text));
        self.never_at_rest.push(Secret::text(what, &text));
        text
    }
}

/// The name of a mailbox at rest, and the id of a blob in it. Checked against an answer before it is trusted.
fn names_at_rest(mailbox: &str, ciphertext: &[u8]) -> (String, String) {
    let hash =
        Sha256::new_with_prefix("vauchi-relay/mailbox/v1\0").chain_update(hex::decode(mailbox).unwrap());
    let hash = hash.finalize();
    let id = Sha256::new_with_prefix("vauchi-relay/blob/v1\0").chain_update(hash).chain_update(ciphertext);
    (hex::encode(hash), hex::encode(&id.finalize()[..16]))
}

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

/// Goes through everything once more while the store is away, and comes back.
async fn fail_without_store(relay: &mut Cluster, client: &Client, said: &mut Said) {
    let mailbox = random_mailbox();
    said.never_at_rest("a token without a store", &mailbox);
    relay.storaged.kill();
    let reply = client.send(&mailbox, b"nowhere").await;
    reply.failure(503);
    said.refusals.push(reply);
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

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
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
    let mut said = Said { secrets: Vec::new(), never_at_rest: Vec::new(), refusals: Vec::new() };
    said.secrets.push(Secret::text("a forwarded address", FORWARDED));
    said.secrets.push(Secret::text("a forwarded IPv6 address", FORWARDED_V6));
    let agent = said.nonsense("a user agent");
    for via in Via::ALL {
        for forwarded in [FORWARDED, FORWARDED_V6] {
            let client = relay
                .client_via(via)
                .with_header("user-agent", &agent)
                .with_header("x-forwarded-for", forwarded);
            succeed(&client, &mut said).await;
            fail(&client, &mut said).await;
            run_limits_and_quotas(&client, &mut said).await;
            fail_without_store(&mut relay, &client, &mut said).await;
        }
    }

    let (secrets, never_at_rest) = (Scanner::new(&said.secrets), Scanner::new(&said.never_at_rest));
    let mut found = Vec::new();
    for reply in &said.refusals {
        assert!((400..600).contains(&reply.status), "{}", reply.describe());
        let headers = format!("{:?}", reply.headers).into_bytes();
        found.extend(secrets.leaks("an answer", &[&reply.body[..], &headers].concat()));
    }
    let data = relay.data();
    for service in relay.services() {
        let place = service.launch.name().to_owned();
        let metrics = service.ops.get("/metrics").await;
        found.extend(secrets.leaks(&format!("metrics of {place}"), &metrics.body));
        let open = procfs::command_and_environment(service.pid());
        assert!(!open.is_empty());
        found.extend(secrets.leaks(&format!("process table of {place}"), &open));
    }
    for (path, bytes) in files(&data) {
        found.extend(never_at_rest.leaks(&path, &bytes));
    }
    for service in relay.services() {
        service.terminate().await;
    }
    for (path, bytes) in files(&data) {
        found.extend(never_at_rest.leaks(&path, &bytes));
    }
    let mut lines = 0;
    for (path, bytes) in files(&relay.directory().join("output")) {
        lines += bytes.split(|byte| *byte == b'\n').count();
        found.extend(secrets.leaks(&path, &bytes));
    }
    assert!(lines > 20, "at this level processes have something to say; {lines} lines were searched");
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "leaks:\n{}", found.join("\n"));
}

#[tokio::test]
async fn what_is_at_rest_can_be_found_by_this_search() {
    let mut relay = Cluster::simple().await;
    let ciphertext = random_bytes(100);
    let mailbox = random_mailbox();
    relay.client().send(&mailbox, &ciphertext).await.blob_id();
    // Killed, so that nothing moves between the files while they are read.
    relay.kill();
    let at_rest = files(&relay.data());
    let (hash, id) = names_at_rest(&mailbox, &ciphertext);
    for secret in [Secret::new("ciphertext", &ciphertext), Secret::hex("hash", &hash), Secret::hex("id", &id)]
    {
        let scanner = Scanner::new(&[secret]);
        let found = at_rest.iter().any(|(path, bytes)| !scanner.leaks(path, bytes).is_empty());
        assert!(found, "{hash} or {id}");
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
