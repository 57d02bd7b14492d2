//! WebSockets (RFC 6455) by hand, so that a test can send what no library would, and sees frames as they come.

use super::closed::Closed;
use super::head::Head;
use super::noise;
use crate::fields::random_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Kinds of frames.
pub mod opcode {
    /// Goes on with a message.
    pub const CONTINUATION: u8 = 0;
    /// Text.
    pub const TEXT: u8 = 1;
    /// Bytes.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// Wants an answer.
    pub const PING: u8 = 9;
    /// That answer.
    pub const PONG: u8 = 10;
}

/// Sets the bit that marks the last frame of a message.
pub const FIN: u8 = 0x80;

/// Which side of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Dialled; masks what it sends.
    Client,
    /// Was dialled; does not.
    Server,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    /// What comes.
    pub reader: Reader,
    /// What goes.
    pub writer: Writer,
}

impl WebSocket {
    /// Asks for an upgrade on a new connection.
    ///
    /// # Errors
    /// When the other side does not agree.
    pub async fn dial(mut stream: TcpStream, address: SocketAddr, path: &str) -> Result<Self, Closed> {
        let key = STANDARD.encode(random_bytes(16));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(|_| Closed::Cut)?;
        let mut buffer = BytesMut::new();
        let head = Head::read(&mut stream, &mut buffer).await?;
        let status = head.second().parse().map_err(|_| Closed::violation("a response without a status"))?;
        if status != 101 {
            return Err(Closed::Refused(status));
        }
        if head.header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
            return Err(Closed::violation("an upgrade that proves nothing"));
        }
        if head.header("sec-websocket-extensions").or(head.header("sec-websocket-protocol")).is_some() {
            return Err(Closed::violation("an extension or a protocol that nobody asked for"));
        }
        Ok(Self::on(stream, buffer, Side::Client))
    }

    /// Agrees to an upgrade that was asked for.
    ///
    /// # Errors
    /// When it was not asked for as it should be, or the other side is gone.
    pub async fn agree(mut stream: TcpStream, buffer: BytesMut, head: &Head) -> Result<Self, Closed> {
        let says = |name, value: &str| {
            let lower = head.header(name).unwrap_or_default().to_ascii_lowercase();
            lower.split(',').any(|word| word.trim() == value)
        };
        let asked = says("connection", "upgrade") && says("upgrade", "websocket");
        let key = head.header("sec-websocket-key").filter(|_| asked && says("sec-websocket-version", "13"));
        let key = key.ok_or_else(|| Closed::violation("an upgrade that is asked for in another way"))?;
        if head.header("sec-websocket-extensions").or(head.header("sec-websocket-protocol")).is_some() {
            return Err(Closed::violation("an extension or a protocol is asked for"));
        }
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        stream.write_all(response.as_bytes()).await.map_err(|_| Closed::Cut)?;
        Ok(Self::on(stream, buffer, Side::Server))
    }

    fn on(stream: TcpStream, buffer: BytesMut, side: Side) -> Self {
        let (read, write) = stream.into_split();
        let writer = Writer { stream: Arc::new(Mutex::new(write)), side };
        Self { reader: Reader { stream: read, buffer, side, pongs: writer.clone() }, writer }
    }
}

/// The sending half. Whatever the other side no longer takes is dropped: what it did shows in what comes from it.
#[derive(Debug, Clone)]
pub struct Writer {
    stream: Arc<Mutex<OwnedWriteHalf>>,
    side: Side,
}

impl Writer {
    /// Which side it is.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Sends bytes as they are.
    pub async fn raw(&self, bytes: &[u8]) {
        self.stream.lock().await.write_all(bytes).await.unwrap_or_default();
    }

    /// Sends a frame: its first byte, which says of what kind it is and how it stands, and what it carries.
    pub async fn frame(&self, first: u8, payload: &[u8]) {
        self.raw(&encode(first, payload, self.side)).await;
    }

    /// Sends a message.
    pub async fn binary(&self, payload: &[u8]) {
        self.frame(FIN | opcode::BINARY, payload).await;
    }

    /// Says nothing more, as one does whose program has ended.
    pub async fn cut(&self) {
        self.stream.lock().await.shutdown().await.unwrap_or_default();
    }
}

/// A frame's bytes, masked if the client sends them.
pub fn encode(first: u8, payload: &[u8], side: Side) -> Vec<u8> {
    let masked = if side == Side::Client { 0x80 } else { 0 };
    let mut bytes = vec![first];
    let length = payload.len();
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        bytes.push(masked | short);
    } else if let Ok(medium) = u16::try_from(length) {
        bytes.push(masked | 126);
        bytes.extend(medium.to_be_bytes());
    } else {
        bytes.push(masked | 127);
        bytes.extend((length as u64).to_be_bytes());
    }
    if side == Side::Client {
        let key = random_bytes(4);
        bytes.extend(&key);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// The receiving half.
#[derive(Debug)]
pub struct Reader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
    side: Side,
    pongs: Writer,
}

impl Reader {
    /// The next message. Pings are answered and passed over.
    ///
    /// # Errors
    /// How the connection ended instead. Every broken rule is one.
    pub async fn binary(&mut self) -> Result<Vec<u8>, Closed> {
        loop {
            let (first, payload) = self.frame().await?;
            match first {
                0x82 => return Ok(payload),
                0x89 => self.pongs.frame(FIN | opcode::PONG, &payload).await,
                0x8A => {}
                0x88 => return Err(Closed::Cut),
                _ => {
                    return Err(Closed::violation(format!(
                        "a WebSocket frame that begins with {first:#04x}"
                    )));
                }
            }
        }
    }

    /// The next frame: its first byte and what it carries.
    async fn frame(&mut self) -> Result<(u8, Vec<u8>), Closed> {
        loop {
            if let Some(frame) = take(&mut self.buffer, self.side).map_err(Closed::violation)? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return Err(Closed::Cut);
            }
        }
    }
}

/// Takes a whole frame from the front of a buffer, if there is one.
fn take(buffer: &mut BytesMut, side: Side) -> Result<Option<(u8, Vec<u8>)>, &'static str> {
    let [first, second, ..] = **buffer else { return Ok(None) };
    let masked = second & 0x80 != 0;
    if masked != (side == Side::Server) {
        return Err("a WebSocket frame that is masked by the wrong side");
    }
    let width = match second & 0x7F {
        126 => 2,
        127 => return Err("a WebSocket message that is too large"),
        _ => 0,
    };
    let mask = if masked { 4 } else { 0 };
    let start = 2 + width + mask;
    if buffer.len() < start {
        return Ok(None);
    }
    let length = match width {
        0 => usize::from(second & 0x7F),
        _ => usize::from(u16::from_be_bytes([buffer[2], buffer[3]])),
    };
    if length > noise::LARGEST || (first & 0x08 != 0 && length > 125) {
        return Err("a WebSocket message that is too large");
    }
    if buffer.len() < start + length {
        return Ok(None);
    }
    let key: Vec<u8> = buffer[start - mask..start].to_vec();
    buffer.advance(start);
    let mut payload = buffer.split_to(length).to_vec();
    if masked {
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
    Ok(Some((first, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_laid_out_as_rfc_6455_shows() {
        // Section 5.7: "Hello" from a server; a masked one from a client.
        assert_eq!(encode(0x81, b"Hello", Side::Server), [0x81, 5, b'H', b'e', b'l', b'l', b'o']);
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let mut buffer = BytesMut::from(&masked[..]);
        assert_eq!(take(&mut buffer, Side::Server), Ok(Some((0x81, b"Hello".to_vec()))));
        // 256 bytes: two bytes of length; 65,536: eight.
        assert_eq!(encode(0x82, &[0; 256], Side::Server)[..4], [0x82, 0x7E, 1, 0]);
        assert_eq!(encode(0x82, &[0; 65_536], Side::Server)[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_went(payload: Vec<u8>, more: Vec<u8>) {
            for (from, to) in [(Side::Client, Side::Server), (Side::Server, Side::Client)] {
                let whole = encode(0x82, &payload, from);
                let mut part = BytesMut::from(&whole[..whole.len() - 1]);
                prop_assert_eq!(take(&mut part, to), Ok(None));
                let mut buffer = BytesMut::from(&[&whole[..], &more].concat()[..]);
                prop_assert_eq!(take(&mut buffer, to), Ok(Some((0x82, payload.clone()))));
                prop_assert_eq!(&buffer[..], &more);
            }
        }

        #[test]
        fn any_bytes_are_a_frame_or_not(bytes: Vec<u8>) {
            for side in [Side::Client, Side::Server] {
                drop(take(&mut BytesMut::from(&bytes[..]), side));
            }
        }
    }
}
