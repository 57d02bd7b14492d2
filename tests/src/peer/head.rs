//! The head of an HTTP/1.1 message, read and written by hand.

use super::closed::Closed;
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// No head that is read here is longer, in bytes.
const LARGEST: usize = 16_384;

/// First line and headers.
#[derive(Debug)]
pub struct Head {
    /// First line.
    pub first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; what follows it stays in the buffer.
    ///
    /// # Errors
    /// When the other side ends the connection before, or sends something else.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<Self, Closed> {
        loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = buffer.split_to(end);
                buffer.advance(4);
                return Self::parse(&text).ok_or_else(|| Closed::violation("a head that is none"));
            }
            if buffer.len() > LARGEST {
                return Err(Closed::violation("a head that is too long"));
            }
            // Whether it ends with or without an error is the same to who waits for a head.
            if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
                return Err(Closed::Cut);
            }
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.split("\r\n");
        let first = lines.next()?.to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self { first, headers: lines.map(header).collect::<Option<_>>()? })
    }

    /// Value of a header, which is named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Second word of the first line: the path of a request, the status of a response.
    pub fn second(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }
}
