//! Relays that peer with one another on loopback.

use crate::cluster::{Builder, Cluster};
use crate::deadline::{self, PATIENCE};
use crate::metrics::Metrics;
use crate::peer::PeerKeys;

/// A few relays, each with federation and each knowing all the others.
#[derive(Debug)]
pub struct Federation {
    /// The relays, in the order of their builders.
    pub relays: Vec<Cluster>,
}

impl Federation {
    /// Relays that know one another, and are not started.
    pub fn build(builders: impl IntoIterator<Item = Builder>) -> Self {
        let mut relays: Vec<Cluster> =
            builders.into_iter().map(|builder| peering(builder).federated().build()).collect();
        let urls: Vec<String> = relays.iter().map(|relay| format!("ws://{}", relay.address())).collect();
        for (index, relay) in relays.iter_mut().enumerate() {
            let others = urls.iter().enumerate().filter(|(other, _)| *other != index);
            let peers: Vec<&str> = others.map(|(_, url)| url.as_str()).collect();
            relay.set("RELAY_FEDERATION_PEERS", peers.join(","));
        }
        Self { relays }
    }

    /// Relays that are connected.
    pub async fn start(builders: impl IntoIterator<Item = Builder>) -> Self {
        let mut federation = Self::build(builders);
        for relay in &mut federation.relays {
            relay.start().await;
        }
        federation.connected().await;
        federation
    }

    /// Two relays that are connected, each with some variables.
    pub async fn pair(variables: &[(&str, &str)]) -> Self {
        let builder = || {
            variables.iter().fold(Cluster::builder(), |builder, (name, value)| builder.variable(name, value))
        };
        Self::start([builder(), builder()]).await
    }

    /// Waits until every relay has all the others as peers.
    pub async fn connected(&self) {
        let others = self.relays.len() - 1;
        for relay in &self.relays {
            relay.has_peers(others).await;
        }
    }

    /// Waits until nothing lies with peers, nothing is held for them, and nothing waits to be told to them.
    pub async fn settled(&self) {
        deadline::until("nothing between the relays", PATIENCE, async || {
            for relay in &self.relays {
                let metrics = relay.storaged.ops.metrics().await;
                if !BETWEEN.iter().all(|name| metrics.sum(name) == 0.0) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}

/// What storage counts of mail between relays.
const BETWEEN: [&str; 4] = [
    "relay_federation_hints_active",
    "relay_federation_claims_active",
    "relay_federation_held_blobs",
    "relay_federation_outbox_entries",
];

/// A relay that peers with others on loopback, and looks often at what others look at now and then.
pub fn peering(builder: Builder) -> Builder {
    builder
        .variable("RELAY_FEDERATION_ENABLED", "true")
        .variable("RELAY_FEDERATION_ALLOW_CIDRS", "127.0.0.0/8")
        .variable("RELAY_FEDERATION_CAPACITY_INTERVAL", "1")
        .variable("RELAY_FEDERATION_PEER_TIMEOUT", "5")
}

/// A relay that accepts a peer with these keys.
pub fn accepting(peer: &PeerKeys) -> Builder {
    peering(Cluster::builder()).federated().variable("RELAY_FEDERATION_ACCEPT", peer.identity_text())
}

impl Cluster {
    /// Sets a variable of every process, for its next start.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        for service in self.services() {
            service.launch.set(name, value.to_string());
        }
    }

    /// Removes a variable of every process, for its next start.
    pub fn unset(&mut self, name: &str) {
        for service in self.services() {
            service.launch.unset(name);
        }
    }

    /// Federation, where there is one.
    ///
    /// # Panics
    /// When there is none.
    pub fn peer_link(&mut self) -> &mut crate::cluster::Service {
        self.federated.as_mut().expect("a relay with federation")
    }

    /// What federation counts.
    ///
    /// # Panics
    /// When there is no federation.
    pub async fn peering_metrics(&self) -> Metrics {
        self.federated.as_ref().expect("a relay with federation").ops.metrics().await
    }

    /// Waits until federation has so many peers.
    ///
    /// # Panics
    /// When it does not get them; the message shows what it said.
    pub async fn has_peers(&self, peers: usize) {
        let federated = self.federated.as_ref().expect("a relay with federation");
        let seen = deadline::within(PATIENCE, async || {
            let connected = federated.ops.metrics().await.sum("relay_federation_peers_connected");
            (connected as usize == peers).then_some(())
        })
        .await;
        assert!(seen.is_some(), "{peers} peers did not connect; federated said:\n{}", federated.output());
    }

    /// A number of storage's.
    pub async fn stored(&self, name: &str) -> u64 {
        self.storaged.ops.metrics().await.sum(name) as u64
    }
}
