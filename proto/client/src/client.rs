//! Requests to one URL, each with a deadline.

use crate::connection::{Connection, KeptConnection, request};
use crate::error::Error;
use crate::response::Response;
use crate::tls::Tls;
use crate::url::Url;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// A client of the server at one URL. It follows no redirect and uses no proxy: this very server is meant.
#[derive(Debug)]
pub struct Client {
    url: Url,
    tls: Option<Tls>,
    deadline: Duration,
    connection: KeptConnection,
}

impl Client {
    /// A client that gives each request `deadline` to be answered in.
    ///
    /// # Errors
    /// When the URL needs TLS and the system's authorities cannot be read.
    pub fn new(url: Url, deadline: Duration) -> Result<Self, Error> {
        let tls = url.is_secure().then(Tls::platform).transpose()?;
        Ok(Self { url, tls, deadline, connection: KeptConnection::default() })
    }

    /// Where the server is.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request for a path below the URL, or for the URL itself where `path` is empty.
    ///
    /// # Errors
    /// When no whole answer came in time.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, Error> {
        let path = self.url.path_of(path);
        let request = request(method, self.url.authority(), &path, headers.iter().copied(), body)?;
        let sent = timeout(self.deadline, self.connection.send(request, async || self.connect().await));
        sent.await.unwrap_or_else(|_| {
            let late = format!("no answer within {} seconds", self.deadline.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, late).into())
        })
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let addresses: Vec<_> = lookup_host((self.url.host(), self.url.port())).await?.collect();
        let stream = connect_one(&addresses, self.deadline).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => Connection::over(tls.begin(self.url.host(), stream).await?).await,
            None => Connection::over(stream).await,
        }
    }
}

/// Connects to the first address that answers. Each has its share of the time: one behind which packets are lost, as
/// happens with IPv6, leaves time for the others.
async fn connect_one(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let share = limit / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no connection came about in time"),
        };
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn silence_ends_at_the_deadline_and_a_closed_port_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let kind = async |deadline| {
            let client = Client::new(url.clone(), deadline).unwrap();
            match client.send("GET", "/health", &[], "").await {
                Err(Error::Unreachable(error)) => error.kind(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(kind(Duration::from_millis(10)).await, ErrorKind::TimedOut);
        drop(listener);
        assert_eq!(kind(Duration::from_secs(30)).await, ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn an_address_that_is_silent_leaves_time_for_the_next_one() {
        // Connections beyond the backlog of one that accepts none are neither taken nor refused.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let silent = full.local_addr().unwrap();
        let _first = TcpStream::connect(silent).await.unwrap();
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [silent, good.local_addr().unwrap()];
        let stream = connect_one(&addresses, Duration::from_secs(1)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        let late = connect_one(&addresses[..1], Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert_eq!(connect_one(&[], Duration::ZERO).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
