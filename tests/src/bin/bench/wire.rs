//! The least HTTP/1.1 client that can keep a connection alive: it writes prepared bytes and reads a status and
//! a body of known length. An HTTP library would take processor time from what is measured.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Most bytes of an answer; a page of mail is about 100 KiB.
const MAX_ANSWER: usize = 4 << 20;

pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(4096) })
    }

    /// Sends a request and returns status and body of its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.answer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 || self.answer.len() > 2 * MAX_ANSWER {
                return Err(io::Error::other("an answer that ends too early or not at all"));
            }
            let Some(head) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let (status, length) = read_head(&self.answer[..head])
                .filter(|(_, length)| *length <= MAX_ANSWER)
                .ok_or_else(|| io::Error::other("an answer without a status or a sensible length"))?;
            if self.answer.len() >= head + 4 + length {
                return Ok((status, &self.answer[head + 4..][..length]));
            }
        }
    }
}

/// Status and length of the body. Hyper, on the other side, writes names in lower case.
fn read_head(head: &[u8]) -> Option<(u16, usize)> {
    let head = std::str::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some((head.get(9..12)?.parse().ok()?, length.parse().ok()?))
}

/// A POST as bytes.
pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: relay.example\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
