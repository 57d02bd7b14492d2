//! Tunnels over real connections, from a peer through the edge to a federated of our own.

use super::*;
use crate::api::openapi;
use crate::api::router;
use crate::app::Arrival;
use crate::bodies::error::Reason;
use crate::bodies::reply;
use crate::edge::{self, Limits, Server, SharedPeers};
use crate::fixture::peering::{ACCEPTED, FakeTunnelEnd};
use crate::fixture::{Relay, policy};
use crate::layers::origin::Origin;
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper_util::rt::TokioExecutor;
use prometheus::IntCounter;
use relay_daemon::Shutdown;
use relay_proto::caller::{RateLimitClass, RateLimitSubject};
use relay_proto::messages::Policy;
use relay_proto::{NoiseKey, RequestId};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};

/// Longer than any limit here, shorter than anybody's patience.
const SOON: Duration = Duration::from_secs(5);

const KEY: NoiseKey = NoiseKey::from_bytes([9; 32]);

/// An upgrade as tools and proxies really write one (RFC 6455, section 1.3).
const HANDSHAKE: &str = "GET /federation HTTP/1.1\r\nhost: relay.example\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    x-forwarded-for: 203.0.113.9\r\nforwarded: for=203.0.113.9\r\nuser-agent: peer\r\ncookie: secret\r\n\
    sec-websocket-protocol: other\r\n\r\n";

fn peering() -> Policy {
    Policy { federation_key: KEY.into(), ..policy() }
}

/// A gateway on a port, with federated behind it.
struct Gateway {
    relay: Relay,
    address: SocketAddr,
    federated: FakeTunnelEnd,
    active: IntGauge,
    stopping: Shutdown,
    served: JoinHandle<()>,
}

impl Gateway {
    async fn with(limits: Limits, max_connections: usize, status: StatusCode) -> Self {
        let relay = Relay::start().await;
        relay.post_policy(peering()).await;
        let federated = FakeTunnelEnd::serve(&relay.tunnel_socket(), status);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let active = IntGauge::new("active", "Active.").unwrap();
        let server = Server {
            handler: relay.clients.clone(),
            limits,
            max_connections,
            turned_away: "{}",
            replaces: false,
            per_address: None,
            shared_peers: SharedPeers::default(),
            accepting: Arc::default(),
            active: active.clone(),
            refused: IntCounter::new("refused", "Refused.").unwrap(),
        };
        let stopping = Shutdown::default();
        let served = tokio::spawn(edge::serve(listener, server, stopping.clone()));
        Self { relay, address, federated, active, stopping, served }
    }

    async fn start() -> Self {
        Self::with(Limits::with_idle(SOON), 100, StatusCode::SWITCHING_PROTOCOLS).await
    }

    fn tunnels(&self) -> i64 {
        self.relay.app.metrics.tunnels_active.get()
    }

    async fn say(&self, text: &str) -> Peer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Peer(stream)
    }

    /// A peer and federated, with a tunnel between them.
    async fn tunnel(&mut self) -> (Peer, TokioIo<Upgraded>) {
        let mut peer = self.say(HANDSHAKE).await;
        let head = peer.head().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        (peer, timeout(SOON, self.federated.ends.recv()).await.unwrap().unwrap())
    }
}

struct Peer(TcpStream);

impl Peer {
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(SOON, self.0.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn status(&mut self) -> String {
        self.head().await[9..12].to_owned()
    }
}

async fn pass(from: &mut (impl AsyncWrite + Unpin), to: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    let (said, got) = tokio::join!(from.write_all(bytes), timeout(SOON, to.read_exact(&mut heard)));
    said.unwrap();
    got.unwrap().unwrap();
    assert!(heard == bytes);
}

async fn until(condition: impl Fn() -> bool) {
    timeout(SOON, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_peer_is_passed_on_with_nothing_but_its_handshake() {
    let mut gateway = Gateway::start().await;
    let mut peer = gateway.say(HANDSHAKE).await;
    let mut lines: Vec<String> = peer.head().await.trim_end().lines().map(str::to_lowercase).collect();
    lines.retain(|line| !line.starts_with("date: "));
    assert_eq!(lines.remove(0), "http/1.1 101 switching protocols");
    lines.sort();
    let accept = format!("sec-websocket-accept: {}", ACCEPTED.to_lowercase());
    assert_eq!(lines, ["connection: upgrade", &accept, "upgrade: websocket"]);

    let (path, headers) = gateway.federated.asked.recv().await.unwrap();
    let mut headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    headers.sort_unstable();
    let expected = [
        ("connection", "upgrade"),
        ("host", "relay"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("upgrade", "websocket"),
    ];
    assert_eq!((path.as_str(), headers.as_slice()), ("/federation", expected.as_slice()));

    let mut end = gateway.federated.ends.recv().await.unwrap();
    assert_eq!(gateway.tunnels(), 1);
    let much: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    for bytes in [b"x".as_slice(), &much] {
        pass(&mut peer.0, &mut end, bytes).await;
        pass(&mut end, &mut peer.0, bytes).await;
    }
}

#[tokio::test]
async fn what_a_peer_says_right_behind_its_handshake_goes_along() {
    let mut gateway = Gateway::start().await;
    let _peer = gateway.say(&format!("{HANDSHAKE}early")).await;
    let mut end = timeout(SOON, gateway.federated.ends.recv()).await.unwrap().unwrap();
    let mut heard = [0; 5];
    timeout(SOON, end.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"early");
}

#[tokio::test]
async fn either_side_ends_the_tunnel_and_its_last_words_arrive() {
    let mut gateway = Gateway::start().await;
    let mut heard = Vec::new();
    let (mut peer, mut end) = gateway.tunnel().await;
    peer.0.write_all(b"last").await.unwrap();
    drop(peer);
    timeout(SOON, end.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, b"last");

    let (mut peer, mut end) = gateway.tunnel().await;
    heard.clear();
    // What nobody will read is on its way, too.
    peer.0.write_all(&[7; 100_000]).await.unwrap();
    end.write_all(b"last").await.unwrap();
    drop(end);
    timeout(SOON, peer.0.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, b"last");
    until(|| gateway.tunnels() == 0).await;
    drop(peer);
    until(|| gateway.active.get() == 0).await;
}

#[tokio::test]
async fn no_limit_of_requests_ends_a_tunnel() {
    let short = Duration::from_millis(100);
    let limits = Limits {
        head: short,
        idle: short,
        blocked: short,
        stalled: short,
        stuck: short,
        age: short,
        farewell: short,
        linger: short,
        quiet: SOON,
    };
    let mut gateway = Gateway::with(limits, 9, StatusCode::SWITCHING_PROTOCOLS).await;
    let (mut peer, mut end) = gateway.tunnel().await;
    tokio::time::sleep(4 * short).await;
    pass(&mut peer.0, &mut end, b"still").await;
    pass(&mut end, &mut peer.0, b"here").await;
}

#[tokio::test]
async fn a_tunnel_keeps_the_place_of_its_connection() {
    let limits = Limits::with_idle(SOON);
    let mut gateway = Gateway::with(limits, 1, StatusCode::SWITCHING_PROTOCOLS).await;
    let (peer, _end) = gateway.tunnel().await;
    assert_eq!(gateway.active.get(), 1);
    assert_eq!(gateway.say("GET /health HTTP/1.1\r\nhost: relay\r\n\r\n").await.status().await, "503");
    drop(peer);
    until(|| gateway.active.get() == 0).await;
    assert_eq!(gateway.say("GET /health HTTP/1.1\r\nhost: relay\r\n\r\n").await.status().await, "200");
}

#[tokio::test]
async fn stopping_ends_tunnels_at_once() {
    let mut gateway = Gateway::start().await;
    let (mut peer, mut end) = gateway.tunnel().await;
    gateway.stopping.begin();
    let mut heard = Vec::new();
    timeout(SOON, peer.0.read_to_end(&mut heard)).await.unwrap().unwrap();
    timeout(SOON, end.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(heard.is_empty());
    timeout(SOON, gateway.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_so() {
    let mut gateway = Gateway::start().await;
    for (left_out, status) in [
        ("connection: keep-alive, Upgrade\r\n", "400"),
        ("upgrade: WebSocket\r\n", "400"),
        ("sec-websocket-version: 13\r\n", "400"),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "400"),
        ("cookie: secret\r\n", "101"),
    ] {
        let mut peer = gateway.say(&HANDSHAKE.replace(left_out, "")).await;
        assert_eq!(peer.status().await, status, "{left_out}");
    }
    for (from, to, status) in [
        ("GET /federation", "HEAD /federation", "400"),
        ("GET /federation", "POST /federation", "405"),
        ("GET /federation", "GET /federation/", "404"),
        ("upgrade: WebSocket", "upgrade: h2c", "400"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("cookie: secret", "content-length: 3", "400"),
    ] {
        let mut peer = gateway.say(&HANDSHAKE.replace(from, to)).await;
        assert_eq!(peer.status().await, status, "{to}");
    }
    assert_eq!(gateway.federated.asked.len(), 1);
    assert!(timeout(SOON, gateway.federated.asked.recv()).await.unwrap().is_some());
}

#[tokio::test]
async fn http2_cannot_become_a_tunnel() {
    let gateway = Gateway::start().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://relay/federation").body(Empty::<Bytes>::new()).unwrap();
    let response = timeout(SOON, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ErrorCode::NotAnUpgrade.body());
}

#[tokio::test]
async fn what_federated_thinks_of_a_peer_is_told_in_the_gateways_words() {
    for (status, told) in [
        (StatusCode::BAD_REQUEST, "400"),
        (StatusCode::SERVICE_UNAVAILABLE, "503"),
        (StatusCode::OK, "503"),
        (StatusCode::FOUND, "503"),
    ] {
        let gateway = Gateway::with(Limits::with_idle(SOON), 9, status).await;
        let head = gateway.say(HANDSHAKE).await.head().await;
        assert_eq!(&head[9..12], told, "{status}");
        assert_eq!(head.contains("retry-after: 5"), told == "503", "{head}");
        until(|| gateway.tunnels() == 0).await;
    }
}

#[tokio::test]
async fn there_are_64_tunnels_and_no_more() {
    let mut gateway = Gateway::start().await;
    let tunnels = &gateway.relay.app.tunnels;
    let places: Vec<TunnelSlot> = (0..MOST).map(|_| tunnels.place(None).unwrap()).collect();
    assert_eq!((places.len(), gateway.tunnels()), (64, 64));
    let head = gateway.say(HANDSHAKE).await.head().await;
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 30"), "{head}");
    drop(places);
    let _tunnel = gateway.tunnel().await;
    assert_eq!(gateway.tunnels(), 1);
}

#[tokio::test]
async fn one_address_has_a_few_tunnels_and_takes_nobody_elses() {
    let gateway = Gateway::start().await;
    let tunnels = &gateway.relay.app.tunnels;
    let caller =
        |number| Some(RateLimitSubject::new(RateLimitClass::Client, AddressHash::from_bytes([number; 16])));
    let mut places: Vec<TunnelSlot> = (0..MOST_EACH).map(|_| tunnels.place(caller(1)).unwrap()).collect();
    assert_eq!(tunnels.place(caller(1)).err(), Some(ErrorCode::TooManyTunnels));
    places.push(tunnels.place(caller(2)).unwrap());
    assert_eq!(gateway.tunnels(), 9, "what was refused took nothing");
    places.remove(0);
    places.push(tunnels.place(caller(1)).unwrap());
    drop(places);
    assert_eq!(tunnels.each.clients(), 0, "nobody is remembered without a tunnel");
    assert_eq!(gateway.tunnels(), 0);
}

fn asked() -> HeaderMap {
    let lines = HANDSHAKE.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, value)| (name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn federated_that_is_away_or_frozen_costs_5_seconds_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tunnel.sock");
    let active = IntGauge::new("active", "Active.").unwrap();
    let tunnels = Tunnels::new(path.clone(), active.clone());
    let began = Instant::now();
    assert_eq!(tunnels.open(None, &asked()).await.err(), Some(ErrorCode::FederationAway));
    assert!(began.elapsed() < REACH);
    // Connections are made and nothing is ever said on them.
    let _frozen = UnixListener::bind(path).unwrap();
    let began = Instant::now();
    assert_eq!(tunnels.open(None, &asked()).await.err(), Some(ErrorCode::FederationAway));
    assert_eq!(began.elapsed(), REACH);
    assert_eq!(active.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_moves_ends() {
    let quiet = Duration::from_secs(150);
    let tunnels = Tunnels::new(PathBuf::new(), IntGauge::new("active", "Active.").unwrap());
    let ((mut peer, near), (far, mut end)) = (tokio::io::duplex(64), tokio::io::duplex(64));
    let tunnel = Tunnel::new(far, tunnels.place(None).unwrap());
    let carried = tokio::spawn(tunnel.carry(near, quiet));
    for _ in 0..10 {
        advance(quiet - Duration::from_secs(1)).await;
        pass(&mut peer, &mut end, b"ping").await;
        advance(quiet - Duration::from_secs(1)).await;
        pass(&mut end, &mut peer, b"pong").await;
    }
    let began = Instant::now();
    carried.await.unwrap();
    assert!(began.elapsed() >= quiet && began.elapsed() <= 2 * quiet + FAREWELL, "{:?}", began.elapsed());
    assert_eq!(tunnels.active.get(), 0);
}

async fn ask(relay: &Relay, method: Method, path: &str, origin: Origin) -> (StatusCode, Bytes) {
    let described = router::find(&method, path);
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    *request.headers_mut() = asked();
    request.extensions_mut().insert(Arrival { origin, account: None, router: None });
    let reply = reply::of_router(router::router(&relay.app), request).await;
    let (status, kind) = (reply.status(), reply.headers()["content-type"].to_str().unwrap().to_owned());
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    if let (Some(route), Origin::Direct(_), "application/json") = (described, origin, kind.as_str()) {
        openapi::check(route, status.as_u16(), &kind, &serde_json::from_slice(&body).unwrap()).unwrap();
    }
    (status, body)
}

fn direct() -> Origin {
    Origin::Direct("192.0.2.1".parse().unwrap())
}

#[tokio::test]
async fn the_key_is_shown_by_a_relay_that_peers() {
    let relay = Relay::start().await;
    for path in ["/federation", "/federation/key"] {
        let body = Bytes::from_static(ErrorCode::NoPeering.body().as_bytes());
        assert_eq!(ask(&relay, Method::GET, path, direct()).await, (StatusCode::NOT_FOUND, body), "{path}");
    }
    relay.post_policy(peering()).await;
    let shown = ask(&relay, Method::GET, "/federation/key", direct()).await;
    assert_eq!(shown, (StatusCode::OK, Bytes::from(KEY.to_base64url())));
    assert_eq!(
        ask(&relay, Method::POST, "/federation/key", direct()).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn peers_come_by_themselves_and_never_inside_a_sealed_request() {
    let relay = Relay::start().await;
    relay.post_policy(peering()).await;
    let origin =
        Origin::Oblivious { caller: None, request_id: RequestId::from_bytes([1; 16]), refused: None };
    for path in ["/federation", "/federation/key"] {
        let body = Bytes::from_static(ErrorCode::NotFound.body().as_bytes());
        assert_eq!(ask(&relay, Method::GET, path, origin).await, (StatusCode::NOT_FOUND, body), "{path}");
    }
}

#[tokio::test]
async fn peers_are_charged_like_any_address() {
    let relay = Relay::start().await;
    relay.post_policy(Policy { address_rate: 2, ..peering() }).await;
    assert_eq!(ask(&relay, Method::GET, "/federation/key", direct()).await.0, StatusCode::OK);
    assert_eq!(ask(&relay, Method::GET, "/federation", direct()).await.0, StatusCode::BAD_REQUEST);
    for path in ["/federation", "/federation/key"] {
        assert_eq!(ask(&relay, Method::GET, path, direct()).await.0, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    assert_eq!(relay.app.metrics.limited_addresses.get(), 2);
    assert_eq!(relay.app.metrics.rejections(Reason::RateLimited), 0, "these are no messages of clients");
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_nobody_knows_whether_the_relay_peers() {
    let relay = Relay::without_policy();
    let reply = relay.request(Method::GET, "/federation/key", &[], "").await;
    assert_eq!(reply.error(503), "storage is not reachable");
}
