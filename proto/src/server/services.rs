//! Which services a socket serves, and to whom.

use super::budget::MessageBudget;
use super::connection::CallerConnection;
use super::entrance::Entrance;
use crate::limits::MAX_GRPC_MESSAGE;
use crate::messages::admin_server::{Admin, AdminServer};
use crate::messages::admission_server::{Admission, AdmissionServer};
use crate::messages::escrow_server::{Escrow, EscrowServer};
use crate::messages::exchange_server::{Exchange, ExchangeServer};
use crate::messages::guardian_server::{Guardian, GuardianServer};
use crate::messages::keys_server::{Keys, KeysServer};
use crate::messages::mailbox_server::{Mailbox, MailboxServer};
use crate::messages::offload_server::{Offload, OffloadServer};
use crate::messages::recalls_server::{Recalls, RecallsServer};
use crate::messages::recovery_server::{Recovery, RecoveryServer};
use crate::messages::telemetry_server::{Telemetry, TelemetryServer};
use crate::socket::{AllowedUsers, SecretCheck};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse as _;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::ServiceExt as _;

/// Largest message that asks for no mail to be stored, in bytes: 1,900 names, or a record with its blob.
const SMALL_MESSAGE: usize = 1 << 20;

/// Largest snapshot of a process's counters, in bytes. A gateway's has about 20 KiB.
const SNAPSHOT: usize = 128 << 10;

/// Calls of one connection that may be on their way at once.
const CALLS_AT_ONCE: u32 = 512;

/// Connections of one socket at once: every process that calls has one.
const CONNECTIONS: usize = 128;

/// Time between two lines of the log about connections that were refused.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Why no connection could be accepted.
const NO_FILES: &str = "cannot accept a connection";

/// Largest blob where nothing else was said, in bytes.
const DEFAULT_BLOB: usize = 1 << 20;

/// The services behind one socket.
#[derive(Debug, Clone)]
pub struct Services {
    routes: Routes,
    check: SecretCheck,
    largest_blob: usize,
}

impl Default for Services {
    fn default() -> Self {
        Self { routes: Routes::default(), check: SecretCheck::default(), largest_blob: DEFAULT_BLOB }
    }
}

impl Services {
    /// Refuses callers that do not show what they must.
    #[must_use]
    pub fn checked(self, check: SecretCheck) -> Self {
        Self { check, ..self }
    }

    /// Makes room for replies with blobs of up to this size.
    #[must_use]
    pub fn with_blobs_of(self, bytes: usize) -> Self {
        Self { largest_blob: bytes, ..self }
    }

    fn add<S>(self, service: S) -> Self
    where
        S: tower::Service<axum::http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        Self { routes: self.routes.add_service(service), ..self }
    }

    /// Serves mail.
    #[must_use]
    pub fn mailbox(self, service: &Arc<impl Mailbox>) -> Self {
        let server = MailboxServer::from_arc(Arc::clone(service))
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE);
        self.add(server)
    }

    /// Serves recovery proofs.
    #[must_use]
    pub fn recovery(self, service: &Arc<impl Recovery>) -> Self {
        let server = RecoveryServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Serves exchanges.
    #[must_use]
    pub fn exchange(self, service: &Arc<impl Exchange>) -> Self {
        let server = ExchangeServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Serves guardian sets.
    #[must_use]
    pub fn guardian(self, service: &Arc<impl Guardian>) -> Self {
        let server = GuardianServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Serves escrow.
    #[must_use]
    pub fn escrow(self, service: &Arc<impl Escrow>) -> Self {
        let server = EscrowServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Serves keys for Oblivious HTTP.
    #[must_use]
    pub fn keys(self, service: &Arc<impl Keys>) -> Self {
        let server = KeysServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Serves the shared policy.
    #[must_use]
    pub fn admission(self, service: &Arc<impl Admission>) -> Self {
        let server = AdmissionServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Serves health and counters.
    #[must_use]
    pub fn telemetry(self, service: &Arc<impl Telemetry>) -> Self {
        let server = TelemetryServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SNAPSHOT))
    }

    /// Serves federation.
    #[must_use]
    pub fn offload(self, service: &Arc<impl Offload>) -> Self {
        let server = OffloadServer::from_arc(Arc::clone(service))
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE);
        self.add(server)
    }

    /// Serves gateways with what peers hold.
    #[must_use]
    pub fn recalls(self, service: &Arc<impl Recalls>) -> Self {
        let server = RecallsServer::from_arc(Arc::clone(service))
            .max_decoding_message_size(SMALL_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE);
        self.add(server)
    }

    /// Serves the operator.
    #[must_use]
    pub fn admin(self, service: &Arc<impl Admin>) -> Self {
        let server = AdminServer::from_arc(Arc::clone(service));
        self.add(server.max_decoding_message_size(SMALL_MESSAGE))
    }

    /// Answers plain HTTP requests beside the gRPC ones: `curl --unix-socket` reaches them.
    #[must_use]
    pub fn http(self, router: axum::Router) -> Self {
        let grpc = self.routes.clone().prepare().into_axum_router();
        let by_content = move |request: axum::extract::Request| {
            let grpc = grpc.clone();
            async move {
                let is_grpc = request
                    .headers()
                    .get(CONTENT_TYPE)
                    .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
                // The gRPC router answers what it does not know with a 200 of its own kind.
                if is_grpc {
                    grpc.oneshot(request).await.into_response()
                } else {
                    StatusCode::NOT_FOUND.into_response()
                }
            }
        };
        Self { routes: Routes::from(router.fallback(by_content)), ..self }
    }

    /// Serves until `shutdown`, then lets calls in flight finish.
    ///
    /// # Errors
    /// When the transport fails as a whole; single connections fail by themselves.
    pub async fn serve(
        self,
        listener: UnixListener,
        users: AllowedUsers,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        let entrance = Entrance::new(self.check, MessageBudget::new(self.largest_blob));
        tonic::transport::Server::builder()
            .accept_http1(true)
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20)
            .max_concurrent_streams(CALLS_AT_ONCE)
            .layer(entrance)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(accept(listener, users), shutdown)
            .await
    }
}

/// Accepts connections of allowed users, and so many at once. Running out of file descriptors costs a pause, not the
/// listener.
fn accept(listener: UnixListener, users: AllowedUsers) -> impl Stream<Item = io::Result<CallerConnection>> {
    let pause = Duration::from_millis(50);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut said = None;
    tokio_stream::wrappers::UnixListenerStream::new(listener)
        .then(move |accepted| {
            let admitted = match accepted {
                Ok(stream) if users.admits(&stream) => CallerConnection::new(stream, &room)
                    .ok_or("refused a connection: this socket has as many as it may have"),
                Ok(_) => Err("refused a connection: its user is not in RELAY_SOCKET_UIDS"),
                Err(_) => Err(NO_FILES),
            };
            // Whoever is refused tries again, and need not fill the log.
            if let Err(why) = &admitted
                && said.is_none_or(|at: Instant| at.elapsed() >= SAY_AGAIN)
            {
                said = Some(Instant::now());
                tracing::warn!("{why}");
            }
            async move {
                if admitted.as_ref().err() == Some(&NO_FILES) {
                    tokio::time::sleep(pause).await;
                }
                admitted.ok().map(Ok)
            }
        })
        .filter_map(|admitted| admitted)
}
