//! HTTP/1.1 on a stream.

use crate::error::{Error, io_error};
use crate::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

/// Most bytes of a body that are read. A page of mail is about 100 KiB.
const LONGEST_BODY: usize = 4 << 20;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Begins HTTP on a stream. Must run inside a Tokio runtime.
    ///
    /// # Errors
    /// When the stream is closed already.
    pub async fn over<S>(stream: S) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io_error)?;
        // Ends when either side closes; the request reports what went wrong.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a request and reads the whole answer. It sets no deadline.
    ///
    /// # Errors
    /// When the connection ends first, or the body is longer than 4 MiB.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<Response, Error> {
        let answer = self.0.send_request(request.map(Full::new)).await.map_err(io_error)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST_BODY).collect().await;
        let body = body.map_err(|error| Error::Cut(io::Error::other(error)))?.to_bytes();
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// A request for a path of the named host.
///
/// # Errors
/// When a part of it is not what HTTP takes.
pub fn request<'a>(
    method: &str,
    authority: &str,
    path: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: impl Into<Bytes>,
) -> Result<Request<Bytes>, Error> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, authority);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Ok(request.body(body.into())?)
}

/// Asks once for a path, on a stream that leads to this machine. It sets no deadline.
///
/// # Errors
/// When there is no answer.
pub async fn get<S>(stream: S, path: &str, headers: &[(&str, &str)]) -> Result<Response, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request("GET", "localhost", path, headers.iter().copied(), "")?;
    Connection::over(stream).await?.send(request).await
}

/// At most one connection, kept for the next request while it stays open. It never repeats a request.
#[derive(Debug, Default)]
pub struct KeptConnection(Mutex<Option<Connection>>);

impl KeptConnection {
    /// Sends a request on the connection that is kept, or on a new one.
    ///
    /// # Errors
    /// When no connection can be opened, or it ends before the whole answer is there.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        open: impl AsyncFnOnce() -> Result<Connection, Error>,
    ) -> Result<Response, Error> {
        let mut slot = self.0.lock().await;
        let mut kept = slot.take();
        // Where one thread does everything, nobody has looked yet whether the other side closed it.
        if kept.is_some() {
            tokio::task::yield_now().await;
        }
        if let Some(connection) = &mut kept
            && connection.0.ready().await.is_err()
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(connection) => connection,
            None => open().await?,
        };
        let response = connection.send(request).await?;
        *slot = Some(connection);
        Ok(response)
    }

    /// Closes the connection that is kept.
    pub async fn close(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn answered(answer: &str) -> Result<Response, Error> {
        let (near, mut far) = tokio::io::duplex(1024);
        let answering = async move {
            let mut asked = [0; 1024];
            assert!(far.read(&mut asked).await.unwrap() > 0);
            far.write_all(answer.as_bytes()).await.unwrap();
        };
        tokio::join!(get(near, "/ready", &[]), answering).0
    }

    #[tokio::test]
    async fn an_answer_is_read_and_a_broken_one_has_its_kind() {
        let answer =
            answered("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        assert_eq!((answer.status, answer.json()), (503, serde_json::json!({})));
        assert_eq!(answered("HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap().status, 101);
        for (broken, kind) in [
            ("", ErrorKind::UnexpectedEof),
            ("SSH-2.0", ErrorKind::InvalidData),
            ("SSH\r\n\r\n", ErrorKind::InvalidData),
        ] {
            match answered(broken).await {
                Err(Error::Unreachable(error)) => assert_eq!(error.kind(), kind, "{broken:?}"),
                other => panic!("{broken:?}: {other:?}"),
            }
        }
        assert!(matches!(
            answered("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").await,
            Err(Error::Cut(_))
        ));
    }
}
