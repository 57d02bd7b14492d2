//! Asking a peer for its key, once, where nobody wrote it down.

use super::error::DialError;
use crate::connection::connector::Connector;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use relay_daemon::variables::PeerUrl;
use relay_proto::NoiseKey;
use std::time::Duration;
use tokio::time::timeout;

/// How long a peer may take to show its key.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest answer with a key, in bytes: the key and a line's end.
const LONGEST: usize = 64;

/// The key that a peer shows at `/federation/key`.
pub(super) async fn fetch(connector: &Connector, url: &PeerUrl) -> Result<NoiseKey, DialError> {
    let stream = connector.connect(url.host(), url.port(), url.is_secure()).await?;
    let asking = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request = Request::get(url.path("/federation/key"))
            .header(HOST, url.authority())
            .body(Empty::<Bytes>::new())
            .ok()?;
        let answering = async {
            let response = sender.send_request(request).await.ok()?;
            if response.status() != StatusCode::OK {
                return None;
            }
            Some(Limited::new(response.into_body(), LONGEST).collect().await.ok()?.to_bytes())
        };
        let mut connection = std::pin::pin!(connection);
        let mut answering = std::pin::pin!(answering);
        tokio::select! {
            biased;
            answer = &mut answering => answer,
            // The connection is over; what it brought before is still there.
            _ = &mut connection => answering.await,
        }
    };
    let body = timeout(LIMIT, asking).await.ok().flatten().ok_or(DialError::NoKey)?;
    let text = std::str::from_utf8(&body).map_err(|_| DialError::NoKey)?;
    NoiseKey::from_base64url(text.trim_ascii_end()).map_err(|_| DialError::NoKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn fetched(answer: &str) -> Result<NoiseKey, DialError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url: PeerUrl = format!("ws://127.0.0.1:{port}/below").parse().unwrap();
        let connector = Connector::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1000];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let (key, request) = tokio::join!(fetch(&connector, &url), serving);
        assert!(request.starts_with("GET /below/federation/key HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
        key
    }

    #[tokio::test]
    async fn a_key_is_taken_and_nothing_else() {
        let key = NoiseKey::from_bytes([5; 32]);
        let text = key.to_base64url();
        assert_eq!(fetched(&format!("HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n{text}")).await, Ok(key));
        let line = format!("HTTP/1.1 200 OK\r\ncontent-length: 44\r\n\r\n{text}\n");
        assert_eq!(fetched(&line).await, Ok(key));
        for answer in [
            format!("HTTP/1.1 404 Not Found\r\ncontent-length: 43\r\n\r\n{text}"),
            format!("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 43\r\n\r\n{text}"),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nkey".to_owned(),
            format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{text}{}", " ".repeat(57)),
            format!("HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n{}", &text[..20]),
            "SSH-2.0-server\r\n".to_owned(),
        ] {
            assert_eq!(fetched(&answer).await, Err(DialError::NoKey), "{answer}");
        }
    }
}
