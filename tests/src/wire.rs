//! Bytes on a connection: what a client can do that no HTTP library would.

use crate::deadline::{self, PATIENCE};
use crate::reply::Reply;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection and what was read from it but not asked for yet.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Opens a connection.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a fresh connection takes options");
        Self { stream, read: Vec::new() }
    }

    /// Writes bytes; says whether the other side still took them.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that nothing more will be written.
    pub async fn finish_writing(&mut self) {
        self.stream.shutdown().await.expect("a connection can be half closed");
    }

    /// Reads one answer: `100 Continue` counts as one.
    ///
    /// # Panics
    /// When none comes.
    pub async fn reply(&mut self) -> Reply {
        deadline::soon("an answer", async {
            loop {
                if let Some(reply) = self.take_reply() {
                    return reply;
                }
                let more = self.more().await;
                assert!(more, "no whole answer, only {:?}", String::from_utf8_lossy(&self.read));
            }
        })
        .await
    }

    /// Reads until the other side ends the connection, in whatever way, and returns what was left to read.
    ///
    /// # Panics
    /// When the connection outlives the limit.
    pub async fn rest(&mut self, limit: Duration) -> String {
        let end = async { while self.more().await {} };
        let ended = tokio::time::timeout(limit, end).await.is_ok();
        assert!(ended, "the relay holds the connection longer than {limit:?}");
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// Writes one step after another, each after a pause, until the other side has had enough, and returns what
    /// it said.
    ///
    /// # Panics
    /// When the connection outlives the limit.
    pub async fn drip(&mut self, bytes: &[u8], pause: Duration, limit: Duration) -> String {
        let (mut from, mut to) = self.stream.split();
        let mut said = Vec::new();
        let reading = from.read_to_end(&mut said);
        let writing = async {
            for byte in bytes {
                if to.write_all(&[*byte]).await.is_err() {
                    break;
                }
                deadline::pace(pause).await;
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::time::timeout(limit, async {
            tokio::select! {
                // A reset ends a connection as well as a farewell does.
                _ = reading => {}
                () = writing => {}
            }
        })
        .await
        .is_ok();
        assert!(ended, "the relay holds a slow connection longer than {limit:?}");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Whether the other side has ended the connection.
    pub async fn has_ended(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(1), self.more()).await == Ok(false)
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }

    fn take_reply(&mut self) -> Option<Reply> {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header has a name");
            headers.append(name, HeaderValue::from_str(value).expect("a header has a value"));
        }
        let length = headers.get("content-length").map_or(0, |value| {
            value.to_str().ok().and_then(|text| text.parse::<usize>().ok()).expect("a length is a number")
        });
        if self.read.len() < end + length {
            return None;
        }
        let rest = self.read.split_off(end + length);
        let body = Bytes::copy_from_slice(&self.read[end..]);
        self.read = rest;
        Some(Reply::plain(status, headers, body))
    }
}

/// The head of a POST with a body of some length, and whatever other header lines.
pub fn post_head(path: &str, length: usize, lines: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{lines}\r\n"
    )
}

/// Waits until an address refuses connections.
pub async fn closed(address: SocketAddr) {
    deadline::until("a closed port", PATIENCE, async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}
