//! Each attack at what the limits allow, for a minute, on a `relay up` whose operator set nothing, and behind the Caddy that
//! comes with it. A measurement to be read, that fails where a promise does:
//!
//! `cargo test --release --workspace --test spec -- --ignored a_minute_of_each_attack --nocapture`
//!
//! `ATTACK_SECONDS` makes it shorter, `ATTACKS` names those to be run, and `ATTACK_FRONT` is `plain` or `caddy` for one of the two.

use crate::proxies::caddy;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{
    ack_fields, claim_fields, mailbox_fields, put_fields, random_bytes, random_mailbox, random_name,
    send_fields,
};
use relay_tests::honest::{Honest, Tally};
use relay_tests::hostile::Hostile;
use relay_tests::ports::HeldPort;
use relay_tests::tls_front::write_certificate;
use relay_tests::trust::Trust;
use relay_tests::wire::post_head;
use relay_tests::{Action, Client, Owner, Process, Supervised, Via, frames, procfs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// The last part of the hostile client's address.
const HOSTILE: u8 = 66;

/// Time between two requests of one honest client: in a minute it stays within what a mailbox may be sent and asked for.
const PAUSE: Duration = Duration::from_millis(400);

/// How long it is quiet first, to compare with.
const QUIET: Duration = Duration::from_secs(10);

/// What 95 of a hundred answers may take beside an attack, whatever they take in quiet.
const ALWAYS_GOOD: Duration = Duration::from_millis(250);

/// The most memory of each process.
const MOST: [(&str, u64); 4] =
    [("gateway", 64 << 20), ("storaged", 128 << 20), ("federated", 64 << 20), ("caddy", 256 << 20)];

#[derive(Debug, Clone, Copy)]
enum Attack {
    Bodies,
    Stalled,
    Silent,
    Resets,
    LargeFetches,
    Purges,
    Names,
    Rows,
    Bytes,
    Acks,
    Guesses,
    Sealed,
}

const ATTACKS: [Attack; 12] = [
    Attack::Bodies,
    Attack::Stalled,
    Attack::Silent,
    Attack::Resets,
    Attack::LargeFetches,
    Attack::Purges,
    Attack::Names,
    Attack::Rows,
    Attack::Bytes,
    Attack::Acks,
    Attack::Guesses,
    Attack::Sealed,
];

/// A relay, with or without a proxy in front.
struct Front {
    relay: Supervised,
    proxy: Option<Process>,
    target: Target,
    _port: HeldPort,
}

/// Where clients come in.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    /// For HTTP/1.1, and for HTTP/2 where it is offered.
    trust: Option<[Trust; 2]>,
    mailbox: String,
}

impl Front {
    async fn start(proxied: bool) -> Self {
        let port = HeldPort::draw();
        let mut relay = Supervised::build();
        if proxied {
            relay = relay
                .variable("RELAY_TRUSTED_PROXIES", "127.0.0.1,::1")
                .variable("RELAY_PUBLIC_URL", format!("https://localhost:{}", port.address().port()));
        }
        let relay = relay.start().await;
        let mut target = Target { address: relay.address(), trust: None, mailbox: random_mailbox() };
        let mut proxy = None;
        if proxied {
            let (certificate, key) = write_certificate(relay.directory());
            let paths = [certificate.display().to_string(), key.display().to_string()];
            proxy = Some(caddy(relay.directory(), relay.address(), port.address(), &paths));
            let trust = [Trust::in_authority(&certificate), Trust::preferring_http2(&certificate)];
            (target.address, target.trust) = (port.address(), Some(trust));
        }
        deadline::until("the way in", PATIENCE, async || {
            let reply = target.client(Via::Plain).attempt("GET", "/health", &[], "").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        target.client(Via::Plain).send(&target.mailbox, &random_bytes(1 << 20)).await.blob_id();
        Self { relay, proxy, target, _port: port }
    }

    fn peaks(&mut self) -> BTreeMap<String, u64> {
        let mut peaks = self.relay.peaks();
        if let Some(peak) = self.proxy.as_ref().and_then(|proxy| procfs::peak_bytes(proxy.pid())) {
            peaks.insert("caddy".to_owned(), peak);
        }
        peaks
    }
}

impl Target {
    fn client(&self, via: Via) -> Client {
        let client = Client::new(self.address, via);
        match &self.trust {
            Some([trust, _]) => client.over_tls(trust.clone()),
            None => client,
        }
    }

    fn hostile(&self, via: Via) -> Client {
        self.client(via).with_source([127, 0, 0, HOSTILE].into())
    }

    async fn open(&self) -> Hostile {
        match &self.trust {
            Some([trust, _]) => Hostile::over_tls(HOSTILE, self.address, trust, 0).await,
            None => Hostile::open(HOSTILE, self.address).await,
        }
    }

    async fn open_http2(&self, window: u32) -> Hostile {
        match &self.trust {
            Some([_, trust]) => Hostile::over_tls(HOSTILE, self.address, trust, window).await,
            None => Hostile::open_http2(HOSTILE, self.address, window).await,
        }
    }

    /// Attacks until it is aborted.
    async fn attack(self, attack: Attack, number: u8) {
        let fetch = json!({ "mailbox_tokens": [self.mailbox] }).to_string();
        match attack {
            Attack::Bodies => loop {
                let mut hostile = self.open().await;
                hostile.say(post_head("/v2/send", 1_402_000, "")).await;
                hostile.say(vec![b' '; 60 << (number % 3 * 4)]).await;
                deadline::pace(Duration::from_secs(10)).await;
            },
            Attack::Stalled => loop {
                let mut hostile = self.open_http2(u32::from(number % 2)).await;
                for index in 0..32 {
                    hostile.say(hostile.post(index, "/v2/fetch", &fetch)).await;
                }
                for _ in 0..30 {
                    if hostile.is_http2() && !hostile.say(frames::ping()).await {
                        break;
                    }
                    deadline::pace(Duration::from_secs(1)).await;
                }
            },
            Attack::Silent => loop {
                let mut silent = Vec::new();
                for _ in 0..15 {
                    silent.push(Hostile::open(HOSTILE, self.address).await);
                }
                deadline::pace(Duration::from_secs(5)).await;
            },
            Attack::Resets => loop {
                let mut hostile = self.open_http2(1 << 20).await;
                for batch in 0..10 {
                    let bytes: Vec<u8> = (0..100)
                        .flat_map(|index| taken_back(hostile.is_http2(), batch * 100 + index))
                        .collect();
                    if !hostile.say(bytes).await {
                        break;
                    }
                }
                deadline::pace(Duration::from_millis(20)).await;
            },
            Attack::LargeFetches => loop {
                let mut hostile = self.open_http2(1 << 20).await;
                for index in 0..8 {
                    hostile.say(hostile.post(index, "/v2/fetch", &fetch)).await;
                }
                hostile.takes(Duration::from_secs(2)).await;
            },
            Attack::Sealed => {
                let client = self.hostile(Via::Envelope);
                let fetch = json!({ "action": "fetch", "mailbox_tokens": [self.mailbox] }).to_string();
                let sealed = client.sealed(fetch.as_bytes()).await;
                loop {
                    let refused = client.carry(sealed.clone()).await.status != 200;
                    deadline::pace(Duration::from_millis(if refused { 5 } else { 0 })).await;
                }
            }
            _ => self.flood(attack.action(), || attack.fields(&self.mailbox, number)).await,
        }
    }

    /// Asks again and again, whatever the answer.
    async fn flood(&self, action: Action, fields: impl Fn() -> Value) {
        let client = self.hostile(Via::Plain);
        loop {
            let refused = client.try_call(action, &fields()).await.is_ok_and(|reply| reply.status != 200);
            // As it learns at once that it is refused, it would otherwise only measure this machine's processors.
            deadline::pace(Duration::from_millis(if refused { 5 } else { 0 })).await;
        }
    }
}

impl Attack {
    /// How many of it there are at once.
    const fn crowd(self) -> u8 {
        match self {
            Self::Bodies | Self::Stalled | Self::Silent => 64,
            Self::LargeFetches => 50,
            _ => 8,
        }
    }

    const fn action(self) -> Action {
        match self {
            Self::Purges => Action::Purge,
            Self::Names => Action::Register,
            Self::Rows => Action::Escrow,
            Self::Bytes => Action::Send,
            Self::Acks => Action::Ack,
            Self::Guesses => Action::ExchangeClaim,
            _ => Action::Fetch,
        }
    }

    fn fields(self, mailbox: &str, number: u8) -> Value {
        match self {
            Self::Purges => {
                let owner = Owner::random();
                let mut fields = owner.purge(&owner.mailbox());
                if number < 4 {
                    fields["signature"] = json!("11".repeat(64));
                }
                fields
            }
            Self::Names => mailbox_fields(&(0..1900).map(|_| random_mailbox()).collect::<Vec<_>>()),
            Self::Bytes => send_fields(&random_mailbox(), &random_bytes(1 << 20)),
            Self::Acks => ack_fields(mailbox, &random_name()[..32]),
            Self::Guesses => claim_fields("123456", "nothing"),
            _ => put_fields(&random_name(), &random_name(), b"x", 3600),
        }
    }
}

/// A request that is taken back at once; over HTTP/1.1 that takes the end of the connection.
fn taken_back(http2: bool, index: u32) -> Vec<u8> {
    if http2 {
        let stream = frames::stream(index);
        return [frames::head(stream, "GET", "/health", &[], true), frames::reset(stream)].concat();
    }
    b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()
}

/// Honest clients at work for a while.
async fn honest(target: &Target, time: Duration) -> Tally {
    let honest = Honest::start(&target.client(Via::Plain), 8, PAUSE);
    deadline::pace(time).await;
    honest.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour, to be read"]
async fn a_minute_of_each_attack() {
    let said = |name| std::env::var_os(name).map(|text| text.into_string().unwrap());
    let seconds = said("ATTACK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let named = said("ATTACKS").unwrap_or_default();
    let front = said("ATTACK_FRONT");
    let mut broken = Vec::new();
    for proxied in [false, true] {
        if front.as_deref().is_some_and(|front| (front == "caddy") != proxied) {
            continue;
        }
        for attack in
            ATTACKS.into_iter().filter(|attack| named.is_empty() || named.contains(&format!("{attack:?}")))
        {
            let mut front = Front::start(proxied).await;
            let quiet = honest(&front.target, QUIET.min(Duration::from_secs(seconds))).await.p95();
            let mut hostile = JoinSet::new();
            for number in 0..attack.crowd() {
                hostile.spawn(front.target.clone().attack(attack, number));
            }
            let tally = honest(&front.target, Duration::from_secs(seconds)).await;
            hostile.abort_all();
            let (peaks, p95) = (front.peaks(), tally.p95());
            let refused: usize = tally.refused.values().sum();
            let mebibytes: Vec<_> =
                peaks.iter().map(|(name, bytes)| format!("{name} {}", bytes >> 20)).collect();
            println!(
                "{attack:?}{}: {} asked, {refused} refused {:?}, p95 {quiet:?} -> {p95:?}; MiB: {}",
                if proxied { " behind Caddy" } else { "" },
                tally.asked,
                tally.refused,
                mebibytes.join(", ")
            );
            let fails = tally.refused.keys().any(|status| *status >= 500);
            let fat = MOST.iter().any(|(name, most)| peaks.get(*name).is_some_and(|bytes| bytes > most));
            if refused * 20 > tally.asked || fails || p95 > ALWAYS_GOOD.max(5 * quiet) || fat {
                broken.push((attack, proxied));
            }
        }
    }
    assert!(broken.is_empty(), "promises broken by {broken:?}");
}
