//! Which services a socket serves, and to whom.

use super::{
    Adapter, AdminHandler, AdmissionHandler, EscrowHandler, ExchangeHandler, GuardianHandler, KeysHandler,
    MailboxHandler, OffloadHandler, RecallHandler, RecoveryHandler, TelemetryHandler,
};
use crate::limits::MAX_GRPC_MESSAGE;
use crate::socket::AllowedUsers;
use crate::wire;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse as _;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tower::ServiceExt as _;

/// The services behind one socket.
#[derive(Debug, Clone, Default)]
pub struct Services {
    routes: Routes,
}

impl Services {
    /// Serves mail.
    #[must_use]
    pub fn mailbox(self, handler: &Arc<impl MailboxHandler>) -> Self {
        let service = wire::mailbox_server::MailboxServer::new(Adapter(Arc::clone(handler)))
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE);
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves recovery proofs.
    #[must_use]
    pub fn recovery(self, handler: &Arc<impl RecoveryHandler>) -> Self {
        let service = wire::recovery_server::RecoveryServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves exchanges.
    #[must_use]
    pub fn exchange(self, handler: &Arc<impl ExchangeHandler>) -> Self {
        let service = wire::exchange_server::ExchangeServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves guardian sets.
    #[must_use]
    pub fn guardian(self, handler: &Arc<impl GuardianHandler>) -> Self {
        let service = wire::guardian_server::GuardianServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves escrow.
    #[must_use]
    pub fn escrow(self, handler: &Arc<impl EscrowHandler>) -> Self {
        let service = wire::escrow_server::EscrowServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves keys for Oblivious HTTP.
    #[must_use]
    pub fn keys(self, handler: &Arc<impl KeysHandler>) -> Self {
        let service = wire::keys_server::KeysServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves the shared policy.
    #[must_use]
    pub fn admission(self, handler: &Arc<impl AdmissionHandler>) -> Self {
        let service = wire::admission_server::AdmissionServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves health and counters.
    #[must_use]
    pub fn telemetry(self, handler: &Arc<impl TelemetryHandler>) -> Self {
        let service = wire::telemetry_server::TelemetryServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves federation.
    #[must_use]
    pub fn offload(self, handler: &Arc<impl OffloadHandler>) -> Self {
        let service = wire::offload_server::OffloadServer::new(Adapter(Arc::clone(handler)))
            .max_decoding_message_size(MAX_GRPC_MESSAGE)
            .max_encoding_message_size(MAX_GRPC_MESSAGE);
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves gateways with what peers hold.
    #[must_use]
    pub fn recalls(self, handler: &Arc<impl RecallHandler>) -> Self {
        let service = wire::recalls_server::RecallsServer::new(Adapter(Arc::clone(handler)))
            .max_encoding_message_size(MAX_GRPC_MESSAGE);
        Self { routes: self.routes.add_service(service) }
    }

    /// Serves the operator.
    #[must_use]
    pub fn admin(self, handler: &Arc<impl AdminHandler>) -> Self {
        let service = wire::admin_server::AdminServer::new(Adapter(Arc::clone(handler)));
        Self { routes: self.routes.add_service(service) }
    }

    /// Answers plain HTTP requests beside the gRPC ones: `curl --unix-socket` reaches them.
    #[must_use]
    pub fn http(self, router: axum::Router) -> Self {
        let grpc = self.routes.prepare().into_axum_router();
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
        Self { routes: Routes::from(router.fallback(by_content)) }
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
        tonic::transport::Server::builder()
            .accept_http1(true)
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20)
            .max_concurrent_streams(1024)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(accept(listener, users), shutdown)
            .await
    }
}

/// Accepts connections of allowed users. Running out of file descriptors costs a pause, not the listener.
fn accept(listener: UnixListener, users: AllowedUsers) -> impl Stream<Item = io::Result<UnixStream>> {
    let pause = Duration::from_millis(50);
    tokio_stream::wrappers::UnixListenerStream::new(listener)
        .then(move |accepted| {
            let admitted = match accepted {
                Ok(connection) if users.admits(&connection) => Some(Ok(connection)),
                Ok(_) => {
                    tracing::warn!("refused a connection: its user is not in RELAY_SOCKET_UIDS");
                    None
                }
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "cannot accept a connection");
                    None
                }
            };
            async move {
                if admitted.is_none() {
                    tokio::time::sleep(pause).await;
                }
                admitted
            }
        })
        .filter_map(|admitted| admitted)
}
