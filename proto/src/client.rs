//! The calling half: one generated client for each service of a socket.

mod federation;
mod shown;

pub use federation::PeeringClient;
pub use shown::Calls;

use crate::limits::MAX_GRPC_MESSAGE;
use crate::messages::admin_client::AdminClient;
use crate::messages::admission_client::AdmissionClient;
use crate::messages::escrow_client::EscrowClient;
use crate::messages::exchange_client::ExchangeClient;
use crate::messages::guardian_client::GuardianClient;
use crate::messages::keys_client::KeysClient;
use crate::messages::mailbox_client::MailboxClient;
use crate::messages::recovery_client::RecoveryClient;
use crate::messages::telemetry_client::TelemetryClient;
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

    /// Calls for mail.
    #[must_use]
    pub fn mailbox(&self) -> MailboxClient<Calls> {
        MailboxClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE)
    }

    /// Calls for recovery proofs.
    #[must_use]
    pub fn recovery(&self) -> RecoveryClient<Calls> {
        RecoveryClient::new(self.channel.clone())
    }

    /// Calls for exchanges.
    #[must_use]
    pub fn exchange(&self) -> ExchangeClient<Calls> {
        ExchangeClient::new(self.channel.clone())
    }

    /// Calls for guardian sets.
    #[must_use]
    pub fn guardian(&self) -> GuardianClient<Calls> {
        GuardianClient::new(self.channel.clone())
    }

    /// Calls for escrow.
    #[must_use]
    pub fn escrow(&self) -> EscrowClient<Calls> {
        EscrowClient::new(self.channel.clone())
    }

    /// Calls for keys of Oblivious HTTP.
    #[must_use]
    pub fn keys(&self) -> KeysClient<Calls> {
        KeysClient::new(self.channel.clone())
    }

    /// Calls for the shared policy.
    #[must_use]
    pub fn admission(&self) -> AdmissionClient<Calls> {
        AdmissionClient::new(self.channel.clone())
    }

    /// Health and counters.
    #[must_use]
    pub fn telemetry(&self) -> TelemetryClient<Calls> {
        TelemetryClient::new(self.channel.clone())
    }

    /// The operator's calls.
    #[must_use]
    pub fn admin(&self) -> AdminClient<Calls> {
        AdminClient::new(self.channel.clone())
    }
}

/// A way to a socket that is not taken before it is needed.
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
