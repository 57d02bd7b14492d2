//! What federated reads of the variables.

use crate::transfer::offload::plan::Ratios;
use ipnet::IpNet;
use relay_daemon::variables::{self, PeerUrl, socket_directory};
use relay_daemon::{ConfigError, Vars};
use relay_proto::PeerId;
use relay_proto::socket::AllowedUsers;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Federated's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the sockets between the processes.
    pub sockets: PathBuf,
    /// Where the ops endpoints are.
    pub ops_socket: PathBuf,
    /// What `/metrics` asks for.
    pub metrics_token: Option<String>,
    /// What there is to do with peers; `None` for a relay on its own.
    pub peering: Option<Peering>,
}

/// How this relay peers.
#[derive(Debug, Clone)]
pub struct Peering {
    /// Peers to dial.
    pub peers: Vec<PeerUrl>,
    /// Identities that may dial. Empty: those of the peers.
    pub accepted: Vec<PeerId>,
    /// Private networks in which peers may be.
    pub allowed: Vec<IpNet>,
    /// Unix users that may ask for mail back.
    pub users: AllowedUsers,
    /// Whether gateways must show the secret of their sockets.
    pub require_secrets: bool,
    /// A port of federated's own.
    pub listen: Option<SocketAddr>,
    /// This relay's name for people.
    pub relay_id: Option<String>,
    /// Where clients reach this relay.
    pub client_url: String,
    /// When mail moves, and when others' is refused.
    pub ratios: Ratios,
    /// How long a peer may be silent.
    pub patience: Duration,
    /// Between two reports of how much room there is.
    pub reports: Duration,
    /// Messages a minute that a peer may send.
    pub messages_per_minute: u32,
    /// For how long this relay keeps mail, in seconds.
    pub keeps_secs: u64,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// With every mistake.
    pub fn from_vars(vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        let data = reader.read(&variables::DATA_DIR);
        let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
        let metrics_token = reader.read(&variables::METRICS_TOKEN);
        let enabled = reader.read(&variables::FEDERATION_ENABLED);
        let (threshold, refuse) = variables::federation_ratios(&mut reader);
        let public_url = reader.read(&variables::PUBLIC_URL);
        let peering = Peering {
            peers: reader.read(&variables::FEDERATION_PEERS),
            accepted: reader.read(&variables::FEDERATION_ACCEPT),
            allowed: reader.read(&variables::FEDERATION_ALLOW_CIDRS),
            users: AllowedUsers::new(reader.read(&variables::SOCKET_UIDS)),
            require_secrets: reader.read(&variables::REQUIRE_SOCKET_SECRETS),
            listen: reader.read(&variables::FEDERATION_LISTEN_ADDR),
            relay_id: reader.read(&variables::FEDERATION_RELAY_ID),
            client_url: public_url
                .map(|url| url.to_string().trim_end_matches('/').to_owned())
                .unwrap_or_default(),
            ratios: Ratios { threshold, refuse },
            patience: Duration::from_secs(reader.read(&variables::FEDERATION_PEER_TIMEOUT)),
            reports: Duration::from_secs(reader.read(&variables::FEDERATION_CAPACITY_INTERVAL)),
            messages_per_minute: reader.read(&variables::FEDERATION_RATE_LIMIT),
            keeps_secs: reader.read(&variables::BLOB_TTL_SECS),
        };
        if !enabled && !peering.peers.is_empty() {
            reader.contradiction(
                "RELAY_FEDERATION_PEERS names peers and federation is off; set RELAY_FEDERATION_ENABLED=true, or \
                 leave RELAY_FEDERATION_PEERS unset",
            );
        }
        if enabled && peering.peers.is_empty() && peering.accepted.is_empty() {
            reader.contradiction(
                "RELAY_FEDERATION_ENABLED=true and there is nobody to peer with; name peers, for example \
                 RELAY_FEDERATION_PEERS=wss://relay-b.example, or those that may connect in RELAY_FEDERATION_ACCEPT",
            );
        }
        reader.finish()?;
        Ok(Self {
            ops_socket: sockets.join("federated").join("ops.sock"),
            sockets,
            metrics_token,
            peering: enabled.then_some(peering),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(&Vars::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn a_relay_is_on_its_own_unless_it_is_told_to_peer() {
        assert!(read(&[]).unwrap().peering.is_none());
        let config = read(&[
            ("RELAY_FEDERATION_ENABLED", "true"),
            ("RELAY_FEDERATION_PEERS", "ws://relay-b:8080,wss://relay-c.example/below"),
            ("RELAY_PUBLIC_URL", "https://relay-a.example/"),
            ("RELAY_FEDERATION_PEER_TIMEOUT", "7"),
        ]);
        let peering = config.unwrap().peering.unwrap();
        assert_eq!(peering.peers.len(), 2);
        assert_eq!(peering.client_url, "https://relay-a.example");
        assert_eq!(peering.patience, Duration::from_secs(7));
    }

    #[test]
    fn contradictions_are_told() {
        for (pairs, name) in [
            (&[("RELAY_FEDERATION_ENABLED", "true")][..], "RELAY_FEDERATION_PEERS="),
            (&[("RELAY_FEDERATION_PEERS", "ws://relay-b:8080")], "RELAY_FEDERATION_ENABLED=true"),
            (&[("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.95")], "RELAY_FEDERATION_OFFLOAD_REFUSE"),
            (&[("RELAY_FEDERATION_PEERS", "https://relay-b")], "RELAY_FEDERATION_PEERS"),
        ] {
            let report = read(pairs).unwrap_err().to_string();
            assert!(report.contains(name), "{report}");
        }
    }
}
