//! The calling half: a method for each service, which returns the generated client.

mod shown;

pub use shown::Calls;

use crate::limits::MAX_GRPC_MESSAGE;
use crate::server::MessageBounds;
use crate::socket::KnownSecret;
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

/// A connection to one of storage's sockets. Cheap to clone; connects when first used, and again whenever
/// the connection is lost. Which calls are served depends on the socket.
#[derive(Debug, Clone)]
pub struct StorageClient {
    channel: Calls,
}

impl StorageClient {
    /// Speaks to the socket at `path`. Does not connect yet, and never fails here. Must be called inside
    /// a Tokio runtime.
    pub fn new(path: PathBuf) -> Self {
        Self { channel: channel(path) }
    }
}

/// A connection to federation, for gateways. Cheap to clone; connects when first used, and again.
#[derive(Debug, Clone)]
pub struct PeeringClient {
    channel: Calls,
}

impl PeeringClient {
    /// Speaks to the socket at `path`. As [`StorageClient::new`].
    pub fn new(path: PathBuf) -> Self {
        Self { channel: channel(path) }
    }
}

include!(concat!(env!("OUT_DIR"), "/clients.rs"));

/// A channel to a socket, which connects when it is first used.
fn channel(path: PathBuf) -> Calls {
    let secret = KnownSecret::of(&path);
    let connect = move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    };
    let channel = Endpoint::from_static("http://relay")
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(4 << 20)
        .connect_with_connector_lazy(tower::service_fn(connect));
    Calls::new(channel, secret)
}
