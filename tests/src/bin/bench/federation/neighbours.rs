//! A relay's own clients beside peers of different kinds: sends, fetches and acks of mail that never moved, while nobody
//! is there and while somebody is away, says nothing, reads slowly, or attacks. The relay has older mail that it wants
//! to move, and so never leaves such a peer alone. The kinds take turns, each between two times with nobody there, so
//! that whatever else the machine does hits all of them alike.

use super::attack::Attack;
use crate::load::Outcome;
use crate::scenarios::{self, Mailboxes};
use crate::stats::{Rounds, Series};
use crate::{Fallible, Options, relay};
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
/// Who is beside the relay, as the report names them: one whose port is closed; one that was there, and nothing comes
/// through to it or from it any more; one that reads and writes a KiB a second; one that sends more than it may, breaks
/// the rules, and comes back.
const NEIGHBOURS: [&str; 4] = ["dead", "half_open", "slow", "hostile"];

/// What clients saw beside a peer, and without it.
#[derive(Default, Serialize)]
pub(super) struct Beside {
    with: Series,
    /// Means of just before and just after.
    alone_per_second: Rounds,
    alone_p99_ms: Rounds,
    /// Attacks a second, and what their own side of them took of a processor, in percent.
    attacks: Rounds,
    attackers_percent: Rounds,
}

pub(super) async fn measure(options: &Options) -> Fallible<BTreeMap<&'static str, Beside>> {
    let mut found = BTreeMap::<_, Beside>::new();
    let mut setup = Setup::start().await?;
    let turns = options.rounds() * TURNS;
    for turn in 1..=turns {
        eprintln!("  turn {turn} of {turns}: own clients beside peers");
        let mut before = setup.load(options.window()).await?;
        for neighbour in NEIGHBOURS {
            let beside = found.entry(neighbour).or_default();
            let attack = setup.enter(neighbour).await;
            let with = setup.load(options.window()).await?;
            if let Some(attack) = attack {
                let (attacks, percent) = attack.end()?;
                beside.attacks.push(attacks);
                beside.attackers_percent.push(percent);
            }
            setup.leave();
            let after = setup.load(options.window()).await?;
            beside.with.push(&with);
            beside.alone_per_second.push(before.per_second().midpoint(after.per_second()));
            beside.alone_p99_ms.push(before.quantile_ms(0.99).midpoint(after.quantile_ms(0.99)));
            before = after;
        }
    }
    Ok(found)
}

/// A relay, and a network between it and a peer.
struct Setup {
    relay: Cluster,
    network: FaultProxy,
    attackers: PeerKeys,
    _peer: InMemoryPeer,
    /// Of peer and network: what they do is not to hold up the load generator.
    thread: Option<Runtime>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

impl Setup {
    /// Nobody is there yet.
    async fn start() -> Fallible<Self> {
        let thread = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listening = thread.spawn(async {
            // It keeps nothing, so that however long this takes, there is something to move.
            let (offload, recall) = (OnOffload::Silent, OnRecall::Silent);
            let conduct = Conduct { offload, recall, ignores_drain: true, ..Conduct::default() };
            let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
            let address = peer.url().trim_start_matches("ws://").parse();
            address.map(|address| (peer, FaultProxy::to(address)))
        });
        let ((peer, network), attackers) = (listening.await??, PeerKeys::generate());
        let mut relay = peering(Cluster::builder())
            .federated()
            .variable("RUST_LOG", "warn")
            // Of a GiB.
            .variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.005")
            .variable("RELAY_FEDERATION_PEERS", format!("ws://{}", network.address()))
            .variable("RELAY_FEDERATION_ACCEPT", attackers.identity_text())
            .start()
            .await;
        relay.peer_link().kill();
        scenarios::fill(relay.address(), (OLDER, |number| number), &[OLDER_BYTES], OLDER_BLOBS).await?;
        Ok(Self { relay, network, attackers, _peer: peer, thread: Some(thread) })
    }

    /// Somebody is there, and the relay knows them where it can.
    async fn enter(&mut self, neighbour: &str) -> Option<Attack> {
        match neighbour {
            "half_open" => self.network.heal(),
            "slow" => self.network.limit(SLOW),
            _ => self.network.refuse(),
        }
        self.relay.peer_link().spawn();
        self.relay.peer_link().ready().await;
        match neighbour {
            "hostile" => return Some(Attack::begin(self.relay.address(), self.attackers.clone())),
            "half_open" => {
                let before = self.network.passed();
                let seen = async || (self.network.passed() > before + GREETINGS).then_some(());
                deadline::until("mail on its way to a peer", PATIENCE, seen).await;
                self.network.hang();
            }
            "slow" => self.relay.has_peers(1).await,
            _ => {}
        }
        None
    }

    /// Nobody is there any more.
    fn leave(&mut self) {
        self.relay.peer_link().kill();
        self.network.heal();
        self.network.cut();
    }

    async fn load(&mut self, window: Duration) -> Fallible<Outcome> {
        let scenario = |client| scenarios::mixed(client, MAILBOXES, 20_000);
        let (outcome, _) = relay::load(&mut self.relay, CONNECTIONS, window, scenario).await?;
        outcome.flawless("sends and fetches beside a peer")
    }
}
