//! The calling half: domain types in, domain types or a [`Refusal`] out.

mod federation;
mod shown;

pub use federation::PeeringClient;
pub use shown::Calls;

use crate::admin::{BackupPart, ClockStatus, Evict, Evicted, KeyStatus, KindUsage, Slack, Status};
use crate::limits::MAX_GRPC_MESSAGE;
use crate::messages::admission_client::AdmissionClient;
use crate::messages::escrow_client::EscrowClient;
use crate::messages::exchange_client::ExchangeClient;
use crate::messages::guardian_client::GuardianClient;
use crate::messages::keys_client::KeysClient;
use crate::messages::mailbox_client::MailboxClient;
use crate::messages::recovery_client::RecoveryClient;
use crate::socket::KnownSecret;
use crate::status::refusal_of;
use crate::telemetry::{Family, Snapshot};
use crate::{Refusal, convert, wire};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status as GrpcStatus;
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

    fn telemetry(&self) -> wire::telemetry_client::TelemetryClient<Calls> {
        wire::telemetry_client::TelemetryClient::new(self.channel.clone())
    }

    /// Whether the store can commit.
    ///
    /// # Errors
    /// When it cannot, or cannot be reached.
    pub async fn check(&self) -> Result<(), Refusal> {
        self.telemetry().check(wire::CheckRequest {}).await.map_err(told)?;
        Ok(())
    }

    /// Tells this process's counters until the stream or storage ends.
    ///
    /// # Errors
    /// When storage cannot be reached or goes away.
    pub async fn report(
        &self,
        snapshots: impl Stream<Item = Snapshot> + Send + 'static,
    ) -> Result<(), Refusal> {
        self.telemetry().report(snapshots.map(wire::Snapshot::from)).await.map_err(told)?;
        Ok(())
    }

    /// The counters of the whole relay.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn collect(&self) -> Result<Vec<Family>, Refusal> {
        let reply = self.telemetry().collect(wire::CollectRequest {}).await.map_err(told)?;
        convert::telemetry::read_families(reply.into_inner().families)
    }

    /// What `relay status` shows.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn status(&self) -> Result<Status, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        client.status(wire::StatusRequest {}).await.map_err(told)?.into_inner().try_into()
    }

    /// What `relay keys` shows.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn key_status(&self) -> Result<KeyStatus, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        client.keys(wire::KeyStatusRequest {}).await.map_err(told)?.into_inner().try_into()
    }

    /// A consistent copy of the database, part by part. It is whole when the stream ends without an error.
    ///
    /// # Errors
    /// When storage cannot be reached, keeps nothing on disk, makes another backup, or has no room for a copy.
    pub async fn backup(
        &self,
    ) -> Result<impl Stream<Item = Result<BackupPart, Refusal>> + Send + Unpin + use<>, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        let parts = client.backup(wire::BackupRequest {}).await.map_err(told)?.into_inner();
        Ok(parts.map(|part| BackupPart::try_from(part.map_err(told)?)))
    }

    /// Looks at the free pages of the database, or gives some back to the volume first. Answers what is left.
    ///
    /// # Errors
    /// When storage cannot be reached.
    pub async fn compact(&self, give: bool) -> Result<Slack, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        Ok(client.compact(wire::CompactRequest { give }).await.map_err(told)?.into_inner().into())
    }

    /// What takes the room, one kind after another.
    ///
    /// # Errors
    /// When storage cannot be reached, or is too old to say.
    pub async fn usage(
        &self,
    ) -> Result<impl Stream<Item = Result<KindUsage, Refusal>> + Send + Unpin + use<>, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        let kinds = client.usage(wire::UsageRequest {}).await.map_err(told)?.into_inner();
        Ok(kinds.map(|kind| KindUsage::try_from(kind.map_err(told)?)))
    }

    /// Deletes rows, or counts them: what was done so far, step by step. All is done when the stream ends without an error.
    ///
    /// # Errors
    /// When storage cannot be reached, is too old, or keeps this kind whatever an operator wants.
    pub async fn evict(
        &self,
        evict: Evict,
    ) -> Result<impl Stream<Item = Result<Evicted, Refusal>> + Send + Unpin + use<>, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        let steps = client.evict(wire::EvictRequest::from(evict)).await.map_err(told)?.into_inner();
        Ok(steps.map(|step| Ok(step.map_err(told)?.into())))
    }

    /// Has storage believe its machine's clock from now on. Answers how it stood before.
    ///
    /// # Errors
    /// [`Refusal::ClockWrong`] for a clock that is certainly wrong, and when storage cannot be reached.
    pub async fn trust_clock(&self) -> Result<ClockStatus, Refusal> {
        let mut client = wire::admin_client::AdminClient::new(self.channel.clone());
        let reply = client.trust_clock(wire::TrustClockRequest {}).await.map_err(told)?.into_inner();
        convert::required("before", reply.before)?.try_into()
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

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn told(status: GrpcStatus) -> Refusal {
    refusal_of(&status)
}
