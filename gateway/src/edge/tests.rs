//! The edge over real connections, with limits of milliseconds.

use super::*;
use http_body_util::{BodyExt as _, Empty};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use relay_daemon::Shutdown;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Longer than any limit here, shorter than anybody's patience.
const SOON: Duration = Duration::from_secs(5);

const LIMIT: Duration = Duration::from_millis(150);

/// Replies `/slow` when told to, `/large` with more than any socket holds, `/refuse` without reading.
struct Pages(Arc<Semaphore>);

impl Handler for Pages {
    fn handle(&self, _: IpAddr, request: Request<TrackedBody>) -> ResponseFuture {
        let slow = Arc::clone(&self.0);
        Box::pin(async move {
            let body = match request.uri().path() {
                "/slow" => {
                    slow.acquire().await.unwrap().forget();
                    Bytes::from_static(b"slow")
                }
                "/large" => Bytes::from(vec![b'x'; 64 << 20]),
                _ => Bytes::from_static(b"page"),
            };
            let mut response = Response::new(Full::new(body));
            if request.uri().path() == "/refuse" {
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            } else {
                request.into_body().collect().await.unwrap();
            }
            response
        })
    }
}

struct Edge {
    address: SocketAddr,
    slow: Arc<Semaphore>,
    active: IntGauge,
    refused: IntCounter,
    accepting: Arc<AtomicBool>,
    stopping: Shutdown,
    served: JoinHandle<()>,
}

impl Edge {
    async fn with(limits: Limits, max_connections: usize) -> Self {
        Self::changed(limits, max_connections, |_| {}).await
    }

    async fn changed(
        limits: Limits,
        max_connections: usize,
        change: impl FnOnce(&mut Server<Pages>),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = Arc::new(Semaphore::new(0));
        let active = IntGauge::new("active", "Active.").unwrap();
        let refused = IntCounter::new("refused", "Refused.").unwrap();
        let accepting = Arc::new(AtomicBool::new(false));
        let mut server = Server {
            handler: Pages(Arc::clone(&slow)),
            limits,
            max_connections,
            turned_away: "{}",
            replaces: false,
            per_address: None,
            shared_peers: SharedPeers::default(),
            accepting: Arc::clone(&accepting),
            active: active.clone(),
            refused: refused.clone(),
        };
        change(&mut server);
        let stopping = Shutdown::default();
        let served = tokio::spawn(serve(listener, server, stopping.clone()));
        Self { address, slow, active, refused, accepting, stopping, served }
    }

    async fn start() -> Self {
        Self::with(Limits::with_idle(SOON), 100).await
    }

    async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.unwrap())
    }
}

struct Peer(TcpStream);

impl Peer {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the text ends with something.
    async fn hear_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        timeout(SOON, async {
            while !text.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => text.push(byte),
                    Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&text)),
                }
            }
        })
        .await
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Reads until the relay closes.
    async fn hear_all(&mut self) -> String {
        let mut text = Vec::new();
        timeout(SOON, self.0.read_to_end(&mut text)).await.unwrap().unwrap();
        String::from_utf8(text).unwrap()
    }

    async fn ask(&mut self, path: &str) {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: relay\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_is_counted_while_it_lasts() {
    let edge = Edge::start().await;
    let mut peer = edge.connect().await;
    for _ in 0..3 {
        peer.ask("/").await;
        assert!(peer.hear_until("page").await.starts_with("HTTP/1.1 200"));
        assert_eq!(edge.active.get(), 1);
        assert!(edge.accepting.load(Relaxed));
    }
    drop(peer);
    timeout(SOON, async {
        while edge.active.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_head_that_does_not_end_costs_the_connection() {
    let edge = Edge::with(Limits { head: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    let mut peer = edge.connect().await;
    let began = Instant::now();
    peer.say("GET / HTTP/1.1\r\nx: ").await;
    assert_eq!(peer.hear_all().await, "");
    assert!(began.elapsed() >= LIMIT);
}

#[tokio::test]
async fn waiting_between_requests_is_no_slow_head() {
    let edge = Edge::with(Limits { head: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    let mut peer = edge.connect().await;
    for _ in 0..2 {
        peer.ask("/").await;
        peer.hear_until("page").await;
        tokio::time::sleep(2 * LIMIT).await;
    }
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_waiting_one_does_not() {
    let edge = Edge::with(Limits::with_idle(LIMIT), 9).await;
    let (mut silent, mut served, mut waiting) =
        (edge.connect().await, edge.connect().await, edge.connect().await);
    waiting.ask("/slow").await;
    served.ask("/").await;
    served.hear_until("page").await;
    assert_eq!(silent.hear_all().await, "");
    assert_eq!(served.hear_all().await, "");
    edge.slow.add_permits(1);
    waiting.hear_until("slow").await;
}

#[tokio::test]
async fn a_connection_ends_at_its_age_after_the_request_in_progress() {
    let edge = Edge::with(Limits { age: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    let mut peer = edge.connect().await;
    peer.ask("/slow").await;
    tokio::time::sleep(2 * LIMIT).await;
    edge.slow.add_permits(1);
    let answer = peer.hear_all().await;
    assert!(answer.ends_with("slow"), "{answer}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let edge = Edge::with(Limits { blocked: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    let mut peer = edge.connect().await;
    peer.ask("/large").await;
    timeout(SOON, async {
        while edge.active.get() == 0 {
            tokio::task::yield_now().await;
        }
        while edge.active.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_half_closed_peer_gets_its_answer() {
    let edge = Edge::start().await;
    let mut peer = edge.connect().await;
    peer.ask("/slow").await;
    peer.0.shutdown().await.unwrap();
    edge.slow.add_permits(1);
    let answer = peer.hear_all().await;
    assert!(answer.ends_with("slow"), "{answer}");
}

#[tokio::test]
async fn a_refusal_reaches_a_peer_that_is_still_sending() {
    let edge = Edge::start().await;
    let (mut reader, mut writer) = edge.connect().await.0.into_split();
    let sending = tokio::spawn(async move {
        let head = format!("POST /refuse HTTP/1.1\r\nhost: relay\r\ncontent-length: {}\r\n\r\n", 10 << 20);
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(&vec![b'x'; 10 << 20]).await
    });
    let mut answer = String::new();
    timeout(SOON, reader.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_goes_on_when_the_body_was_taken_and_says_when_it_does_not() {
    let edge = Edge::start().await;
    let mut peer = edge.connect().await;
    for _ in 0..2 {
        peer.say("POST / HTTP/1.1\r\nhost: relay\r\ncontent-length: 4\r\n\r\nbody").await;
        assert!(!peer.hear_until("page").await.contains("connection: close"));
    }
    peer.say("POST /refuse HTTP/1.1\r\nhost: relay\r\ncontent-length: 4\r\n\r\n").await;
    assert!(peer.hear_all().await.contains("connection: close"));
}

#[tokio::test]
async fn stopping_lets_streams_of_http2_end() {
    let edge = Edge::start().await;
    let stream = TcpStream::connect(edge.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://relay/slow").body(Empty::<Bytes>::new()).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    timeout(SOON, async {
        while edge.active.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    edge.stopping.begin();
    tokio::time::sleep(Duration::from_millis(700)).await;
    edge.slow.add_permits(1);
    let response = timeout(SOON, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "slow");
    timeout(SOON, edge.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn too_many_connections_are_told_so_and_room_is_given_back() {
    let edge = Edge::with(Limits::with_idle(SOON), 1).await;
    let mut first = edge.connect().await;
    first.ask("/").await;
    first.hear_until("page").await;
    let mut second = edge.connect().await;
    second.ask("/").await;
    let answer = second.hear_until("{}").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(edge.refused.get(), 1);
    drop((first, second));
    timeout(SOON, async {
        loop {
            let mut third = edge.connect().await;
            third.ask("/").await;
            if third.0.read_u8().await.is_ok() && third.hear_until("\r\n").await.contains(" 200 ") {
                break;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn broken_heads_are_answered_or_closed() {
    let edge = Edge::start().await;
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * BUFFER));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
    for (text, status) in
        [("nonsense\r\n\r\n", "400"), ("GET / HTTP/9.9\r\n\r\n", ""), (&long, "431"), (&many, "431")]
    {
        let mut peer = edge.connect().await;
        // The reply may come before everything was said.
        drop(peer.0.write_all(text.as_bytes()).await);
        let answer = peer.hear_all().await;
        assert!(answer.contains(status), "{answer}");
        assert!(!answer.contains(" 5"), "{answer}");
    }
}

#[tokio::test]
async fn http2_is_served_and_may_pause_between_requests() {
    let edge = Edge::with(Limits { head: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    let stream = TcpStream::connect(edge.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = Request::get("http://relay/").body(Empty::<Bytes>::new()).unwrap();
        let response = timeout(SOON, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "page");
        tokio::time::sleep(2 * LIMIT).await;
    }
}

#[tokio::test]
async fn stopping_answers_what_is_in_progress_and_what_was_just_about_to_be() {
    let edge = Edge::start().await;
    let (mut busy, mut idle, mut silent) = (edge.connect().await, edge.connect().await, edge.connect().await);
    busy.ask("/slow").await;
    idle.ask("/").await;
    idle.hear_until("page").await;
    edge.stopping.begin();
    timeout(SOON, async {
        while TcpStream::connect(edge.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    idle.ask("/").await;
    let last = idle.hear_all().await;
    assert!(last.contains("connection: close") && last.ends_with("page"), "{last}");
    assert_eq!(silent.hear_all().await, "");
    assert!(!edge.served.is_finished());
    edge.slow.add_permits(1);
    let answer = busy.hear_all().await;
    assert!(answer.contains("connection: close") && answer.ends_with("slow"), "{answer}");
    timeout(SOON, edge.served).await.unwrap().unwrap();
}

/// Limits of one address, and what counts refusals.
fn per_address(most: usize) -> PerAddress {
    PerAddress { most, turned_away: "[]", refused: IntCounter::new("crowds", "Crowds.").unwrap() }
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_is_told_when_it_wants_more() {
    let limit = per_address(2);
    let crowds = limit.refused.clone();
    let edge = Edge::changed(Limits::with_idle(SOON), 9, |server| server.per_address = Some(limit)).await;
    let mut held = [edge.connect().await, edge.connect().await];
    for peer in &mut held {
        peer.ask("/").await;
        peer.hear_until("page").await;
    }
    let mut third = edge.connect().await;
    third.ask("/").await;
    let answer = third.hear_until("[]").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!((crowds.get(), edge.refused.get()), (1, 0));
    let [first, _second] = held;
    drop(first);
    timeout(SOON, async {
        while edge.active.get() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let mut third = edge.connect().await;
    third.ask("/").await;
    assert!(third.hear_until("page").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn no_limit_of_one_address_holds_for_peers_that_many_share() {
    let edge = Edge::changed(Limits::with_idle(SOON), 9, |server| {
        server.per_address = Some(per_address(1));
        server.shared_peers = SharedPeers(vec!["127.0.0.0/8".parse().unwrap()]);
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut peer = edge.connect().await;
        peer.ask("/").await;
        assert!(peer.hear_until("page").await.starts_with("HTTP/1.1 200"));
        held.push(peer);
    }
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_one_that_has_waited_longest() {
    let edge = Edge::changed(Limits::with_idle(SOON), 2, |server| server.replaces = true).await;
    let (mut waiting, mut busy) = (edge.connect().await, edge.connect().await);
    busy.ask("/slow").await;
    waiting.ask("/").await;
    waiting.hear_until("page").await;
    let mut newcomer = edge.connect().await;
    newcomer.ask("/").await;
    assert!(newcomer.hear_until("page").await.starts_with("HTTP/1.1 200"));
    assert_eq!(waiting.hear_all().await, "");
    newcomer.ask("/slow").await;
    timeout(SOON, async {
        loop {
            let mut refused = edge.connect().await;
            refused.ask("/").await;
            // Before its request has come, the newcomer waits as well.
            if refused.hear_until("\r\n").await.contains(" 503 ") {
                break;
            }
        }
    })
    .await
    .unwrap();
    edge.slow.add_permits(2);
    busy.hear_until("slow").await;
}

#[tokio::test]
async fn an_answer_over_http2_that_has_no_room_ends_its_connection_however_alive_the_peer_is() {
    let edge = Edge::with(Limits { stalled: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    for window in [0, 1] {
        let stream = TcpStream::connect(edge.address).await.unwrap();
        let mut http2 = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(LIMIT / 10)
            .initial_stream_window_size(Some(window));
        let (mut sender, connection) = http2.handshake(TokioIo::new(stream)).await.unwrap();
        let ended = tokio::spawn(connection);
        let request = Request::get("http://relay/").body(Empty::<Bytes>::new()).unwrap();
        let response = timeout(SOON, sender.send_request(request)).await.unwrap().unwrap();
        timeout(SOON, ended).await.unwrap().unwrap().unwrap_err();
        assert!(response.into_body().collect().await.is_err(), "{window}");
    }
}

#[tokio::test]
async fn an_answer_over_http2_arrives_whole_in_its_pieces() {
    let edge = Edge::with(Limits { stalled: LIMIT, ..Limits::with_idle(SOON) }, 9).await;
    let stream = TcpStream::connect(edge.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://relay/large").body(Empty::<Bytes>::new()).unwrap();
    let response = timeout(SOON, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-length"], (64 << 20).to_string());
    let body = timeout(4 * SOON, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    assert!(body.len() == 64 << 20 && body.iter().all(|byte| *byte == b'x'));
}
