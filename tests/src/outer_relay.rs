//! A relay for Oblivious HTTP (RFC 9458) between clients and a gateway, as the deployed one is: at an origin of its
//! own, with bounds on what goes in and out. It drops every header, shows any error of the gateway's as 502, and keeps
//! keys for a while. A client that goes through it sees nothing of the gateway but what it lets through.

use crate::oblivious;
use crate::reply::Reply;
use crate::signed_key;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use relay_client::{Connection, Error, KeptConnection};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Most bytes of a request.
pub const LONGEST_REQUEST: usize = 64 << 10;
/// Most bytes of an answer.
pub const LONGEST_ANSWER: usize = 128 << 10;

/// How long a request waits to be overtaken, where requests overtake one another.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(50);

/// How an outer relay behaves.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// How long it shows a key without asking for it again.
    pub keeps_keys: Duration,
    /// Whether it brings every request twice.
    pub duplicates: bool,
    /// Whether every other request waits for a later one to overtake it.
    pub reorders: bool,
    /// Whether it sends everybody elsewhere, to the gateway itself.
    pub redirects: bool,
    /// Whether it changes a byte of the anchor rollovers on their way.
    pub spoils_rollovers: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            keeps_keys: Duration::from_secs(300),
            duplicates: false,
            reorders: false,
            redirects: false,
            spoils_rollovers: false,
        }
    }
}

/// The relay. It ends with this.
#[derive(Debug)]
pub struct OuterRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    habits: Habits,
    kept: Mutex<HashMap<String, (Instant, Reply)>>,
    requests: AtomicUsize,
    failures: AtomicUsize,
    largest: AtomicUsize,
    passed: Notify,
}

impl OuterRelay {
    /// Brings requests to a gateway, or to a fault proxy in front of one.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(target: SocketAddr, habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            target,
            habits,
            kept: Mutex::default(),
            requests: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
            passed: Notify::new(),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sealed requests that came.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Sealed requests that were answered with another status than 200.
    pub fn failures(&self) -> usize {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Bytes of the longest answer to a sealed request that the gateway gave.
    pub fn largest(&self) -> usize {
        self.shared.largest.load(Ordering::Relaxed)
    }
}

impl Drop for OuterRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a connection, with one connection to the gateway for it.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let upstream = Arc::new(KeptConnection::default());
    let service = service_fn(move |request| {
        let (shared, upstream) = (Arc::clone(&shared), Arc::clone(&upstream));
        async move { Ok::<_, Infallible>(shared.answer(request, &upstream).await) }
    });
    // Ends when either side closes.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>, upstream: &KeptConnection) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if self.habits.redirects {
            let mut elsewhere = bare(StatusCode::TEMPORARY_REDIRECT, Bytes::new());
            let location = HeaderValue::try_from(format!("http://{}{path}", self.target));
            elsewhere.headers_mut().insert(LOCATION, location.expect("an address and a path"));
            return elsewhere;
        }
        match (request.method(), path.as_str()) {
            (&Method::POST, oblivious::PATH) => {
                let answer = self.bring(request, upstream).await;
                let answer = answer.unwrap_or_else(|status| bare(status, Bytes::new()));
                self.requests.fetch_add(1, Ordering::Relaxed);
                self.failures.fetch_add(usize::from(answer.status() != 200), Ordering::Relaxed);
                answer
            }
            (&Method::GET, oblivious::KEY_PATH | signed_key::PATH) => self.key(&path, upstream).await,
            (&Method::GET, signed_key::ROLLOVER_PATH) => {
                let mut reply = self.ask(Method::GET, &path, None, Bytes::new(), upstream).await;
                if self.habits.spoils_rollovers
                    && let Ok(reply) = &mut reply
                {
                    let mut body = reply.body.to_vec();
                    body.last_mut().map(|last| *last ^= 1).expect("a list of rollovers");
                    reply.body = body.into();
                }
                let_through(reply).unwrap_or_else(|status| bare(status, Bytes::new()))
            }
            (&Method::GET, "/health") => bare(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)),
            _ => bare(StatusCode::NOT_FOUND, Bytes::new()),
        }
    }

    async fn bring(
        &self,
        request: Request<Incoming>,
        upstream: &KeptConnection,
    ) -> Result<Response<Full<Bytes>>, StatusCode> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, LONGEST_REQUEST).collect().await;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
        if self.habits.reorders && self.requests.load(Ordering::Relaxed).is_multiple_of(2) {
            // Nobody may come by; then it goes on as it would have.
            drop(timeout(OVERTAKEN_WITHIN, self.passed.notified()).await);
        }
        let times = if self.habits.duplicates { 2 } else { 1 };
        let mut reply = Err(io::Error::other("nothing was asked"));
        for _ in 0..times {
            let headers = Some(&head.headers);
            reply = self.ask(Method::POST, oblivious::PATH, headers, body.clone(), upstream).await;
        }
        self.passed.notify_waiters();
        if let Ok(reply) = &reply {
            self.largest.fetch_max(reply.body.len(), Ordering::Relaxed);
        }
        let_through(reply)
    }

    /// A key, kept from before or fetched.
    async fn key(&self, path: &str, upstream: &KeptConnection) -> Response<Full<Bytes>> {
        let kept = self.kept.lock().expect("nobody panics with it").get(path).cloned();
        if let Some((since, reply)) = kept
            && since.elapsed() < self.habits.keeps_keys
        {
            return let_through(Ok(reply)).unwrap_or_else(|status| bare(status, Bytes::new()));
        }
        let reply = self.ask(Method::GET, path, None, Bytes::new(), upstream).await;
        if let Ok(reply) = &reply
            && reply.status == 200
        {
            let kept = (Instant::now(), reply.clone());
            self.kept.lock().expect("nobody panics with it").insert(path.to_owned(), kept);
        }
        let_through(reply).unwrap_or_else(|status| bare(status, Bytes::new()))
    }

    /// Asks the gateway. Of the headers only the content type goes along.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: Option<&HeaderMap>,
        body: Bytes,
        upstream: &KeptConnection,
    ) -> io::Result<Reply> {
        let kind = headers.and_then(|headers| headers.get(CONTENT_TYPE)?.to_str().ok());
        let headers = kind.map(|kind| ("content-type", kind));
        let request = relay_client::request(method.as_str(), &self.target.to_string(), path, headers, body)?;
        let connect = async || -> Result<Connection, Error> {
            Connection::over(TcpStream::connect(self.target).await?).await
        };
        Ok(upstream.send(request, connect).await?.into())
    }
}

/// What a client sees of a gateway's answer.
fn let_through(reply: io::Result<Reply>) -> Result<Response<Full<Bytes>>, StatusCode> {
    let reply = reply.map_err(|_| StatusCode::BAD_GATEWAY)?;
    if reply.status >= 400 || reply.body.len() > LONGEST_ANSWER {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let mut response =
        bare(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY), reply.body);
    if let Some(kind) = reply.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    Ok(response)
}

fn bare(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Via};
    use crate::front::{Front, Habits as FrontHabits};

    #[tokio::test]
    async fn it_lets_through_what_the_deployed_one_does() {
        let target = Front::start(
            "127.0.0.1:9".parse().unwrap(),
            FrontHabits { answer: Some("anything"), ..FrontHabits::default() },
        )
        .await;
        let relay = OuterRelay::start(target.address(), Habits::default()).await;
        let client = Client::new(relay.address(), Via::Plain);
        let post = async |length: usize| client.raw("POST", oblivious::PATH, &[], vec![0; length]).await;
        assert_eq!(post(LONGEST_REQUEST).await.text(), "anything");
        assert_eq!(post(LONGEST_REQUEST + 1).await.status, 413);
        assert_eq!(client.raw("GET", "/health", &[], "").await.text(), r#"{"status":"ok"}"#);
        for path in ["/v2/send", "/metrics", "/v2/health", oblivious::WELL_KNOWN] {
            assert_eq!(client.raw("GET", path, &[], "").await.status, 404, "{path}");
        }
        assert_eq!(client.raw("GET", oblivious::KEY_PATH, &[], "").await.text(), "anything");
        drop(target);
        let kept = client.another().raw("GET", oblivious::KEY_PATH, &[], "").await;
        assert_eq!((kept.status, kept.text()), (200, "anything".to_owned()), "from before");
        assert_eq!(client.another().raw("GET", signed_key::ROLLOVER_PATH, &[], "").await.status, 502);
        let failed = client.another().raw("POST", oblivious::PATH, &[], "").await;
        assert_eq!(failed.status, 502);
        assert_eq!((relay.requests(), relay.failures(), relay.largest()), (3, 2, 8));
    }

    #[test]
    fn errors_and_long_answers_become_502_and_headers_stay_behind() {
        let reply = |status, length| {
            let mut headers = HeaderMap::new();
            headers.insert("x-secret", "1".parse().unwrap());
            headers.insert(CONTENT_TYPE, "message/ohttp-res".parse().unwrap());
            Ok(Reply::plain(status, headers, vec![0; length].into()))
        };
        for (status, length) in [(400, 0), (429, 0), (503, 0), (200, LONGEST_ANSWER + 1)] {
            assert_eq!(let_through(reply(status, length)).unwrap_err(), StatusCode::BAD_GATEWAY);
        }
        let passed = let_through(reply(200, LONGEST_ANSWER)).unwrap();
        assert_eq!(passed.headers().keys().collect::<Vec<_>>(), [CONTENT_TYPE]);
    }
}
