//! Keys that turn every ten seconds under load, while three gateways are started anew in turns. Clients keep a key
//! for as long as its cache header allows, and no request may fail for its key.

use crate::Fallible;
use crate::options::Plan;
use relay_tests::action::Action;
use relay_tests::client::{Client, Via};
use relay_tests::cluster::Cluster;
use relay_tests::deadline::unix_now;
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::oblivious::{KEY_PATH, Key, PATH, REQUEST_TYPE, envelope};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Length of a window, in seconds.
const WINDOW: u64 = 10;
const GATEWAYS: usize = 3;
/// Clients, each of which asks so often a second.
const CLIENTS: usize = 20;
const EACH: u64 = 10;
/// Time between two restarts of a gateway.
const RESTART: Duration = Duration::from_secs(4);

/// What happened.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Rotated {
    pub(crate) seconds: u64,
    /// Sealed requests that were answered well.
    pub(crate) answered: u64,
    /// Requests refused for their key.
    pub(crate) key_problems: u64,
    /// Requests that failed in another way.
    pub(crate) failures: u64,
    /// Requests that found their gateway away and went to another one.
    pub(crate) moved: u64,
    /// Keys that clients fetched.
    pub(crate) fetched: u64,
    pub(crate) restarts: u64,
    /// Looks at all gateways within one window, and those of them that found different bytes.
    pub(crate) looks: u64,
    pub(crate) differences: u64,
    /// Distinct keys that were shown.
    pub(crate) keys: usize,
}

type Counts = Arc<Mutex<Rotated>>;

pub(crate) async fn measure(plan: &Plan) -> Fallible<Rotated> {
    let mut cluster = Cluster::builder()
        .gateways(GATEWAYS)
        .separate_ports()
        .variable("RELAY_OHTTP_KEY_ROTATION_HOURS", format!("{WINDOW}s"))
        .variable("RELAY_OHTTP_RATE_LIMIT", 100_000_000)
        .variable("RELAY_OHTTP_RELAYS", "127.0.0.1")
        .variable("RUST_LOG", "warn")
        .start()
        .await;
    let addresses: Vec<SocketAddr> =
        (0..GATEWAYS).map(|gateway| cluster.client_of(gateway).address()).collect();
    let counts = Counts::default();
    let until = Instant::now() + plan.rotation;
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(ask(addresses.clone(), number, until, Arc::clone(&counts)));
    }
    tasks.spawn(look(addresses, until, Arc::clone(&counts)));
    let mut next = 0;
    while Instant::now() + RESTART < until {
        tokio::time::sleep(RESTART).await;
        let gateway = &mut cluster.gateways[next % GATEWAYS];
        if gateway.terminate().await != 0 {
            return Err("a gateway did not end in good order".into());
        }
        gateway.spawn();
        gateway.ready().await;
        next += 1;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let mut rotated = counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    rotated.restarts = next as u64;
    rotated.seconds = plan.rotation.as_secs();
    Ok(rotated)
}

fn count(counts: &Counts, change: impl FnOnce(&mut Rotated)) {
    change(&mut counts.lock().unwrap_or_else(PoisonError::into_inner));
}

/// One client: asks ten times a second, moving on when its gateway is away.
async fn ask(addresses: Vec<SocketAddr>, number: usize, until: Instant, counts: Counts) -> Fallible<()> {
    let clients: Vec<Client> = addresses.iter().map(|address| Client::new(*address, Via::Plain)).collect();
    let mut key: Option<(Key, Instant)> = None;
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / EACH));
    let mut gateway = number;
    while Instant::now() < until {
        ticks.tick().await;
        gateway += 1;
        if key.as_ref().is_none_or(|(_, expires)| *expires <= Instant::now()) {
            key = Some(fetch(&clients, &mut gateway, &counts).await?);
            count(&counts, |counts| counts.fetched += 1);
        }
        let Some((key, _)) = &key else { continue };
        let plaintext = envelope::request(Action::Send, &send_fields(&random_mailbox(), b"turning"));
        let (sealed, opener) = key.seal(&plaintext);
        let headers = [("content-type", REQUEST_TYPE)];
        let reply = loop {
            match clients[gateway % GATEWAYS].attempt("POST", PATH, &headers, sealed.clone()).await {
                Ok(reply) => break reply,
                Err(_) => {
                    count(&counts, |counts| counts.moved += 1);
                    gateway += 1;
                }
            }
        };
        let is_stored =
            reply.status == 200 && envelope::reply(reply.clone(), &opener.open(&reply)).status == 200;
        count(&counts, |counts| match reply.status {
            _ if is_stored => counts.answered += 1,
            400 => counts.key_problems += 1,
            _ => counts.failures += 1,
        });
    }
    Ok(())
}

/// A key, and until when it may be kept.
async fn fetch(clients: &[Client], gateway: &mut usize, counts: &Counts) -> Fallible<(Key, Instant)> {
    loop {
        let Ok(reply) = clients[*gateway % GATEWAYS].attempt("GET", KEY_PATH, &[], "").await else {
            count(counts, |counts| counts.moved += 1);
            *gateway += 1;
            continue;
        };
        let max_age = reply.header("cache-control").and_then(|value| value.rsplit('=').next()?.parse().ok());
        let max_age = Duration::from_secs(max_age.ok_or("a key without a time to keep it")?);
        return Ok((Key::bare(reply.body), Instant::now() + max_age));
    }
}

/// Looks at the keys of all gateways, again and again.
async fn look(addresses: Vec<SocketAddr>, until: Instant, counts: Counts) -> Fallible<()> {
    let clients: Vec<Client> = addresses.iter().map(|address| Client::new(*address, Via::Plain)).collect();
    let mut shown = BTreeMap::new();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = unix_now() / WINDOW;
        let mut seen = Vec::new();
        for client in &clients {
            for path in [KEY_PATH, "/v2/ohttp-key-signed"] {
                // A gateway that is away shows nothing.
                if let Ok(reply) = client.attempt("GET", path, &[], "").await
                    && reply.status == 200
                {
                    seen.push((path, reply.body));
                }
            }
        }
        if unix_now() / WINDOW != before {
            continue;
        }
        let mut differs = |(path, body): &(&'static str, bytes::Bytes)| {
            shown.entry((before, *path)).or_insert_with(|| body.clone()) != body
        };
        let different = seen.iter().filter(|one| differs(one)).count() as u64;
        count(&counts, |counts| {
            counts.looks += 1;
            counts.differences += different;
        });
    }
    let keys = shown.keys().filter(|(_, path)| *path == KEY_PATH).count();
    count(&counts, |counts| counts.keys = keys);
    Ok(())
}
