//! A relay's own clients beside peers of different kinds: sends, fetches and acks of mail that never moved, while nobody
//! is there and while somebody is away, says nothing, reads slowly, or attacks. The relay has older mail that it wants
//! to move, and so never leaves such a peer alone. The kinds take turns, each between two times with nobody there, so
//! that whatever else the machine does hits all of them alike.

use super::attack::Attack;
use crate::Fallible;
use crate::load::{self, Outcome, Pace};
use crate::options::Plan;
use crate::proc::Watched;
use crate::requests::Mailboxes;
use crate::scripts::Mixer;
use crate::stats::{Rounds, Series};
use crate::stock::Stock;
use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fault_proxy::FaultProxy;
use relay_tests::federation::peering;
use relay_tests::peer::{Conduct, InMemoryPeer, OnOffload, OnRecall, PeerKeys};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Mailboxes of the clients, and those of the older mail.
const MAILBOXES: Mailboxes = Mailboxes(12);
const OLDER: Mailboxes = Mailboxes(13);

/// Connections of clients.
const CONNECTIONS: usize = 16;

/// Older mail, in blobs and bytes of each: more than can be under way to a peer at any time, so that what is younger
/// has to wait behind it.
const OLDER_BLOBS: u64 = 4000;
const OLDER_BYTES: usize = 16 << 10;

/// How often the kinds take their turns in one round. A 99th percentile needs more than one look.
const TURNS: u32 = 3;

/// What a slow peer reads and writes a second, in bytes.
const SLOW: u32 = 1024;

/// More bytes than two relays need to greet one another.
const GREETINGS: u64 = 64 << 10;

/// Who is beside the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Neighbour {
    /// Its port is closed.
    Dead,
    /// It was there, and nothing comes through to it or from it any more.
    HalfOpen,
    /// It reads and writes a KiB a second.
    Slow,
    /// It sends more than it may, breaks the rules, and comes back.
    Hostile,
}

impl Neighbour {
    pub(crate) const ALL: [Self; 4] = [Self::Dead, Self::HalfOpen, Self::Slow, Self::Hostile];

    /// Its name, for tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dead => "a dead peer",
            Self::HalfOpen => "a half-open peer",
            Self::Slow => "a slow peer",
            Self::Hostile => "a hostile peer",
        }
    }
}

/// What clients saw beside a peer, and without it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Beside {
    pub(crate) with: Series,
    /// Means of just before and just after.
    pub(crate) alone_per_second: Rounds,
    pub(crate) alone_p99_ms: Rounds,
    /// Attacks a second, and what their own side of them took of a processor, in percent.
    pub(crate) attacks: Rounds,
    pub(crate) attackers_percent: Rounds,
}

/// What clients saw, by who was beside.
pub(crate) type Neighbours = BTreeMap<Neighbour, Beside>;

pub(super) async fn measure(plan: &Plan) -> Fallible<Neighbours> {
    let mut found = Neighbours::new();
    let mut street = Street::build().await?;
    let turns = plan.rounds * TURNS;
    for turn in 1..=turns {
        eprintln!("  turn {turn} of {turns}: own clients beside peers");
        let mut before = street.load(plan.window).await?;
        for neighbour in Neighbour::ALL {
            let beside = found.entry(neighbour).or_default();
            let attack = street.enter(neighbour).await;
            let with = street.load(plan.window).await?;
            if let Some(attack) = attack {
                let (attacks, percent) = attack.end()?;
                beside.attacks.push(attacks);
                beside.attackers_percent.push(percent);
            }
            street.leave();
            let after = street.load(plan.window).await?;
            beside.with.push(&with);
            beside.alone_per_second.push(before.per_second().midpoint(after.per_second()));
            beside.alone_p99_ms.push(before.quantile_ms(0.99).midpoint(after.quantile_ms(0.99)));
            before = after;
        }
    }
    Ok(found)
}

/// A relay, and the house next to it, with a line between the two.
struct Street {
    relay: Cluster,
    house: House,
    attackers: PeerKeys,
}

/// The peer and the line to it, on a thread of their own: what they do is not to hold up the load generator.
struct House {
    line: FaultProxy,
    thread: Option<Runtime>,
    _peer: InMemoryPeer,
}

impl House {
    async fn build() -> Fallible<Self> {
        let thread = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let built = thread.spawn(async {
            // It keeps nothing, so that however long this takes, there is something to move.
            let conduct = Conduct {
                offload: OnOffload::Silent,
                recall: OnRecall::Silent,
                ignores_drain: true,
                ..Conduct::default()
            };
            let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
            let address = peer.url().trim_start_matches("ws://").parse();
            address.map(|address| (peer, FaultProxy::to(address)))
        });
        let (peer, line) = built.await??;
        Ok(Self { line, thread: Some(thread), _peer: peer })
    }

    /// Waits until mail is on its way to the peer.
    async fn takes_mail(&self) {
        let before = self.line.passed();
        let seen = async || (self.line.passed() > before + GREETINGS).then_some(());
        deadline::until("mail on its way to a peer", PATIENCE, seen).await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

impl Street {
    /// Nobody is in the house yet.
    async fn build() -> Fallible<Self> {
        let (house, attackers) = (House::build().await?, PeerKeys::generate());
        let mut relay = peering(Cluster::builder())
            .federated()
            .variable("RUST_LOG", "warn")
            // Of a GiB.
            .variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.005")
            .variable("RELAY_FEDERATION_PEERS", format!("ws://{}", house.line.address()))
            .variable("RELAY_FEDERATION_ACCEPT", attackers.identity_text())
            .start()
            .await;
        relay.peer_link().kill();
        let older = Stock { mailboxes: OLDER, place: |number| number, sizes: vec![OLDER_BYTES] };
        older.fill(relay.address(), 0..OLDER_BLOBS).await?;
        Ok(Self { relay, house, attackers })
    }

    /// Somebody is there, and the relay knows them where it can.
    async fn enter(&mut self, neighbour: Neighbour) -> Option<Attack> {
        match neighbour {
            Neighbour::Dead | Neighbour::Hostile => self.house.line.refuse(),
            Neighbour::HalfOpen => self.house.line.heal(),
            Neighbour::Slow => self.house.line.limit(SLOW),
        }
        self.relay.peer_link().spawn();
        self.relay.peer_link().ready().await;
        match neighbour {
            Neighbour::Dead => None,
            Neighbour::Hostile => Some(Attack::begin(self.relay.address(), self.attackers.clone())),
            Neighbour::HalfOpen => {
                self.house.takes_mail().await;
                self.house.line.hang();
                None
            }
            Neighbour::Slow => {
                self.relay.has_peers(1).await;
                None
            }
        }
    }

    /// Nobody is there any more.
    fn leave(&mut self) {
        self.relay.peer_link().kill();
        self.house.line.heal();
        self.house.line.cut();
    }

    async fn load(&mut self, window: Duration) -> Fallible<Outcome> {
        let mixers = (0..CONNECTIONS).map(|_| Mixer::new(MAILBOXES, 20_000)).collect();
        let mut watched = vec![
            Watched { name: "gateway", pid: self.relay.gateways[0].pid() },
            Watched { name: "storaged", pid: self.relay.storaged.pid() },
            Watched::generator(),
        ];
        if self.relay.peer_link().is_running() {
            watched.push(Watched { name: "federated", pid: self.relay.peer_link().pid() });
        }
        let (outcome, _) =
            load::drive(self.relay.address(), mixers, Pace::measured(window), &watched).await?;
        outcome.flawless("sends and fetches beside a peer")
    }
}
