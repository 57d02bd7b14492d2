//! Keys that turn every ten seconds under load, while three gateways are started anew in turns. Clients keep a key
//! for as long as its cache header allows, and no request may fail for its key.

use crate::{Fallible, Options};
use futures_util::future::try_join_all;
use relay_tests::action::Action;
use relay_tests::client::Client;
use relay_tests::cluster::Cluster;
use relay_tests::deadline::{beats, pace, unix_now};
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::oblivious::{KEY_PATH, Key, PATH, REQUEST_TYPE, envelope};
use relay_tests::reply::Reply;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Length of a window, in seconds.
const WINDOW: u64 = 10;
const GATEWAYS: usize = 3;
const CLIENTS: usize = 20;
/// Between two requests of a client.
const BEAT: Duration = Duration::from_millis(100);
/// Between two restarts of a gateway.
const RESTART: Duration = Duration::from_secs(4);

/// Clients and counts of all that goes on at once.
struct Rotation {
    until: Instant,
    counts: RefCell<BTreeMap<&'static str, u64>>,
}

/// Sealed requests that were answered well, that were refused for their key, and that failed in another way; requests
/// that found their gateway away and went to another one; keys that clients fetched; restarts of gateways; looks at
/// all gateways within one window, and those of them that found different bytes; distinct keys that were shown.
const COUNTS: [&str; 9] =
    ["answered", "key_problems", "failures", "moved", "fetched", "restarts", "looks", "differences", "keys"];

pub(crate) async fn measure(options: &Options, _directory: &Path) -> Fallible<Value> {
    let mut cluster = Cluster::builder()
        .gateways(GATEWAYS)
        .separate_ports()
        .variable("RELAY_OHTTP_KEY_ROTATION_HOURS", format!("{WINDOW}s"))
        .variable("RELAY_OHTTP_RATE_LIMIT", 100_000_000)
        .variable("RELAY_OHTTP_RELAYS", "127.0.0.1")
        .variable("RUST_LOG", "warn")
        .start()
        .await;
    let seconds = options.amount(120, 25);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut counts = BTreeMap::from(COUNTS.map(|name| (name, 0)));
    counts.insert("seconds", seconds);
    let rotation = Rotation { until, counts: RefCell::new(counts) };
    let clients = || (0..GATEWAYS).map(|gateway| cluster.client_of(gateway)).collect::<Vec<_>>();
    let asking = try_join_all((0..CLIENTS).map(|number| rotation.ask(clients(), number)));
    let looking = rotation.look(clients());
    tokio::try_join!(asking, looking, rotation.restart(&mut cluster.gateways))?;
    Ok(json!(rotation.counts.into_inner()))
}

impl Rotation {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn count(&self, name: &'static str, more: u64) {
        *self.counts.borrow_mut().entry(name).or_default() += more;
    }

    /// Starts the gateways anew, in turns.
    async fn restart(&self, gateways: &mut [relay_tests::cluster::Service]) -> Fallible<()> {
        for next in 0.. {
            if Instant::now() + RESTART >= self.until {
                break;
            }
            pace(RESTART).await;
            let gateway = &mut gateways[next % GATEWAYS];
            if gateway.terminate().await != 0 {
                return Err("a gateway did not end in good order".into());
            }
            gateway.spawn();
            gateway.ready().await;
            self.count("restarts", 1);
        }
        Ok(())
    }

    /// One client: asks ten times a second.
    async fn ask(&self, clients: Vec<Client>, number: usize) -> Fallible<()> {
        let mut key: Option<(Key, Instant)> = None;
        let (mut beats, mut gateway) = (beats(BEAT), number);
        while !self.is_over() {
            beats.tick().await;
            gateway += 1;
            if key.as_ref().is_none_or(|(_, expires)| *expires <= Instant::now()) {
                let reply = self.attempt(&clients, &mut gateway, ("GET", KEY_PATH), &[], "").await;
                let age =
                    reply.header("cache-control").and_then(|value| value.rsplit('=').next()?.parse().ok());
                let age = Duration::from_secs(age.ok_or("a key without a time to keep it")?);
                key = Some((Key::bare(reply.body), Instant::now() + age));
                self.count("fetched", 1);
            }
            let Some((key, _)) = &key else { continue };
            let plaintext = envelope::request(Action::Send, &send_fields(&random_mailbox(), b"turning"));
            let (sealed, opener) = key.seal(&plaintext);
            let headers = [("content-type", REQUEST_TYPE)];
            let reply = self.attempt(&clients, &mut gateway, ("POST", PATH), &headers, sealed).await;
            let is_stored =
                reply.status == 200 && envelope::reply(reply.clone(), &opener.open(&reply)).status == 200;
            let counted = match reply.status {
                _ if is_stored => "answered",
                400 => "key_problems",
                _ => "failures",
            };
            self.count(counted, 1);
        }
        Ok(())
    }

    /// Asks a gateway, and the next one where it is away.
    async fn attempt(
        &self,
        clients: &[Client],
        gateway: &mut usize,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Reply {
        let body = body.into();
        loop {
            match clients[*gateway % GATEWAYS].attempt(method, path, headers, body.clone()).await {
                Ok(reply) => return reply,
                Err(_) => {
                    self.count("moved", 1);
                    *gateway += 1;
                }
            }
        }
    }

    /// Looks at the keys of all gateways, again and again.
    async fn look(&self, clients: Vec<Client>) -> Fallible<()> {
        let mut shown = BTreeMap::new();
        while !self.is_over() {
            pace(Duration::from_millis(50)).await;
            let before = unix_now() / WINDOW;
            let mut seen = Vec::new();
            for client in &clients {
                for path in [KEY_PATH, "/v2/ohttp-key-signed"] {
                    // A gateway that is away shows nothing.
                    let reply = client.attempt("GET", path, &[], "").await.ok();
                    seen.extend(reply.filter(|reply| reply.status == 200).map(|reply| (path, reply.body)));
                }
            }
            if unix_now() / WINDOW == before {
                let differs = |(path, body): &(&'static str, bytes::Bytes)| {
                    shown.entry((before, *path)).or_insert_with(|| body.clone()) != body
                };
                let differences = seen.iter().map(differs).filter(|differs| *differs).count() as u64;
                self.count("looks", 1);
                self.count("differences", differences);
            }
        }
        let keys = shown.keys().filter(|(_, path)| *path == KEY_PATH).count();
        self.count("keys", keys as u64);
        Ok(())
    }
}
