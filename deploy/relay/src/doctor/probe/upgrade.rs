//! Whether a proxy begins a WebSocket where peers connect. Nothing is sent in it.

use super::{DEADLINE, tls};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_client::{Connection, Error, Url, request};
use std::io;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The status with which a WebSocket is answered; `None` where no answer comes.
pub(super) async fn answered(url: &Url) -> Option<u16> {
    let asking = async {
        let connection = if url.is_secure() {
            Connection::over(tls::begin(url).await.ok()?).await
        } else {
            Connection::over(TcpStream::connect((url.host(), url.port())).await.ok()?).await
        };
        ask(connection.ok()?, url).await.ok()
    };
    timeout(DEADLINE, asking).await.ok().flatten()
}

async fn ask(mut connection: Connection, url: &Url) -> Result<u16, Error> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let nonce = STANDARD.encode(nonce);
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", &nonce),
    ];
    let request = request("GET", url.authority(), &url.path_of("/federation"), headers, "")?;
    Ok(connection.send(request).await?.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn the_status_of_the_answer_is_told() {
        let (near, mut far) = tokio::io::duplex(1024);
        let answering = async {
            let mut asked = [0; 1024];
            let length = far.read(&mut asked).await.unwrap();
            assert!(
                asked[..length].starts_with(b"GET /below/federation HTTP/1.1\r\nhost: relay.example\r\n")
            );
            far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        };
        let url = "https://relay.example/below".parse().unwrap();
        let connection = Connection::over(near).await.unwrap();
        let (status, ()) = tokio::join!(ask(connection, &url), answering);
        assert_eq!(status.unwrap(), 101);
    }
}
