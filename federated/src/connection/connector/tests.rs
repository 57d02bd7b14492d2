use super::*;
use hickory_resolver::proto::rr::Name;
use proptest::prelude::*;
use relay_daemon::ip_filter::examples::FORBIDDEN;
use rustls::ClientConfig;
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
    Connector { tls: OnceCell::new_with(Some(TlsConnector::from(Arc::new(config)))), ..connector(allowed) }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Asserts that the listener was not connected to before: the next connection is the test's own.
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
async fn small_messages_are_sent_without_delay() {
    let (listener, _) = listen().await;
    let stream = open(listener.local_addr().unwrap(), None).await.ok();
    assert!(matches!(stream, Some(Either::Left(stream)) if stream.nodelay().unwrap()));
}

#[tokio::test]
async fn a_forbidden_literal_opens_no_socket() {
    let (listener, port) = listen().await;
    let connector = connector(&[]);
    for text in FORBIDDEN {
        for host in [text.to_owned(), format!("{text}."), format!("[{text}]")] {
            for secure in [false, true] {
                assert_eq!(connector.connect(&host, port, secure).await.err(), Some(Unreachable), "{host}");
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
    let connector = Connector { limit: Duration::from_millis(50), ..reach_with_tls(&["127.0.0.0/8"]) };
    let connecting = connector.connect("127.0.0.1", port, true);
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
    let longest = [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()].join(".");
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
