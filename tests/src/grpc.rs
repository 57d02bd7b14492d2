//! Calls to the sockets between the processes, as a process makes them that was taken over: any call of any service, with
//! any bytes for a message.

use crate::binaries;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::fs;
use std::path::Path;
use tokio::net::UnixStream;

/// What gRPC says of a call, as far as tests care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out.
    Ok,
    /// It was looked at and refused, with this code.
    Refused(u32),
    /// The caller showed no secret, or another one.
    Forbidden,
    /// There is no such call here.
    Unknown,
    /// No answer: the connection ended.
    Cut,
}

/// A body whose bytes are at hand, or one that never ends.
type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A connection to a socket.
#[derive(Debug, Clone)]
pub struct Line {
    sender: SendRequest<Body>,
    secret: Option<String>,
}

impl Line {
    /// Connects and shows nothing; `None` when the connection is refused.
    pub async fn open(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Self { sender, secret: None })
    }

    /// Shows a secret with each call from now on: the one beside this socket.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn showing_that_of(self, socket: &Path) -> Self {
        let path = socket.with_file_name("secret");
        let secret = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { secret: Some(secret), ..self }
    }

    /// Makes a call with one message.
    pub async fn call(&self, path: &str, message: &[u8]) -> Answer {
        let body = Full::new(framed(message)).boxed_unsync();
        match self.send(path, body).await {
            Ok(response) => answer(response).await,
            Err(_) => Answer::Cut,
        }
    }

    /// Makes a call that is answered for long, and leaves it open for as long as the response lives.
    pub async fn watch(&self, path: &str) -> Option<Response<Incoming>> {
        self.send(path, Full::new(framed(b"")).boxed_unsync()).await.ok()
    }

    /// Makes a call and never says that the message was all.
    pub async fn begin(&self, path: &str, message: &[u8]) -> Option<Response<Incoming>> {
        let first = futures_util::stream::iter([Ok(Frame::data(framed(message)))]);
        let body = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        self.send(path, StreamBody::new(body).boxed_unsync()).await.ok()
    }

    async fn send(&self, path: &str, body: Body) -> Result<Response<Incoming>, hyper::Error> {
        let mut request = Request::post(format!("http://relay{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(secret) = &self.secret {
            request = request.header("relay-socket-secret", secret);
        }
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request.body(body).expect("a sound request")).await
    }
}

/// A message with its length before it.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a message that fits").to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// Reads an answer to its end, or to its first message where it would not end.
async fn answer(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    if let Some(code) = code(&head.headers) {
        return code;
    }
    match body.frame().await {
        Some(Ok(frame)) => match frame.trailers_ref() {
            Some(trailers) => code(trailers).unwrap_or(Answer::Cut),
            // Whatever comes, it was carried out.
            None => Answer::Ok,
        },
        Some(Err(_)) | None => Answer::Cut,
    }
}

fn code(headers: &hyper::HeaderMap) -> Option<Answer> {
    let code: u32 = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    Some(match code {
        0 => Answer::Ok,
        7 => Answer::Forbidden,
        12 => Answer::Unknown,
        code => Answer::Refused(code),
    })
}

/// Every call of every service between the processes, as the `.proto` files have them: `/package.Service/Method`.
///
/// # Panics
/// When they cannot be read.
pub fn every_call() -> Vec<String> {
    let directory = binaries::workspace().join("proto/relay/storage/v1");
    let mut calls = Vec::new();
    for file in fs::read_dir(directory).expect("the directory of the messages") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let mut service = String::new();
        for line in text.lines().map(str::trim) {
            let word = |line: &str| line.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned);
            if let Some(name) = line.strip_prefix("service ").and_then(word) {
                service = name;
            } else if let Some(method) = line.strip_prefix("rpc ").and_then(word) {
                calls.push(format!("/relay.storage.v1.{service}/{method}"));
            }
        }
    }
    calls.sort();
    calls
}
