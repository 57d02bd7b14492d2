//! Asking a target, over connections that are kept for the next request.

use super::body;
use super::connect::Connector;
use super::metrics::OuterMetrics;
use super::reply::{ForwardError, PassedHead};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use relay_daemon::variables::ObliviousTarget;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Content type of sealed requests, which is all that a target learns of a client's headers.
pub(super) const SEALED: &str = "message/ohttp-req";

/// Requests to one target at once, each on a connection of its own. A relay grants one address as many, unless its
/// operator names it.
const AT_ONCE: usize = 64;

/// How long a request waits for one of those.
const WAITS_FOR_PLACE: Duration = Duration::from_secs(5);

/// How long a connection is kept without a request. Servers close them after a minute or so.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Connections that are kept for one target.
const MOST_KEPT: usize = 32;

/// Bytes of the head of an answer, and its fields.
const LONGEST_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// What a target answered.
#[derive(Debug)]
pub(super) struct TargetAnswer {
    pub(super) passed: PassedHead,
    /// For how long it says that it may be kept is read of these; nothing else of them passes.
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A relay that requests are brought to.
pub(super) struct Target {
    url: ObliviousTarget,
    host: HeaderValue,
    connector: Arc<Connector>,
    kept: Mutex<Vec<(Sender, Instant)>>,
    places: Semaphore,
    limit: Duration,
    metrics: Arc<OuterMetrics>,
}

/// A connection without a request.
type Sender = SendRequest<Full<Bytes>>;

/// One of the places for requests to a target, until dropped.
pub(super) struct TargetPlace<'a> {
    target: &'a Target,
    _permit: SemaphorePermit<'a>,
}

impl TargetPlace<'_> {
    /// Brings a sealed request to one of the target's paths.
    ///
    /// # Errors
    /// When there is no answer that may pass.
    pub(super) async fn post(self, path: &'static str, sealed: Bytes) -> Result<TargetAnswer, ForwardError> {
        self.ask(&Method::POST, path, sealed, body::LONGEST_ANSWER).await
    }

    async fn ask(
        self,
        method: &Method,
        path: &'static str,
        body: Bytes,
        longest: usize,
    ) -> Result<TargetAnswer, ForwardError> {
        timeout(self.target.limit, self.target.exchange(method, path, body, longest))
            .await
            .unwrap_or(Err(ForwardError::Silent))
    }
}

impl Target {
    /// A target that has so much time for an answer.
    ///
    /// # Errors
    /// When its host cannot be named in a header.
    pub(super) fn new(
        url: ObliviousTarget,
        connector: Arc<Connector>,
        limit: Duration,
        metrics: Arc<OuterMetrics>,
    ) -> Result<Self, hyper::header::InvalidHeaderValue> {
        let host = HeaderValue::from_str(url.authority())?;
        let (kept, places) = (Mutex::default(), Semaphore::new(AT_ONCE));
        Ok(Self { url, host, connector, kept, places, limit, metrics })
    }

    /// A place for one request.
    ///
    /// # Errors
    /// When others hold all of them for too long.
    pub(super) async fn place(&self) -> Result<TargetPlace<'_>, ForwardError> {
        match timeout(WAITS_FOR_PLACE, self.places.acquire()).await {
            Ok(Ok(permit)) => Ok(TargetPlace { target: self, _permit: permit }),
            _ => Err(ForwardError::Crowded),
        }
    }

    /// Asks for what one of its paths shows, of at most so many bytes.
    ///
    /// # Errors
    /// When there is no answer that may pass.
    pub(super) async fn get(&self, path: &'static str, longest: usize) -> Result<TargetAnswer, ForwardError> {
        self.place().await?.ask(&Method::GET, path, Bytes::new(), longest).await
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &'static str,
        body: Bytes,
        longest: usize,
    ) -> Result<TargetAnswer, ForwardError> {
        let request = self.request(method, path, body);
        let (sender, response) = match self.take_kept().await {
            Some(mut sender) => match sender.try_send_request(request).await {
                Ok(response) => (sender, response),
                // Closed before any of it was sent. Nothing else is sent again: RFC 9458, section 6.5, forbids it where
                // the target may have processed the request.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        self.metrics.retries.inc();
                        self.send_over_new(unsent).await?
                    }
                    None => return Err(ForwardError::Unreachable),
                },
            },
            None => self.send_over_new(request).await?,
        };
        let (head, body) = response.into_parts();
        let passed = PassedHead::of(head.status, &head.headers)?;
        let body = body::answer(body, longest).await?;
        self.keep(sender);
        Ok(TargetAnswer { passed, headers: head.headers, body })
    }

    async fn send_over_new(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Sender, Response<Incoming>), ForwardError> {
        let mut sender = self.open().await?;
        let response = sender.send_request(request).await.map_err(|_| ForwardError::Unreachable)?;
        Ok((sender, response))
    }

    /// A request in which nothing is of the client but the sealed bytes.
    fn request(&self, method: &Method, path: &'static str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = hyper::Uri::from_static(path);
        request.headers_mut().insert(HOST, self.host.clone());
        if *method == Method::POST {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SEALED));
        }
        request
    }

    async fn open(&self) -> Result<Sender, ForwardError> {
        let connected = self.connector.connect(&self.url).await?;
        self.metrics.target_connections.inc();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(connected))
            .await
            .map_err(|_| ForwardError::Unreachable)?;
        // Ends when either side closes. What goes wrong is told to the request, and may quote the target.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// The connection that was kept last, of those that are open.
    async fn take_kept(&self) -> Option<Sender> {
        // Where one thread does everything, nobody has looked yet whether the other side closed them.
        if !self.kept().is_empty() {
            tokio::task::yield_now().await;
        }
        loop {
            let (mut sender, since) = self.kept().pop()?;
            if since.elapsed() < KEPT_FOR && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: Sender) {
        let mut kept = self.kept();
        kept.retain(|(sender, since)| since.elapsed() < KEPT_FOR && !sender.is_closed());
        if kept.len() < MOST_KEPT && !sender.is_closed() {
            kept.push((sender, Instant::now()));
        }
    }

    /// It is whole after any panic.
    fn kept(&self) -> MutexGuard<'_, Vec<(Sender, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    const SEALED_ANSWER: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-res\r\ncontent-length: 6\r\n\r\nsealed";

    async fn target(limit: Duration) -> (TcpListener, Arc<OuterMetrics>, Target) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let metrics = Arc::new(OuterMetrics::new().unwrap());
        let target = Target::new(url, Arc::default(), limit, Arc::clone(&metrics)).unwrap();
        (listener, metrics, target)
    }

    const LIMIT: Duration = Duration::from_secs(20);

    async fn ask(target: &Target) -> Result<TargetAnswer, ForwardError> {
        target.place().await?.post("/v2/ohttp", Bytes::from_static(b"question")).await
    }

    /// Reads one request, whose body is `question`.
    async fn heard(stream: &mut TcpStream) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"question") {
            assert!(
                stream.read_buf(&mut request).await.unwrap() > 0,
                "{}",
                String::from_utf8_lossy(&request)
            );
        }
        String::from_utf8(request).unwrap()
    }

    async fn accept(listener: &TcpListener) -> TcpStream {
        listener.accept().await.unwrap().0
    }

    #[tokio::test]
    async fn a_target_sees_nothing_but_the_sealed_bytes() {
        let (listener, _, target) = target(LIMIT).await;
        let serving = async {
            let mut stream = accept(&listener).await;
            let request = heard(&mut stream).await;
            stream.write_all(SEALED_ANSWER.as_bytes()).await.unwrap();
            request
        };
        let (answer, request) = tokio::join!(ask(&target), serving);
        let answer = answer.unwrap();
        assert_eq!((answer.passed.status, &answer.body[..]), (StatusCode::OK, &b"sealed"[..]));
        let host = listener.local_addr().unwrap();
        let expected = format!(
            "POST /v2/ohttp HTTP/1.1\r\nhost: {host}\r\ncontent-type: message/ohttp-req\r\ncontent-length: 8\r\n\r\nquestion"
        );
        assert_eq!(request, expected);
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_the_next_request_and_one_that_was_closed_is_not_used() {
        let (listener, metrics, target) = target(LIMIT).await;
        let serving = async {
            for _ in 0..2 {
                let mut stream = accept(&listener).await;
                for _ in 0..2 {
                    heard(&mut stream).await;
                    stream.write_all(SEALED_ANSWER.as_bytes()).await.unwrap();
                }
            }
        };
        let asking = async {
            for _ in 0..4 {
                assert!(ask(&target).await.is_ok());
            }
        };
        tokio::join!(serving, asking);
        assert_eq!(metrics.target_connections.get(), 2);
    }

    #[tokio::test]
    async fn a_request_that_was_sent_is_not_sent_again_also_where_a_kept_connection_is_closed_under_it() {
        let (listener, metrics, target) = target(LIMIT).await;
        let serving = async {
            heard(&mut accept(&listener).await).await;
            let mut stream = accept(&listener).await;
            heard(&mut stream).await;
            stream.write_all(SEALED_ANSWER.as_bytes()).await.unwrap();
            heard(&mut stream).await;
        };
        let asking = async {
            assert_eq!(ask(&target).await.err(), Some(ForwardError::Unreachable), "a new one");
            assert!(ask(&target).await.is_ok());
            assert_eq!(ask(&target).await.err(), Some(ForwardError::Unreachable), "a kept one");
        };
        tokio::join!(serving, asking);
        assert_eq!((metrics.target_connections.get(), metrics.retries.get()), (2, 0));
    }

    /// Keeps a connection that is lost while a request waits to be sent over it.
    async fn keep_one_that_is_lost(target: &Target) -> impl Future<Output = ()> + use<> {
        let (near, far) = tokio::io::duplex(1024);
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let mut connection = Box::pin(connection);
        assert!(futures_util::poll!(&mut connection).is_pending(), "it is ready for a request");
        target.keep(sender);
        async move {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            drop((connection, far));
        }
    }

    #[tokio::test]
    async fn a_request_that_a_kept_connection_hands_back_unsent_goes_by_a_new_one() {
        let (listener, metrics, target) = target(LIMIT).await;
        let losing = keep_one_that_is_lost(&target).await;
        let serving = async {
            let mut stream = accept(&listener).await;
            heard(&mut stream).await;
            stream.write_all(SEALED_ANSWER.as_bytes()).await.unwrap();
        };
        let (answer, (), ()) = tokio::join!(ask(&target), losing, serving);
        assert!(answer.is_ok());
        assert_eq!((metrics.target_connections.get(), metrics.retries.get()), (1, 1));
    }

    #[tokio::test]
    async fn what_began_to_answer_is_not_asked_again() {
        for begun in ["H", "HTTP/1.1 200 OK\r\n", &SEALED_ANSWER[..SEALED_ANSWER.len() - 1]] {
            let (listener, metrics, target) = target(LIMIT).await;
            let serving = async {
                let mut stream = accept(&listener).await;
                heard(&mut stream).await;
                stream.write_all(begun.as_bytes()).await.unwrap();
            };
            let (answer, ()) = tokio::join!(ask(&target), serving);
            assert!(matches!(answer, Err(ForwardError::Unreachable | ForwardError::Unusable)), "{begun}");
            assert_eq!(metrics.retries.get(), 0, "{begun}");
        }
    }

    #[tokio::test]
    async fn silence_has_its_limit_wherever_it_begins() {
        for begun in ["", "HTTP/1.1 200 OK\r\n", &SEALED_ANSWER[..SEALED_ANSWER.len() - 1]] {
            let (listener, _, target) = target(Duration::from_millis(50)).await;
            let serving = async {
                let mut stream = accept(&listener).await;
                heard(&mut stream).await;
                stream.write_all(begun.as_bytes()).await.unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0, "it is given up");
            };
            let (answer, ()) = tokio::join!(ask(&target), serving);
            assert_eq!(answer.err(), Some(ForwardError::Silent), "{begun}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_none_does_not_pass() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-res\r\n";
        let long = "x".repeat(body::LONGEST_ANSWER + 1);
        let announced = format!("{head}content-length: {}\r\n\r\n{long}", long.len());
        let chunked =
            format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
        let endless = format!("{head}x: {long}\r\n\r\n");
        for (answer, error) in [
            (announced.as_str(), ForwardError::Unusable),
            (&chunked, ForwardError::Unusable),
            (&endless, ForwardError::Unreachable),
            (
                "HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n",
                ForwardError::Unusable,
            ),
            ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", ForwardError::Unusable),
            ("SSH-2.0-server\r\n\r\n", ForwardError::Unreachable),
        ] {
            let (listener, _, target) = target(LIMIT).await;
            let serving = async {
                let mut stream = accept(&listener).await;
                heard(&mut stream).await;
                // It may be given up before all of it is written.
                drop(stream.write_all(answer.as_bytes()).await);
            };
            let (answered, ()) = tokio::join!(ask(&target), serving);
            assert_eq!(answered.err(), Some(error), "{}", &answer[..20]);
        }
    }

    #[tokio::test]
    async fn the_longest_answer_passes() {
        let (listener, _, target) = target(LIMIT).await;
        let long = "x".repeat(body::LONGEST_ANSWER);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-res\r\ncontent-length: {}\r\n\r\n{long}",
            long.len()
        );
        let serving = async {
            let mut stream = accept(&listener).await;
            heard(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (answered, ()) = tokio::join!(ask(&target), serving);
        assert_eq!(answered.unwrap().body.len(), body::LONGEST_ANSWER);
    }
}
