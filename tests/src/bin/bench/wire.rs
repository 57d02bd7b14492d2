//! The least HTTP/1.1 client that can keep a connection alive: it writes prepared bytes and reads a status and
//! a body of known length.

use crate::Fallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Most bytes of an answer; a page of mail is about 100 KiB.
const MAX_ANSWER: usize = 4 << 20;

/// A keep-alive connection and the answer it read last.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: std::ops::Range<usize>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), body: 0..0 })
    }

    /// Opens a connection to a server that may be a moment away.
    pub(crate) async fn open_within(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Self::open(address).await {
                Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Sends a request and reads the status of its answer; the body is then in [`Self::body`].
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let (status, body, length) = loop {
            self.read_some().await?;
            if let Some(end) = end_of_head(&self.buffer) {
                let (status, length) = read_head(&self.buffer[..end])?;
                break (status, end + 4, length);
            }
        };
        if length > MAX_ANSWER {
            return Err(malformed("an answer larger than any page"));
        }
        while self.buffer.len() < body + length {
            self.read_some().await?;
        }
        self.body = body..body + length;
        Ok(status)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    async fn read_some(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if self.buffer.len() > 2 * MAX_ANSWER => Err(malformed("an endless answer")),
            _ => Ok(()),
        }
    }
}

/// Asks once, on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Fallible<(u16, Vec<u8>)> {
    let mut connection = Connection::open(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: relay.example\r\nconnection: close\r\n\r\n");
    let status = connection.exchange(request.as_bytes()).await?;
    Ok((status, connection.body().to_vec()))
}

fn end_of_head(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|window| window == b"\r\n\r\n")
}

fn read_head(head: &[u8]) -> io::Result<(u16, usize)> {
    let status = head
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed("an answer without a status"))?;
    let length = head
        .split(|byte| *byte == b'\n')
        .find_map(|line| {
            const NAME: &[u8] = b"content-length:";
            let (name, value) = line.split_at_checked(NAME.len())?;
            let value = name.eq_ignore_ascii_case(NAME).then_some(value)?;
            std::str::from_utf8(value).ok()?.trim().parse().ok()
        })
        .ok_or_else(|| malformed("an answer without a length"))?;
    Ok((status, length))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
