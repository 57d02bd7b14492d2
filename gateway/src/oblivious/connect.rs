//! Connections to targets: the host is resolved by this process itself, and where TLS is spoken it must show a
//! certificate that this system trusts. No proxy is asked.
//!
//! Who answers for a target's name must not turn it to this machine, its neighbours, or where a cloud keeps credentials:
//! every address is judged before any is connected to, and one that is forbidden refuses them all, as if the host were not
//! there.

use super::reply::ForwardError;
use ipnet::IpNet;
use relay_daemon::ip_filter::is_forbidden;
use relay_daemon::outbound::{resolve, tls_config};
use relay_daemon::variables::ObliviousTarget;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Time to find a host, to reach it and to see its certificate.
const LIMIT: Duration = Duration::from_secs(5);

/// Addresses of a host that are tried.
const TRIED: usize = 6;

/// Connects to targets.
#[derive(Default)]
pub(super) struct Connector {
    /// Networks that the operator allows besides the public Internet.
    allowed: Vec<IpNet>,
    /// Made for the first connection that needs it: it reads every root certificate of the system.
    tls: OnceCell<TlsConnector>,
}

impl Connector {
    /// A connector to global addresses, and to those that the operator allowed.
    pub(super) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, tls: OnceCell::new() }
    }

    /// Connects to a target.
    ///
    /// # Errors
    /// When it is not to be reached.
    pub(super) async fn connect(&self, target: &ObliviousTarget) -> Result<Connected, ForwardError> {
        let connecting = async {
            let host = target.host().trim_start_matches('[').trim_end_matches([']', '.']);
            let addresses = self.addresses(host).await.ok_or(ForwardError::Unreachable)?;
            let tls = if target.is_secure() { Some((self.tls().await?, server_name(host)?)) } else { None };
            // An address that swallows what is sent to it leaves time to the others.
            let share = LIMIT / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
            let mut error = ForwardError::Unreachable;
            for address in addresses {
                let attempt = open(SocketAddr::new(address, target.port()), tls.clone());
                match timeout(share, attempt).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(_)) => error = ForwardError::Unreachable,
                    Err(_) => error = ForwardError::Silent,
                }
            }
            Err(error)
        };
        timeout(LIMIT, connecting).await.unwrap_or(Err(ForwardError::Silent))
    }

    /// The addresses to try. `None` where there are none, or one that is forbidden.
    async fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        // What the operator wrote is the operator's own word.
        if let Ok(address) = host.parse() {
            return Some(vec![address]);
        }
        self.judge(host, resolve(host).await?)
    }

    /// The addresses to try of those to which a name leads.
    fn judge(&self, host: &str, found: Vec<IpAddr>) -> Option<Vec<IpAddr>> {
        // Always this machine (RFC 6761).
        let is_local = |address: &IpAddr| host.eq_ignore_ascii_case("localhost") && address.is_loopback();
        let is_bad = |address: &IpAddr| !is_local(address) && is_forbidden(*address, &self.allowed);
        (!found.iter().any(is_bad)).then(|| found.into_iter().take(TRIED).collect())
    }

    async fn tls(&self) -> Result<TlsConnector, ForwardError> {
        let made = self.tls.get_or_try_init(|| async {
            // Some hundred files: not on the thread that serves everybody.
            let config = tokio::task::spawn_blocking(tls_config).await.map_err(|_| ForwardError::Unreachable)?;
            let config = config.map_err(|error| {
                tracing::warn!(%error, "no target is reached over TLS without the system's root certificates");
                ForwardError::Unreachable
            })?;
            Ok(TlsConnector::from(Arc::new(config)))
        });
        made.await.cloned()
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, ForwardError> {
    ServerName::try_from(host.to_owned()).map_err(|_| ForwardError::Unreachable)
}

async fn open(
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
) -> io::Result<Connected> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(match tls {
        None => Box::new(stream),
        Some((connector, name)) => Box::new(connector.connect(name, stream).await?),
    })
}

pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A connection. It has no `Debug`, which would print addresses.
pub(super) type Connected = Box<dyn ByteStream>;

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ip_filter::examples::FORBIDDEN;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_host_is_found_by_address_or_name_and_a_closed_port_is_not_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let target = format!("http://{host}:{port}").parse().unwrap();
            assert!(Connector::default().connect(&target).await.is_ok(), "{host}");
        }
        drop(listener);
        let target = format!("http://127.0.0.1:{port}").parse().unwrap();
        assert_eq!(Connector::default().connect(&target).await.err(), Some(ForwardError::Unreachable));
    }

    #[test]
    fn a_name_that_leads_into_this_network_is_as_if_it_led_nowhere_unless_that_is_allowed() {
        let (good, connector) = ("1.1.1.1".parse().unwrap(), Connector::default());
        assert_eq!(connector.judge("relay.example", vec![good; 9]), Some(vec![good; TRIED]));
        let allowing = Connector::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        for address in FORBIDDEN {
            let addresses = vec![good, address.parse().unwrap()];
            assert_eq!(connector.judge("relay.example", addresses.clone()), None, "{address}");
            assert_eq!(allowing.judge("relay.example", addresses.clone()), Some(addresses), "{address}");
        }
        let local = |address: &str| connector.judge("LOCALHOST", vec![address.parse().unwrap()]).is_some();
        assert_eq!(["127.0.0.1", "::1", "10.0.0.5"].map(local), [true, true, false]);
    }

    #[tokio::test]
    async fn an_address_that_the_operator_wrote_is_allowed() {
        for address in ["127.0.0.1", "10.0.0.5", "::1"] {
            assert_eq!(Connector::default().addresses(address).await, Some(vec![address.parse().unwrap()]));
        }
    }

    #[tokio::test]
    async fn who_shows_no_certificate_is_not_spoken_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let connector = Connector::default();
        let (connected, ()) = tokio::join!(connector.connect(&target), answering);
        assert_eq!(connected.err(), Some(ForwardError::Unreachable));
    }
}
