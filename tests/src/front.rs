//! A proxy in front of gateways that has the faults a test gives it. It speaks plain HTTP; a TLS front may stand before it.

use crate::signed_key;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, DATE, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use relay_client::Connection;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a front behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// Whether it names its clients in `X-Forwarded-For`.
    pub names_clients: bool,
    /// Another clock than the gateway's.
    pub date: Option<&'static str>,
    /// What it answers by itself, whatever is asked.
    pub answer: Option<&'static str>,
    /// Whether it changes a byte of the signed key record on its way.
    pub spoils_records: bool,
}

/// The front. It ends with this.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Front {
    /// Passes requests on to a gateway. Like many a proxy that nobody told, it passes no WebSocket on.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(target: SocketAddr, habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request| async move {
                    Ok::<_, Infallible>(answer(target, habits, request).await)
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(target: SocketAddr, habits: Habits, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(answer) = habits.answer {
        return Response::new(Full::from(answer));
    }
    pass_on(target, habits, request).await.unwrap_or_else(|_| {
        let mut failed = Response::new(Full::from("the gateway cannot be reached"));
        *failed.status_mut() = StatusCode::BAD_GATEWAY;
        failed
    })
}

async fn pass_on(
    target: SocketAddr,
    habits: Habits,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    let spoils = habits.spoils_records && request.uri().path() == signed_key::PATH;
    let (mut head, body) = request.into_parts();
    head.headers.remove(UPGRADE);
    head.headers.remove(CONNECTION);
    if habits.names_clients {
        head.headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut connection = Connection::over(TcpStream::connect(target).await?).await?;
    let reply = connection.send(Request::from_parts(head, body)).await?;
    let mut body = reply.body.to_vec();
    if spoils && let Some(last) = body.last_mut() {
        *last ^= 1;
    }
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(io::Error::other)?;
    *response.headers_mut() = reply.headers;
    if let Some(date) = habits.date {
        response.headers_mut().insert(DATE, HeaderValue::from_static(date));
    }
    Ok(response)
}
