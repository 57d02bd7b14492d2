//! A connection of a client that keeps to no rules, from an address of its own.

use crate::deadline;
use crate::frames;
use crate::trust::Trust;
use crate::wire::post_head;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long it waits for the relay to take its bytes.
const TAKES: Duration = Duration::from_secs(2);

/// Both directions of a connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection.
pub struct Hostile {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    http2: bool,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hostile")
    }
}

/// A frame that came (RFC 9113 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// DATA is 0, HEADERS 1, RST_STREAM 3, GOAWAY 7.
    pub kind: u8,
    /// The request that it belongs to.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it ends the connection.
    pub const fn is_goaway(&self) -> bool {
        self.kind == 7
    }

    /// Whether it begins an answer of status 200, which has an index of its own (RFC 7541, appendix A).
    pub fn is_success(&self) -> bool {
        self.kind == 1 && self.payload.contains(&0x88)
    }
}

impl Hostile {
    /// Opens a connection from 127.0.0.`host`.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(host: u8, to: SocketAddr) -> Self {
        Self { stream: Box::new(connect(host, to).await), read: Vec::new(), http2: false }
    }

    /// The same for requests over HTTP/2, with a window for each answer.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open_http2(host: u8, to: SocketAddr, window: u32) -> Self {
        let mut hostile = Self { http2: true, ..Self::open(host, to).await };
        hostile.say([frames::preface(window), frames::settings_ack()].concat()).await;
        hostile
    }

    /// The same with TLS, over HTTP/2 where the trust wants it and the other side offers it, else over HTTP/1.1.
    ///
    /// # Panics
    /// When nobody speaks TLS there.
    pub async fn over_tls(host: u8, to: SocketAddr, trust: &Trust, window: u32) -> Self {
        let stream = connect(host, to).await;
        let stream = deadline::soon("TLS", trust.begin(stream)).await.expect("somebody speaks TLS");
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let mut hostile = Self { stream: Box::new(stream), read: Vec::new(), http2 };
        if http2 {
            hostile.say([frames::preface(window), frames::settings_ack()].concat()).await;
        }
        hostile
    }

    /// Whether requests on it are HTTP/2.
    pub const fn is_http2(&self) -> bool {
        self.http2
    }

    /// The bytes of a request for JSON: on HTTP/1.1 one after the other in a row, whatever becomes of those before.
    pub fn post(&self, index: u32, path: &str, json: &str) -> Vec<u8> {
        if self.http2 {
            frames::post(frames::stream(index), path, json)
        } else {
            [post_head(path, json.len(), "").as_bytes(), json.as_bytes()].concat()
        }
    }

    /// Writes bytes; says whether the other side took them in time.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let written = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        matches!(timeout(TAKES, written).await, Ok(Ok(())))
    }

    /// Throws away what comes for a while.
    pub async fn takes(&mut self, time: Duration) {
        let reading = async {
            while self.more().await {
                self.read.clear();
            }
        };
        drop(timeout(time, reading).await);
    }

    /// Reads until the other side ends the connection, and returns what it said.
    ///
    /// # Panics
    /// When it does not end it within the limit.
    pub async fn rest(&mut self, limit: Duration) -> String {
        let ended = timeout(limit, async { while self.more().await {} }).await;
        assert!(ended.is_ok(), "the relay holds the connection longer than {limit:?}");
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// The next HTTP/2 frame; `None` when the other side ended the connection.
    ///
    /// # Panics
    /// When none comes.
    pub async fn frame(&mut self) -> Option<Frame> {
        let next = async {
            loop {
                if let Some(frame) = self.take_frame() {
                    return Some(frame);
                }
                if !self.more().await {
                    return None;
                }
            }
        };
        deadline::soon("a frame", next).await
    }

    /// Reads frames, and answers those that ask whether it lives, until the other side ends the connection.
    ///
    /// # Panics
    /// When it does not end it within the limit.
    pub async fn lives(&mut self, limit: Duration) {
        let ended = timeout(limit, async {
            while let Some(frame) = self.frame().await {
                // PING is 6.
                if frame.kind == 6 {
                    self.say(frames::pong(&frame.payload)).await;
                }
            }
        });
        assert!(ended.await.is_ok(), "the relay holds the connection longer than {limit:?}");
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.read.get(..9)?.try_into().ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = self.read.get(9..9 + length)?.to_vec();
        self.read.drain(..9 + length);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], stream, payload })
    }
}

async fn connect(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    socket.bind(from).expect("every address in 127.0.0.0/8 is this machine's");
    let stream = deadline::soon("a connection", socket.connect(to)).await.expect("somebody listens");
    stream.set_nodelay(true).expect("a fresh connection takes options");
    stream
}
