//! The operator's side of a process: its ops endpoints, on a port or on a Unix socket.

use crate::metrics::Metrics;
use crate::reply::Reply;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Where a process answers its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ops {
    /// On a port.
    Port(SocketAddr),
    /// On a Unix socket.
    Socket(PathBuf),
}

impl Ops {
    /// One request, or why there is no answer.
    ///
    /// # Errors
    /// When the connection cannot be made, breaks, or stays silent for a second.
    pub async fn attempt(&self, path: &str, headers: &[(&str, &str)]) -> io::Result<Reply> {
        let answer = async {
            match self {
                Self::Port(address) => {
                    relay_client::get(TcpStream::connect(address).await?, path, headers).await
                }
                Self::Socket(socket) => {
                    relay_client::get(UnixStream::connect(socket).await?, path, headers).await
                }
            }
        };
        Ok(tokio::time::timeout(Duration::from_secs(5), answer).await??.into())
    }

    /// One request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Reply {
        self.attempt(path, &[])
            .await
            .unwrap_or_else(|error| panic!("no answer to {path} at {self:?}: {error}"))
    }

    /// Whether the process says that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.attempt("/ready", &[]).await.is_ok_and(|reply| reply.status == 200)
    }

    /// What the process counted.
    ///
    /// # Panics
    /// When it does not tell.
    pub async fn metrics(&self) -> Metrics {
        let reply = self.get("/metrics").await;
        assert_eq!(reply.status, 200, "{}", reply.describe());
        Metrics::parse(&reply.text())
    }
}
