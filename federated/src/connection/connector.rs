//! Reaching a peer's host, and nothing else that its name might lead to.
//!
//! A host is resolved once, every answer is judged, and the connection goes to the very address that was
//! judged: nothing here resolves a second time, follows a redirect or asks a proxy. One forbidden answer
//! among good ones refuses them all, for a name that mixes them is a name that is being turned. Literals
//! never see a name server, and neither does a name that some parser would read as a number.
//!
//! What went wrong is told to nobody. Refused, filtered, timed out, forbidden and unknown are one error, so a
//! peer's name cannot be made into a scan of ports, and no host or address reaches a log.

use crate::connection::ip_filter::is_forbidden;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

/// How long a host has to be found, to answer and to prove its name, all together.
const LIMIT: Duration = Duration::from_secs(5);

/// How long one round of asking the name servers takes at most. There are two rounds, and a server that
/// answers for IPv4 and stays silent for IPv6 must leave most of [`LIMIT`] to the answer it gave.
const ROUND: Duration = Duration::from_secs(1);

/// How many addresses of each family are tried. All are judged.
const TRIED: usize = 3;

/// The host is not to be had. Which of the many reasons applies is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer cannot be reached")]
pub(crate) struct Unreachable;

/// A way out to the hosts of peers.
pub(crate) struct Connector {
    allowed: Vec<IpNet>,
    /// Made for the first peer that has TLS: it reads every root certificate of the system.
    tls: OnceCell<TlsConnector>,
}

impl Connector {
    /// A way to global addresses, and to those that the operator allowed.
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, tls: OnceCell::new() }
    }

    /// Connects to a host: a name, an IPv4 address, or an IPv6 address with or without brackets.
    pub(crate) async fn connect(&self, host: &str, port: u16, secure: bool) -> Result<Stream, Unreachable> {
        self.connect_within(LIMIT, host, port, secure).await
    }

    async fn connect_within(
        &self,
        limit: Duration,
        host: &str,
        port: u16,
        secure: bool,
    ) -> Result<Stream, Unreachable> {
        let connecting = async {
            let host = Host::read(host).ok_or(Unreachable)?;
            let addresses = self.judge(host.addresses().await?)?;
            let tls = if secure { Some((self.tls().await?, host.server_name()?)) } else { None };
            // An address that swallows what is sent to it leaves their part of the time to the others.
            let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
            for address in addresses {
                let attempt = open(SocketAddr::new(address, port), tls.clone());
                if let Ok(Ok(stream)) = timeout(share, attempt).await {
                    return Ok(stream);
                }
            }
            Err(Unreachable)
        };
        timeout(limit, connecting).await.unwrap_or(Err(Unreachable))
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
            Self::Name(name) => resolve(name).await,
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

/// All addresses of a name, asked for once.
async fn resolve(name: &str) -> Result<Vec<IpAddr>, Unreachable> {
    // Relaxed about underscores, which container networks put into names.
    let mut name = Name::from_str_relaxed(name).map_err(|_| Unreachable)?;
    // The name is whole: with the search list of some network behind it, it would be another peer's.
    name.set_fqdn(true);
    // The resolver complains about answers by name, loudly enough to be heard.
    let found = async { resolver()?.lookup_ip(name).await }.with_subscriber(Dispatch::none());
    Ok(found.await.map_err(|_| Unreachable)?.iter().collect())
}

/// A resolver as the system is set up now. It is not kept: a machine changes its network, and a container its
/// name servers, while this process lives on, and what a kept one would remember is asked for once an hour.
fn resolver() -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        // Without name servers, the hosts file still knows a few.
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = ROUND;
    options.attempts = 1;
    builder.build()
}

fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    // A WebSocket begins in HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
    let Some((connector, name)) = tls else { return Ok(Stream::Plain(stream)) };
    let stream = connector.connect(name, stream).await.map_err(|_| Unreachable)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// A connection to a peer's host. It has no `Debug`, which would print addresses.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ip_filter::tests::FORBIDDEN;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket};

    /// Spellings that some parser, somewhere, takes for an address, and texts that are no host at all.
    const ODD: [&str; 46] = [
        "127.1",
        "127.0.1",
        "127.1.",
        "2130706433",
        "2130706433.",
        "0",
        "00000000",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "127.0.0.0x1",
        "0x",
        "0x7g",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0.01",
        "127.0.0.001",
        "127.0.0.256",
        "127.0.0.1.1",
        "127.0.0.1..",
        "peer.1",
        "peer.0x1",
        "999.999.999.999",
        "",
        ".",
        "..",
        ".localhost",
        "peer..example",
        "-peer.example",
        "peer-.example",
        " 127.0.0.1",
        "127.0.0.1 ",
        "127.0.0.1\0",
        "127.0.0.1:80",
        "user@localhost",
        "local\\104ost",
        "127。0。0。1",
        "１２７.０.０.１",
        "ⓛocalhost",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "[::1].",
        "fe80::1%lo",
    ];

    fn connector(allowed: &[&str]) -> Connector {
        Connector::new(allowed.iter().map(|network| network.parse().unwrap()).collect())
    }

    /// It trusts no certificate, and needs none of the machine that runs the test.
    fn reach_with_tls(allowed: &[&str]) -> Connector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Connector {
            tls: OnceCell::new_with(Some(TlsConnector::from(Arc::new(config)))),
            ..connector(allowed)
        }
    }

    async fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// Nobody came before the test itself does.
    async fn assert_untouched(listener: TcpListener) {
        let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_stream, first) = listener.accept().await.unwrap();
        assert_eq!(first, own.local_addr().unwrap());
    }

    #[tokio::test]
    async fn an_allowed_host_is_reached_and_bytes_go_both_ways() {
        let (listener, port) = listen().await;
        let connector = connector(&["127.0.0.0/8"]);
        for host in ["127.0.0.1", "127.0.0.1.", "::ffff:127.0.0.1", "[::FFFF:7f00:1]"] {
            let (stream, accepted) = tokio::join!(connector.connect(host, port, false), listener.accept());
            let (mut near, (mut far, _)) = (stream.unwrap(), accepted.unwrap());
            if let Stream::Plain(stream) = &near {
                assert!(stream.nodelay().unwrap());
            }
            near.write_all(b"question").await.unwrap();
            near.shutdown().await.unwrap();
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "question", "{host}");
            far.write_all(b"answer").await.unwrap();
            drop(far);
            text.clear();
            near.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "answer", "{host}");
        }
    }

    #[tokio::test]
    async fn a_forbidden_literal_opens_no_socket() {
        let (listener, port) = listen().await;
        let connector = connector(&[]);
        for text in FORBIDDEN {
            for host in [text.to_owned(), format!("{text}."), format!("[{text}]")] {
                for secure in [false, true] {
                    assert_eq!(
                        connector.connect(&host, port, secure).await.err(),
                        Some(Unreachable),
                        "{host}"
                    );
                }
            }
        }
        assert_untouched(listener).await;
    }

    #[tokio::test]
    async fn an_odd_spelling_opens_no_socket_even_where_all_addresses_are_allowed() {
        let (listener, port) = listen().await;
        let connector = connector(&["0.0.0.0/0", "::/0"]);
        for host in ODD {
            assert_eq!(Host::read(host), None, "{host:?}");
            assert_eq!(connector.connect(host, port, false).await.err(), Some(Unreachable), "{host:?}");
        }
        assert_untouched(listener).await;
    }

    #[tokio::test]
    async fn the_names_of_this_host_are_judged_by_their_addresses() {
        let (listener, port) = listen().await;
        for allowed in [&[][..], &["10.0.0.0/8"], &["127.0.0.0/8"], &["::1/128"]] {
            for host in ["localhost", "localhost.", "LocalHost", "peer.localhost"] {
                // Loopback of IPv6 is forbidden to the third and that of IPv4 to the fourth, which is enough.
                let refused = connector(allowed).connect(host, port, false).await;
                assert_eq!(refused.err(), Some(Unreachable), "{host} {allowed:?}");
            }
        }
        assert_untouched(listener).await;
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_leaves_the_others_to_be_tried() {
        let (listener, port) = listen().await;
        let connector = connector(&["127.0.0.0/8", "::1/128"]);
        for host in ["localhost", "localhost.", "LOCALHOST", "peer.localhost"] {
            // The listener has IPv4 only, and IPv6 is tried first.
            let (stream, accepted) = tokio::join!(connector.connect(host, port, false), listener.accept());
            assert!(stream.is_ok() && accepted.is_ok(), "{host}");
        }
    }

    #[test]
    fn one_forbidden_answer_refuses_all_and_few_of_many_are_tried() {
        let judge =
            |texts: &[&str]| connector(&[]).judge(texts.iter().map(|text| text.parse().unwrap()).collect());
        for forbidden in FORBIDDEN {
            for answers in [[forbidden, "1.1.1.1", "2a00::1"], ["1.1.1.1", "2a00::1", forbidden]] {
                assert_eq!(judge(&answers), Err(Unreachable), "{forbidden}");
            }
        }
        let many = ["1.1.1.1", "2a00::1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "2a00::2", "2a00::3", "2a00::4"];
        let tried = ["2a00::1", "2a00::2", "2a00::3", "1.1.1.1", "1.1.1.2", "1.1.1.3"];
        assert_eq!(judge(&many).unwrap(), tried.map(|text| text.parse::<IpAddr>().unwrap()));
        // Beyond those that are tried, an answer still counts.
        assert_eq!(judge(&["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "127.0.0.1"]), Err(Unreachable));
    }

    #[tokio::test]
    async fn a_server_without_tls_is_no_peer_with_it() {
        let (listener, port) = listen().await;
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        };
        let connector = reach_with_tls(&["127.0.0.0/8"]);
        let (stream, ()) = tokio::join!(connector.connect("127.0.0.1", port, true), serving);
        assert_eq!(stream.err(), Some(Unreachable));
    }

    #[tokio::test]
    async fn a_silent_server_costs_no_more_than_the_limit() {
        let (listener, port) = listen().await;
        let connector = reach_with_tls(&["127.0.0.0/8"]);
        let connecting = connector.connect_within(Duration::from_millis(50), "127.0.0.1", port, true);
        // The connection stays open, and whoever accepted it says nothing.
        let (stream, _accepted) = tokio::join!(connecting, listener.accept());
        assert_eq!(stream.err(), Some(Unreachable));
    }

    #[tokio::test]
    async fn all_failures_read_the_same() {
        // Bound and not listening: nobody else gets the port, and connections to it are refused.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = socket.local_addr().unwrap().port();
        for (host, allowed) in
            [("127.0.0.1", &["127.0.0.0/8"][..]), ("127.0.0.1", &[]), ("peer.invalid", &[]), ("127.1", &[])]
        {
            let error = connector(allowed).connect(host, closed, false).await.err().unwrap();
            assert_eq!(error.to_string(), "the peer cannot be reached", "{host}");
            assert_eq!(format!("{error:?}"), "Unreachable", "{host}");
        }
    }

    #[test]
    fn a_host_is_read_as_an_address_or_as_a_name() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1.", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8:0::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ] {
            assert_eq!(Host::read(text), Some(Host::Address(address.parse().unwrap())), "{text}");
        }
        let longest =
            [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()].join(".");
        for (text, name) in [
            ("relay", "relay"),
            ("relay-2.example.org", "relay-2.example.org"),
            ("relay.example.org.", "relay.example.org"),
            ("1.example", "1.example"),
            ("_relay.xn--bcher-kva.example", "_relay.xn--bcher-kva.example"),
            ("3com", "3com"),
            ("project_relay_1", "project_relay_1"),
            (&longest, &longest),
        ] {
            let host = Host::read(text);
            assert_eq!(host, Some(Host::Name(name.to_owned())), "{text}");
            assert!(host.unwrap().server_name().is_ok(), "{text}");
            assert!(Name::from_str_relaxed(name).is_ok(), "{text}");
        }
        assert_eq!(Host::read(&format!("{longest}d")), None);
        assert_eq!(Host::read(&["a"; 64].concat()), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_name_is_an_address(
            text in "\\PC{0,40}|[0-9a-fx.:\\[\\]]{0,24}|[a-z0-9._-]{0,80}",
        ) {
            if let Some(Host::Name(name)) = Host::read(&text) {
                prop_assert!(name.parse::<IpAddr>().is_err() && name.parse::<SocketAddr>().is_err());
                drop(Name::from_str_relaxed(&name));
            }
        }
    }
}
