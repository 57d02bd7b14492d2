//! Whether a front begins a WebSocket where peers connect. Nothing is said in it.

use super::http::status;
use super::{PATIENCE, tls};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes in which the first line of an answer ends.
const ENOUGH: usize = 64;

/// The status with which a WebSocket is answered; nothing where no answer comes.
pub(super) async fn answered(secure: bool, host: &str, port: u16, path: &str) -> Option<u16> {
    let asking = async {
        if secure {
            ask(tls::begin(host, port).await.ok()?, host, path).await.ok()
        } else {
            ask(TcpStream::connect((host, port)).await.ok()?, host, path).await.ok()
        }
    };
    timeout(PATIENCE, asking).await.ok().flatten()
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str, path: &str) -> io::Result<u16> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let request = format!(
        "GET {path}/federation HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        STANDARD.encode(nonce)
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while head.len() < ENOUGH && !head.contains(&b'\n') {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    status(&String::from_utf8_lossy(&head)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_status_of_the_answer_is_told() {
        let (near, mut far) = tokio::io::duplex(1024);
        let answering = async {
            let mut asked = [0; 1024];
            let length = far.read(&mut asked).await.unwrap();
            assert!(
                asked[..length].starts_with(b"GET /below/federation HTTP/1.1\r\nHost: relay.example\r\n")
            );
            far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        };
        let (status, ()) = tokio::join!(ask(near, "relay.example", "/below"), answering);
        assert_eq!(status.unwrap(), 101);
    }
}
