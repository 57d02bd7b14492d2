//! What the variables say about a gateway.

use ipnet::IpNet;
use relay_daemon::variables::{self, socket_directory};
use relay_daemon::{ConfigError, Reader, Vars};
use relay_proto::socket::SocketRole;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A gateway's variables, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen_addr: SocketAddr,
    pub(crate) metrics_addr: SocketAddr,
    pub(crate) metrics_token: Option<String>,
    pub(crate) max_connections: usize,
    /// Connections of one address that is no proxy's and no outer relay's.
    pub(crate) address_connections: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_message_size: usize,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) known_relays: Vec<IpNet>,
    /// Host and port of the public URL.
    pub(crate) authority: Option<String>,
    pub(crate) storage_socket: PathBuf,
    /// Where federated brings mail back from peers.
    pub(crate) recall_socket: PathBuf,
    /// Where federated takes peers that dial.
    pub(crate) tunnel_socket: PathBuf,
    /// How long a fetch waits for mail that lies with peers; zero is not at all.
    pub(crate) recall_timeout: Duration,
}

impl Config {
    /// Reads everything, and reports every mistake at once.
    pub(crate) fn read(vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        // Already in use; read here so that their mistakes are reported with the others.
        reader.read(&variables::RUST_LOG);
        reader.read(&variables::LOG_FORMAT);
        let data = reader.read(&variables::DATA_DIR);
        let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
        let config = Self {
            listen_addr: reader.read(&variables::LISTEN_ADDR),
            metrics_addr: reader.read(&variables::METRICS_ADDR),
            metrics_token: reader.read(&variables::METRICS_TOKEN),
            max_connections: reader.read(&variables::MAX_CONNECTIONS),
            address_connections: reader.read(&variables::ADDR_CONNECTIONS),
            idle_timeout: Duration::from_secs(reader.read(&variables::IDLE_TIMEOUT)),
            max_message_size: reader.read(&variables::MAX_MESSAGE_SIZE),
            trusted_proxies: reader.read(&variables::TRUSTED_PROXIES),
            known_relays: reader.read(&variables::OHTTP_RELAYS),
            authority: reader
                .read(&variables::PUBLIC_URL)
                .and_then(|url| url.authority().map(|authority| authority.as_str().to_owned())),
            storage_socket: SocketRole::Gateway.storage_socket(&sockets),
            recall_socket: SocketRole::recall_socket(&sockets),
            tunnel_socket: SocketRole::tunnel_socket(&sockets),
            recall_timeout: Duration::from_millis(reader.read(&variables::FEDERATION_RECALL_TIMEOUT)),
        };
        let sockets = [&config.storage_socket, &config.recall_socket, &config.tunnel_socket];
        if let Some(error) = sockets.into_iter().find_map(|path| relay_proto::socket::check(path).err()) {
            reader.contradiction(error.to_string());
        }
        let tls_verified = reader.read(&variables::TLS_VERIFIED);
        guard_plain_text(&mut reader, config.listen_addr, tls_verified);
        if config.listen_addr == config.metrics_addr && config.listen_addr.port() != 0 {
            reader.contradiction(format!(
                "{} and {} name the same port: clients and operator need one each, for example {}={}",
                variables::LISTEN_ADDR.name,
                variables::METRICS_ADDR.name,
                variables::METRICS_ADDR.name,
                variables::METRICS_ADDR.example
            ));
        }
        reader.finish()?;
        Ok(config)
    }
}

/// A gateway speaks plain HTTP. Beyond this machine that is only right behind a proxy that ends TLS, and
/// only the operator can know of one.
fn guard_plain_text(reader: &mut Reader<'_>, listen_addr: SocketAddr, tls_verified: bool) {
    if !tls_verified && !listen_addr.ip().to_canonical().is_loopback() {
        reader.contradiction(format!(
            "RELAY_LISTEN_ADDR={listen_addr}: without TLS in front of it a gateway listens on loopback only; set \
             RELAY_LISTEN_ADDR=127.0.0.1:{}, or RELAY_TLS_VERIFIED=true where a proxy ends TLS before it",
            listen_addr.port()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::{Exit, Failure};

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(&Vars::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn plain_text_stays_on_loopback_unless_the_operator_vouches_for_tls() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(read(&[("RELAY_LISTEN_ADDR", address)]).is_ok(), "{address}");
        }
        for address in ["", "0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let pairs = [("RELAY_LISTEN_ADDR", address)];
            let failure = Failure::from(read(&pairs).unwrap_err());
            assert_eq!(failure.exit, Exit::Config);
            assert!(failure.text.contains("RELAY_TLS_VERIFIED=true"), "{failure}");
            assert!(failure.text.contains("RELAY_LISTEN_ADDR=127.0.0.1:"), "{failure}");
            assert!(read(&[pairs[0], ("RELAY_TLS_VERIFIED", "true")]).is_ok(), "{address}");
        }
    }

    #[test]
    fn clients_and_operators_do_not_share_a_port() {
        let same = [("RELAY_LISTEN_ADDR", "127.0.0.1:9"), ("RELAY_METRICS_ADDR", "127.0.0.1:9")];
        assert!(read(&same).unwrap_err().to_string().contains("RELAY_METRICS_ADDR"));
    }

    #[test]
    fn sockets_lie_in_the_data_directory_unless_told_otherwise() {
        let local = ("RELAY_LISTEN_ADDR", "127.0.0.1:9");
        let config = read(&[local, ("RELAY_DATA_DIR", "/d")]).unwrap();
        assert_eq!(config.storage_socket, PathBuf::from("/d/run/gateway/storage.sock"));
        assert_eq!(config.recall_socket, PathBuf::from("/d/run/peering/recall.sock"));
        let config = read(&[local, ("RELAY_SOCKET_DIR", "/s")]).unwrap();
        assert_eq!(config.storage_socket, PathBuf::from("/s/gateway/storage.sock"));
        assert_eq!(config.tunnel_socket, PathBuf::from("/s/peering/tunnel.sock"));
    }

    #[test]
    fn a_socket_path_that_no_kernel_takes_is_a_mistake() {
        let long = format!("/{}", "x".repeat(120));
        let report = read(&[("RELAY_LISTEN_ADDR", "127.0.0.1:9"), ("RELAY_SOCKET_DIR", &long)]).unwrap_err();
        assert!(report.to_string().contains("set RELAY_SOCKET_DIR to a shorter directory"), "{report}");
    }

    #[test]
    fn a_fetch_waits_for_peers_as_long_as_it_is_told_to() {
        let local = ("RELAY_LISTEN_ADDR", "127.0.0.1:9");
        assert_eq!(read(&[local]).unwrap().recall_timeout, Duration::from_secs(2));
        let config = read(&[local, ("RELAY_FEDERATION_RECALL_TIMEOUT", "0")]).unwrap();
        assert_eq!(config.recall_timeout, Duration::ZERO);
    }

    #[test]
    fn mistakes_in_what_the_logger_reads_are_reported_too() {
        let report =
            read(&[("RUST_LOG", "gateway=loud"), ("RELAY_LOG_FORMAT", "xml")]).unwrap_err().to_string();
        assert!(report.contains("RUST_LOG") && report.contains("RELAY_LOG_FORMAT"), "{report}");
    }
}
