//! What the variables say.

use crate::doctor::facts::Settings;
use crate::up;
use ipnet::IpNet;
use relay_daemon::Vars;
use relay_daemon::variables::{self, socket_directory};
use relay_proto::socket::{self, SocketRole};

/// The settings, and the token of the operator's port, which goes nowhere else.
pub(super) fn read(vars: &Vars) -> (Settings, Option<String>) {
    let mut mistakes = up::check(vars).err().map(|error| error.mistakes).unwrap_or_default();
    let vars = &up::local(vars);
    let mut reader = vars.reader();
    let data = reader.read(&variables::DATA_DIR);
    let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
    let storage = [SocketRole::Gateway, SocketRole::Federation, SocketRole::Admin]
        .map(|role| role.storage_socket(&sockets));
    let too_long: Vec<String> = storage
        .iter()
        .chain(&[SocketRole::recall_socket(&sockets), SocketRole::tunnel_socket(&sockets)])
        .filter_map(|path| socket::check(path).err())
        .map(|error| error.to_string())
        .collect();
    // It has a code of its own, and processes report it among their mistakes.
    mistakes.retain(|mistake| !too_long.contains(mistake));
    let trusted = reader.read(&variables::TRUSTED_PROXIES);
    let allowed = reader.read(&variables::FEDERATION_ALLOW_CIDRS);
    let gateways = reader.read(&variables::GATEWAYS);
    let token = reader.read(&variables::METRICS_TOKEN);
    let settings = Settings {
        socket_path: too_long.into_iter().next(),
        mistakes,
        backend: reader.read(&variables::STORAGE_BACKEND),
        listen: reader.read(&variables::LISTEN_ADDR),
        ops: reader.read(&variables::METRICS_ADDR),
        has_token: token.is_some(),
        trusts_everybody: trusted.iter().any(is_everything),
        names_relays: !reader.read(&variables::OHTTP_RELAYS).is_empty(),
        allows_everywhere: allowed.iter().any(is_everything),
        public_url: reader.read(&variables::PUBLIC_URL).map(|url| url.to_string()),
        gateways: vars.is_set(variables::GATEWAYS.name).then_some(gateways),
        max_connections: reader.read(&variables::MAX_CONNECTIONS),
        rotation_secs: reader.read(&variables::OHTTP_KEY_ROTATION),
        federates: reader.read(&variables::FEDERATION_ENABLED),
        own_peer_port: reader.read(&variables::FEDERATION_LISTEN_ADDR).is_some(),
        data,
        sockets,
    };
    (settings, token)
}

fn is_everything(network: &IpNet) -> bool {
    network.prefix_len() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Settings {
        super::read(&Vars::from_pairs(pairs.iter().copied())).0
    }

    #[test]
    fn no_variables_are_no_mistake() {
        let settings = read(&[]);
        assert!(settings.mistakes.is_empty() && settings.socket_path.is_none());
        assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((settings.gateways, settings.has_token), (None, false));
    }

    #[test]
    fn a_socket_path_that_is_too_long_is_told_by_itself() {
        let long = format!("/{}", "x".repeat(120));
        let settings = read(&[("RELAY_SOCKET_DIR", &long)]);
        assert!(settings.socket_path.is_some() && settings.mistakes.is_empty(), "{:?}", settings.mistakes);
    }

    #[test]
    fn networks_of_everything_are_seen() {
        let settings = read(&[("RELAY_TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0")]);
        assert!(settings.trusts_everybody && !settings.allows_everywhere);
        assert!(read(&[("RELAY_FEDERATION_ALLOW_CIDRS", "::/0")]).allows_everywhere);
        assert!(!read(&[("RELAY_TRUSTED_PROXIES", "10.0.0.0/8")]).trusts_everybody);
        assert!(!settings.names_relays && read(&[("RELAY_OHTTP_RELAYS", "192.0.2.7")]).names_relays);
    }

    #[test]
    fn mistakes_of_every_process_are_there() {
        let settings = read(&[("RELAY_BLOB_TTL_SECS", "soon"), ("RELAY_LISTEN_ADDR", "0.0.0.0:80")]);
        assert_eq!(settings.mistakes.len(), 2, "{:?}", settings.mistakes);
    }
}
