//! What relays that peer tell: nothing to logs and metrics, at any level, and to peers what they hold.

use super::{Mail, SMALL, has_moved};
use crate::privacy::files;
use crate::privacy::said::names_at_rest;
use crate::scanner::{Scanner, Secret};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::Federation;
use relay_tests::{Action, Owner};

/// What went through, by what may know of it.
#[derive(Default)]
struct Said {
    /// No peer may know it.
    tokens: Vec<Secret>,
    /// Nobody may tell it, though relays keep it.
    kept: Vec<Secret>,
}

impl Said {
    fn note(&mut self, mail: &Mail) {
        for ((mailbox, id), ciphertext) in &mail.0 {
            let (hash, expected) = names_at_rest(mailbox, ciphertext);
            assert_eq!(*id, expected, "the names at rest are made in another way; tell this test");
            self.tokens.push(Secret::hex("a mailbox token", mailbox));
            self.kept.push(Secret::hex("a mailbox hash", &hash));
            self.kept.push(Secret::hex("a blob id", id));
            self.kept.push(Secret::new("a ciphertext", ciphertext));
        }
    }
}

/// Everything that relays which peer do with mail, by friend and stranger.
async fn live(federation: &mut Federation, said: &mut Said) {
    let client = federation.relays[0].client();
    let mut mail = Mail::default();
    mail.fill(&client, 30, 50_000).await;
    has_moved(&federation.relays[0]).await;
    said.note(&mail);
    // The peer goes and comes: cuts, hints and what waits to be told are part of it.
    federation.relays[1].kill();
    federation.relays[0].has_peers(0).await;
    let mailbox = mail.0.keys().next().unwrap().0.clone();
    deadline::until("hints", PATIENCE, async || {
        client.fetch(&[&mailbox]).await.success().get("forwarding_hints").is_some().then_some(())
    })
    .await;
    federation.relays[1].start().await;
    federation.connected().await;
    mail.receive_all(&client).await;
    federation.settled().await;

    let owner = Owner::random();
    let mut mine = Mail::default();
    for _ in 0..30 {
        mine.send(&client, &owner.mailbox(), 50_000).await;
    }
    has_moved(&federation.relays[0]).await;
    said.note(&mine);
    client.call(Action::Purge, &owner.purge(&owner.mailbox())).await.success();
    federation.settled().await;

    let mut last = Mail::default();
    last.fill(&client, 30, 50_000).await;
    said.note(&last);
    has_moved(&federation.relays[0]).await;
    // Something that nobody can read: a stranger who asks to be a peer.
    let stranger = federation.relays[1].client();
    stranger.raw("GET", "/federation", &[("upgrade", "websocket")], "").await.failure(400);
}

#[tokio::test]
async fn relays_that_peer_tell_nobody_what_passes_between_them() {
    let mut federation = Federation::pair(&[SMALL[0], SMALL[1], ("RUST_LOG", "trace")]).await;
    let mut said = Said::default();
    live(&mut federation, &mut said).await;

    let mut told = Vec::new();
    let mut ports = Vec::new();
    for relay in &mut federation.relays {
        ports.push(relay.address().port().to_string());
        for service in relay.services() {
            let metrics = service.ops.get("/metrics").await;
            told.push((format!("metrics of {}", service.launch.name()), metrics.body.to_vec()));
        }
    }
    for relay in &mut federation.relays {
        for service in [relay.gateways.remove(0), relay.federated.take().unwrap()] {
            let mut service = service;
            service.terminate().await;
        }
        relay.storaged.terminate().await;
    }
    let mut keys = Vec::new();
    for relay in &federation.relays {
        let database = rusqlite::Connection::open(relay.database()).unwrap();
        let mut statement = database.prepare("SELECT seed FROM signing_keys").unwrap();
        let seeds = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        keys.extend(seeds.map(|seed| Secret::new("a key of the relay's own", &seed.unwrap())));
        let mut statement = database.prepare("SELECT noise_key, identity FROM pins").unwrap();
        let pins = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)));
        for pin in pins.unwrap() {
            let (noise_key, identity) = pin.unwrap();
            keys.push(Secret::new("a peer's key", &noise_key));
            keys.push(Secret::new("a peer's identity", &identity));
        }
    }
    assert!(keys.len() >= 8, "a relay has its keys and those of its peer");

    let logs: Vec<_> =
        federation.relays.iter().flat_map(|relay| files(&relay.directory().join("output"))).collect();
    let lines: usize = logs.iter().map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').count()).sum();
    assert!(lines > 50, "at this level processes have something to say; {lines} lines were searched");
    // Where its peers are, federated does not tell either.
    for (place, bytes) in logs.iter().filter(|(place, _)| place.contains("federated")) {
        let text = String::from_utf8_lossy(bytes);
        for port in &ports {
            assert!(!text.contains(&format!(":{port}")), "{place} tells an address");
        }
    }
    told.extend(logs);
    let mut found = Vec::new();
    let (tokens, kept, keys) = (Scanner::new(&said.tokens), Scanner::new(&said.kept), Scanner::new(&keys));
    for (place, bytes) in &told {
        for scanner in [&tokens, &kept, &keys] {
            found.extend(scanner.leaks(place, bytes));
        }
    }
    // A peer keeps hashes and ciphertext, and never saw a token. That it keeps them shows that this search sees.
    let at_peer = files(&federation.relays[1].data());
    found.extend(at_peer.iter().flat_map(|(place, bytes)| tokens.leaks(place, bytes)));
    assert!(found.is_empty(), "leaks:\n{}", found.join("\n"));
    assert!(at_peer.iter().any(|(place, bytes)| !kept.leaks(place, bytes).is_empty()), "the search is blind");
}
