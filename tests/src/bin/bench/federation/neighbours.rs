//! A relay's own clients beside peers of different kinds: sends and fetches of mail that never moved, with nobody there
//! and with somebody who is away, says nothing, reads slowly, or attacks. The kinds take turns, so that whatever else
//! the machine does hits all of them alike.

use crate::Fallible;
use crate::load::{self, Pace};
use crate::options::Plan;
use crate::requests::Mailboxes;
use crate::scripts::Mixer;
use crate::stats::Series;
use relay_tests::Cluster;
use relay_tests::federation::peering;
use relay_tests::peer::{
    Blob, Body, Closed, Conduct, Dialled, InMemoryPeer, Misdeed, OnOffload, OnRecall, Options, PeerKeys,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const MAILBOXES: Mailboxes = Mailboxes(12);
const CONNECTIONS: usize = 16;

/// Hostile connections at once.
const ATTACKERS: usize = 2;

/// Who is beside the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Neighbour {
    /// Nobody; federation is off.
    Nobody,
    /// Its port is closed.
    Dead,
    /// It accepts connections and says nothing.
    Silent,
    /// It keeps to the rules and answers nothing.
    Slow,
    /// It sends more than it may, breaks the rules, and comes back at once.
    Hostile,
}

impl Neighbour {
    pub(crate) const ALL: [Self; 5] = [Self::Nobody, Self::Dead, Self::Silent, Self::Slow, Self::Hostile];

    /// Its name, for tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Dead => "a dead peer",
            Self::Silent => "a peer that says nothing",
            Self::Slow => "a peer that answers nothing",
            Self::Hostile => "a hostile peer",
        }
    }
}

/// What clients saw, by who was beside.
pub(crate) type Neighbours = BTreeMap<Neighbour, Series>;

pub(super) async fn measure(plan: &Plan) -> Fallible<Neighbours> {
    let mut found = Neighbours::new();
    for round in 1..=plan.rounds {
        for neighbour in Neighbour::ALL {
            eprintln!("  round {round} of {}: {} beside", plan.rounds, neighbour.name());
            let outcome = beside(neighbour, plan).await?;
            found.entry(neighbour).or_default().push(&outcome);
        }
    }
    Ok(found)
}

async fn beside(neighbour: Neighbour, plan: &Plan) -> Fallible<load::Outcome> {
    let keys = PeerKeys::generate();
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let conduct = Conduct {
        offload: OnOffload::Silent,
        recall: OnRecall::Silent,
        ignores_drain: true,
        ..Conduct::default()
    };
    let slow = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
    let url = match neighbour {
        Neighbour::Nobody => None,
        Neighbour::Dead => Some("ws://127.0.0.1:9".to_owned()),
        Neighbour::Silent | Neighbour::Hostile => Some(format!("ws://{}", silent.local_addr()?)),
        Neighbour::Slow => Some(slow.url().to_owned()),
    };
    // Everything is above the threshold, so the relay tries to move what it has all the time.
    let builder = Cluster::builder().variable("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.0001");
    let builder = match url {
        None => builder,
        Some(url) => peering(builder)
            .federated()
            .variable("RELAY_FEDERATION_PEERS", url)
            .variable("RELAY_FEDERATION_ACCEPT", keys.identity_text()),
    };
    let relay = builder.start().await;
    let attackers = if neighbour == Neighbour::Hostile { ATTACKERS } else { 0 };
    let attacks: Vec<_> = (0..attackers).map(|_| attack(relay.address(), keys.clone())).collect();
    let mixers = (0..CONNECTIONS).map(|_| Mixer::new(MAILBOXES, 20_000)).collect();
    let (outcome, _) = load::drive(relay.address(), mixers, Pace::measured(plan.window), &[]).await?;
    attacks.into_iter().for_each(|attack| attack.abort());
    outcome.flawless("sends and fetches beside a peer")
}

/// Attacks for as long as the task lives.
fn attack(address: SocketAddr, keys: PeerKeys) -> JoinHandle<()> {
    tokio::spawn(async move {
        for misdeed in Misdeed::ALL.into_iter().cycle() {
            let met: Result<_, Closed> = Dialled::attempt(address, &keys, &Options::default()).await;
            let Ok(mut channel) = met else {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            };
            let offer = || {
                let blobs = vec![Blob::random(500)];
                Body::Offload(relay_tests::peer::message::Offload { blobs, home: false })
            };
            channel.ask_all((0..200).map(|_| offer()).collect()).await;
            if misdeed != Misdeed::Fragmented {
                misdeed.commit(&mut channel).await;
            }
            channel.cut().await;
        }
    })
}
