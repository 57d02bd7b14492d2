//! Reaching a peer's host, and nothing else that its name might lead to.
//!
//! A host is resolved once, every answer is judged, and the connection goes to the very address that was
//! judged: nothing here resolves a second time, follows a redirect or asks a proxy. One forbidden answer
//! among good ones refuses them all, for a name that mixes them is a name that is being turned. Literals
//! never see a name server, and neither does a name that some parser would read as a number.
//!
//! What went wrong is told to nobody. Refused, filtered, timed out, forbidden and unknown are one error, so a
//! peer's name cannot be made into a scan of ports, and no host or address reaches a log.

use crate::link::channel::Transit;
use ipnet::IpNet;
use relay_daemon::ip_filter::is_forbidden;
use relay_daemon::outbound::{resolve, tls_config};
use rustls::pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// How long a connection may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How many addresses of each family are tried. All are judged.
const TRIED: usize = 3;

/// The host is not to be had. Which of the many reasons applies is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer cannot be reached")]
pub(crate) struct Unreachable;

/// A way out to the hosts of peers.
pub(crate) struct Connector {
    allowed: Vec<IpNet>,
    /// How long a host has to be found, to answer and to prove its name, all together.
    limit: Duration,
    /// Made for the first peer that has TLS: it reads every root certificate of the system.
    tls: OnceCell<TlsConnector>,
}

impl Connector {
    /// A way to global addresses, and to those that the operator allowed.
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, limit: LIMIT, tls: OnceCell::new() }
    }

    /// Connects to a host: a name, an IPv4 address, or an IPv6 address with or without brackets. What the connection
    /// is made of stays in this file: callers cannot print it, and the sockets' `Debug` shows addresses.
    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        secure: bool,
    ) -> Result<impl Transit + use<>, Unreachable> {
        let connecting = async {
            let host = Host::read(host).ok_or(Unreachable)?;
            let addresses = self.judge(host.addresses().await?)?;
            let tls = if secure { Some((self.tls().await?, host.server_name()?)) } else { None };
            // An address that swallows what is sent to it leaves their part of the time to the others.
            let share = self.limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
            for address in addresses {
                let attempt = open(SocketAddr::new(address, port), tls.clone());
                if let Ok(Ok(stream)) = timeout(share, attempt).await {
                    return Ok(stream);
                }
            }
            Err(Unreachable)
        };
        timeout(self.limit, connecting).await.unwrap_or(Err(Unreachable))
    }

    /// The addresses to try, in this order, of those that a host has.
    fn judge(&self, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Unreachable> {
        if addresses.iter().any(|address| is_forbidden(*address, &self.allowed)) {
            return Err(Unreachable);
        }
        let (newer, older): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
        Ok(newer.into_iter().take(TRIED).chain(older.into_iter().take(TRIED)).collect())
    }

    async fn tls(&self) -> Result<TlsConnector, Unreachable> {
        let made = self.tls.get_or_try_init(|| async {
            // Some hundred files: not on the thread that moves everybody's messages.
            let config = tokio::task::spawn_blocking(tls_config).await.map_err(|_| Unreachable)?;
            let config = config.map_err(|error| {
                tracing::warn!(%error, "no peer is reached over TLS without the system's root certificates");
                Unreachable
            })?;
            Ok(TlsConnector::from(Arc::new(config)))
        });
        made.await.cloned()
    }
}

/// What a peer's address says about where it is.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// Without a dot at its end.
    Name(String),
}

impl Host {
    fn read(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some(Self::Address(address.into()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        is_name(text).then(|| Self::Name(text.to_owned()))
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, Unreachable> {
        match self {
            Self::Address(address) => Ok(vec![*address]),
            Self::Name(name) => resolve(name).await.ok_or(Unreachable),
        }
    }

    /// What the certificate must be for.
    fn server_name(&self) -> Result<ServerName<'static>, Unreachable> {
        match self {
            Self::Address(address) => Ok(ServerName::from(*address)),
            Self::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Unreachable),
        }
    }
}

/// Whether a text is a name that can only be one. `127.1`, `0x7f.1` and `2130706433` are loopback to some
/// parsers, and no top-level domain looks like their last labels.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let ends_well = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && ends_well
    };
    let is_number = |label: &str| {
        let prefix = label.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"));
        prefix || label.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.len() <= 253 && text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_number)
}

async fn open(
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
) -> Result<Stream, Unreachable> {
    let stream = TcpStream::connect(address).await.map_err(|_| Unreachable)?;
    if stream.peer_addr().ok() != Some(address) {
        return Err(Unreachable);
    }
    stream.set_nodelay(true).map_err(|_| Unreachable)?;
    let Some((connector, name)) = tls else { return Ok(Either::Left(stream)) };
    let stream = connector.connect(name, stream).await.map_err(|_| Unreachable)?;
    Ok(Either::Right(Box::new(stream)))
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

#[cfg(test)]
mod tests;
