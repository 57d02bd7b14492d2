//! A client of the wire contract.

use crate::deadline;
use crate::reply::Reply;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// The ways in which a client may speak to the relay. A promise to clients holds over each of them, so tests
/// of such promises run once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A JSON request of its own over HTTP/1.1.
    Plain,
}

impl Via {
    /// Every way.
    pub const ALL: [Self; 1] = [Self::Plain];

    /// Its name, for messages and for values of its own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
        }
    }
}

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave a blob.
    Send,
    /// Read what waits.
    Fetch,
    /// Remove a received blob.
    Ack,
    /// Make mailboxes known.
    Register,
    /// Delete everything of an owner's.
    Purge,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::Send, Self::Fetch, Self::Ack, Self::Register, Self::Purge];

    /// Its path on the main port.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Send => "/v2/send",
            Self::Fetch => "/v2/fetch",
            Self::Ack => "/v2/ack",
            Self::Register => "/v2/register",
            Self::Purge => "/v2/purge",
        }
    }
}

/// One client with one connection, which it opens when it needs one and keeps for the next request. It never
/// repeats a request by itself.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    via: Via,
    headers: Vec<(&'static str, String)>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client of the relay at an address.
    pub fn new(address: SocketAddr, via: Via) -> Self {
        Self { address, via, headers: Vec::new(), connection: Mutex::new(None) }
    }

    /// Another client like this one, with a connection of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { headers: self.headers.clone(), ..Self::new(self.address, self.via) }
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Where the relay is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// One request, or why there is no answer.
    ///
    /// # Errors
    /// When the connection cannot be made or breaks before the whole answer is there.
    pub async fn attempt(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Reply> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).map_err(io::Error::other)?;
        let mut slot = self.connection.lock().await;
        let mut kept = slot.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(TcpStream::connect(self.address).await?).await?,
        };
        let reply = exchange(&mut sender, request).await?;
        *slot = Some(sender);
        Ok(reply)
    }

    /// One request with any method, headers and body.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        match deadline::soon(path, self.attempt(method, path, headers, body)).await {
            Ok(reply) => reply,
            Err(error) => panic!("no answer to {method} {path}: {error}"),
        }
    }

    /// One action with any JSON, or why there is no answer.
    ///
    /// # Errors
    /// When the connection cannot be made or breaks before the whole answer is there.
    pub async fn try_call(&self, action: Action, fields: &Value) -> io::Result<Reply> {
        match self.via {
            Via::Plain => {
                let json = [("content-type", "application/json")];
                self.attempt("POST", action.path(), &json, fields.to_string()).await
            }
        }
    }

    /// One action with any JSON.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(&self, action: Action, fields: &Value) -> Reply {
        match deadline::soon(action.path(), self.try_call(action, fields)).await {
            Ok(reply) => reply,
            Err(error) => panic!("no answer to {action:?}: {error}"),
        }
    }

    /// Leaves a blob in a mailbox.
    pub async fn send(&self, mailbox: &str, ciphertext: &[u8]) -> Reply {
        self.call(Action::Send, &send_fields(mailbox, ciphertext)).await
    }

    /// Reads what waits in some mailboxes.
    pub async fn fetch<M: AsRef<str>>(&self, mailboxes: &[M]) -> Reply {
        self.call(Action::Fetch, &mailbox_fields(mailboxes)).await
    }

    /// Removes a received blob.
    pub async fn ack(&self, mailbox: &str, blob_id: &str) -> Reply {
        self.call(Action::Ack, &ack_fields(mailbox, blob_id)).await
    }

    /// Makes mailboxes known.
    pub async fn register<M: AsRef<str>>(&self, mailboxes: &[M]) -> Reply {
        self.call(Action::Register, &mailbox_fields(mailboxes)).await
    }
}

/// A mailbox that nobody used before.
pub fn random_mailbox() -> String {
    hex::encode(random_bytes(32))
}

/// Bytes as good as a ciphertext.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// The fields of a send.
pub fn send_fields(mailbox: &str, ciphertext: &[u8]) -> Value {
    json!({ "recipient_id": mailbox, "ciphertext": STANDARD.encode(ciphertext) })
}

/// The fields of a fetch, or of a register without an owner.
pub fn mailbox_fields<M: AsRef<str>>(mailboxes: &[M]) -> Value {
    let mailboxes: Vec<&str> = mailboxes.iter().map(AsRef::as_ref).collect();
    json!({ "mailbox_tokens": mailboxes })
}

/// The fields of an ack.
pub fn ack_fields(mailbox: &str, blob_id: &str) -> Value {
    json!({ "recipient_id": mailbox, "blob_id": blob_id })
}

/// Opens an HTTP/1.1 connection on a stream.
pub(crate) async fn connect<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends when either side closes; what went wrong, the request tells.
    tokio::spawn(connection);
    Ok(sender)
}

/// One request and its whole answer.
pub(crate) async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> io::Result<Reply> {
    let (parts, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
}
