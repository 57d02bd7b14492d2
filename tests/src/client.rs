//! A client of the wire contract.

use crate::action::Action;
use crate::deadline;
use crate::fields::{ack_fields, mailbox_fields, send_fields};
use crate::oblivious::binary::Encode as _;
use crate::oblivious::{self, Key, binary, envelope};
use crate::outer_relay::{Habits, OuterRelay};
use crate::reply::Reply;
use crate::trust::Trust;
use bytes::Bytes;
use hyper::Request;
use relay_client::{Connection, Error, KeptConnection, request};
use serde_json::Value;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OnceCell;

/// The ways in which a client may speak to the relay. A promise to clients holds over each of them, so tests
/// of such promises run once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A JSON request of its own over HTTP/1.1.
    Plain,
    /// Sealed (RFC 9458): padded JSON that names its action.
    Envelope,
    /// Sealed (RFC 9458): a request of its own in Binary HTTP (RFC 9292).
    Bhttp,
    /// As [`Via::Envelope`], through an [outer relay](OuterRelay), with its bounds.
    OuterEnvelope,
    /// As [`Via::Bhttp`], through an [outer relay](OuterRelay), with its bounds.
    OuterBhttp,
}

impl Via {
    /// Every way.
    pub const ALL: [Self; 5] =
        [Self::Plain, Self::Envelope, Self::Bhttp, Self::OuterEnvelope, Self::OuterBhttp];

    /// The ways straight to a gateway, for what no outer relay lets through.
    pub const STRAIGHT: [Self; 3] = [Self::Plain, Self::Envelope, Self::Bhttp];

    /// The ways straight to a gateway in which what is asked is sealed.
    pub const OBLIVIOUS: [Self; 2] = [Self::Envelope, Self::Bhttp];

    /// The ways through an outer relay.
    pub const OUTER: [Self; 2] = [Self::OuterEnvelope, Self::OuterBhttp];

    /// Whether what is inside is an envelope, which has no headers and no status.
    pub const fn is_envelope(self) -> bool {
        matches!(self, Self::Envelope | Self::OuterEnvelope)
    }

    /// Whether it goes through an outer relay.
    pub const fn is_outer(self) -> bool {
        matches!(self, Self::OuterEnvelope | Self::OuterBhttp)
    }

    /// Its name, for messages and for values of its own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Envelope => "envelope",
            Self::Bhttp => "bhttp",
            Self::OuterEnvelope => "outer-envelope",
            Self::OuterBhttp => "outer-bhttp",
        }
    }
}

/// One client with one connection, which it opens when it needs one and keeps for the next request. It never
/// repeats a request by itself. If it seals requests, it fetches a key before the first one, and keeps to it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    source: Option<IpAddr>,
    via: Via,
    headers: Vec<(&'static str, String)>,
    outer_headers: Vec<(&'static str, String)>,
    key: OnceLock<Key>,
    tls: Option<Trust>,
    connection: KeptConnection,
    outer: OnceCell<Arc<OuterRelay>>,
    outer_connection: KeptConnection,
}

impl Client {
    /// A client of the relay at an address.
    pub fn new(address: SocketAddr, via: Via) -> Self {
        Self {
            address,
            source: None,
            via,
            headers: Vec::new(),
            outer_headers: Vec::new(),
            key: OnceLock::new(),
            tls: None,
            connection: KeptConnection::default(),
            outer: OnceCell::new(),
            outer_connection: KeptConnection::default(),
        }
    }

    /// Another client like this one, with a connection of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            source: self.source,
            headers: self.headers.clone(),
            outer_headers: self.outer_headers.clone(),
            key: self.key.clone(),
            tls: self.tls.clone(),
            outer: self.outer.clone(),
            ..Self::new(self.address, self.via)
        }
    }

    /// Adds a header to every request: inside of the seal, if there is one.
    ///
    /// # Panics
    /// When requests are envelopes, which have no headers.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl ToString) -> Self {
        assert!(!self.via.is_envelope(), "an envelope has no headers");
        self.headers.push((name, value.to_string()));
        self
    }

    /// Adds a header to every HTTP request: outside of the seal, if there is one.
    #[must_use]
    pub fn with_outer_header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.outer_headers.push((name, value.to_string()));
        self
    }

    /// Makes it come from an address of its own, which must be one of this machine's, as all of 127.0.0.0/8 are.
    #[must_use]
    pub const fn with_source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Makes it speak over TLS with `localhost`.
    #[must_use]
    pub fn over_tls(mut self, trust: Trust) -> Self {
        self.tls = Some(trust);
        self
    }

    /// Makes it keep to a key.
    #[must_use]
    pub fn with_key(mut self, key: Key) -> Self {
        self.key = OnceLock::from(key);
        self
    }

    /// Where the relay is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name by which it asks for the relay.
    fn authority(&self) -> String {
        match self.tls {
            Some(_) => format!("localhost:{}", self.address.port()),
            None => self.address.to_string(),
        }
    }

    /// How it speaks.
    pub const fn via(&self) -> Via {
        self.via
    }

    /// One HTTP request in the open, or why there is no answer.
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
        let own = if self.via == Via::Plain { &self.headers[..] } else { &[] };
        let own = own.iter().chain(&self.outer_headers).map(|(name, value)| (*name, value.as_str()));
        let headers = own.chain(headers.iter().copied());
        let request = request(method, &self.authority(), path, headers, body)?;
        let reply = self.exchange(request, self.address, &self.connection).await?;
        if self.tls.is_some() && reply.status == 502 {
            self.connection.close().await;
            return Err(io::Error::other("the front had no answer"));
        }
        Ok(reply)
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        address: SocketAddr,
        connection: &KeptConnection,
    ) -> io::Result<Reply> {
        let open = async || -> Result<Connection, Error> {
            let stream = reach(address, self.source).await?;
            match &self.tls {
                Some(trust) => Connection::over(trust.begin(stream).await?).await,
                None => Connection::over(stream).await,
            }
        };
        Ok(connection.send(request, open).await?.into())
    }

    /// One HTTP request that belongs to a sealed one: through an outer relay, if this client has one.
    async fn attempt_sealed(&self, method: &str, path: &str, body: impl Into<Bytes>) -> io::Result<Reply> {
        let kind = [("content-type", oblivious::REQUEST_TYPE)];
        let kind = if method == "POST" { &kind[..] } else { &[] };
        if !self.via.is_outer() {
            return self.attempt(method, path, kind, body).await;
        }
        let start = async || Arc::new(OuterRelay::start(self.address, Habits::default()).await);
        let relay = self.outer.get_or_init(start).await;
        let request = request(method, "outer.example", path, kind.iter().copied(), body)?;
        let reply = self.exchange(request, relay.address(), &self.outer_connection).await?;
        if reply.status == 502 {
            return Err(io::Error::other("the outer relay had no answer"));
        }
        Ok(reply)
    }

    /// One HTTP request in the open, with any method, headers and body.
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

    /// The key that requests are sealed to, fetched when it is needed for the first time.
    ///
    /// # Panics
    /// When there is none.
    pub async fn key(&self) -> Key {
        self.try_key().await.expect("a relay shows its key")
    }

    async fn try_key(&self) -> io::Result<Key> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let reply = self.attempt_sealed("GET", oblivious::KEY_PATH, "").await?;
        assert_eq!(reply.status, 200, "no key: {}", reply.describe());
        Ok(self.key.get_or_init(|| Key::bare(reply.body)).clone())
    }

    /// Sends something as a sealed request and returns the answer as it comes.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn carry(&self, sealed: impl Into<Bytes>) -> Reply {
        self.raw("POST", oblivious::PATH, &[("content-type", oblivious::REQUEST_TYPE)], sealed).await
    }

    /// Seals a plaintext, sends it, opens the answer, and returns what carried it and what was inside.
    async fn try_sealed(&self, plaintext: &[u8]) -> io::Result<(Reply, Vec<u8>)> {
        let (sealed, opener) = self.try_key().await?.seal(plaintext);
        let outer = self.attempt_sealed("POST", oblivious::PATH, sealed).await?;
        let inner = opener.open(&outer);
        Ok((outer, inner))
    }

    /// Any plaintext, sealed, and the padded plaintext of the answer.
    ///
    /// # Panics
    /// When there is no answer, or it is not sealed.
    pub async fn sealed(&self, plaintext: &[u8]) -> Vec<u8> {
        match deadline::soon("a sealed answer", self.try_sealed(plaintext)).await {
            Ok((_, inner)) => inner,
            Err(error) => panic!("no answer to a sealed request: {error}"),
        }
    }

    /// Any request in Binary HTTP, sealed as it is.
    ///
    /// # Panics
    /// When there is no answer, or it is not sealed.
    pub async fn binary(&self, request: &binary::Request) -> Reply {
        binary::reply(&self.sealed(&request.encode()).await)
    }

    /// One action with any JSON, or why there is no answer.
    ///
    /// # Errors
    /// When the connection cannot be made or breaks before the whole answer is there.
    pub async fn try_call(&self, action: Action, fields: &Value) -> io::Result<Reply> {
        self.try_call_at(action, action.path(), fields).await
    }

    async fn try_call_at(&self, action: Action, path: &str, fields: &Value) -> io::Result<Reply> {
        match self.via {
            Via::Plain => {
                let json = [("content-type", "application/json")];
                self.attempt("POST", path, &json, fields.to_string()).await
            }
            Via::Envelope | Via::OuterEnvelope => {
                let (outer, inner) = self.try_sealed(&envelope::request(action, fields)).await?;
                Ok(envelope::reply(outer, &inner))
            }
            Via::Bhttp | Via::OuterBhttp => {
                let mut request = binary::Request::post(path, fields);
                if self.via == Via::Bhttp {
                    request = request.at(self.authority());
                }
                for (name, value) in &self.headers {
                    request = request.with_header(name, value);
                }
                let (_, inner) = self.try_sealed(&request.encode()).await?;
                Ok(binary::reply(&inner))
            }
        }
    }

    /// One action with any JSON.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(&self, action: Action, fields: &Value) -> Reply {
        self.call_at(action, action.path(), fields).await
    }

    /// One action with any JSON, at another path, where there are paths.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call_at(&self, action: Action, path: &str, fields: &Value) -> Reply {
        match deadline::soon(path, self.try_call_at(action, path, fields)).await {
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

/// Connects to an address, from another where one is given.
async fn reach(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}
