//! The serving half: handler traits that speak domain types, and the one implementation of each generated
//! service over them.

use crate::admin::{Capacity, Status};
use crate::limits::MAX_GRPC_MESSAGE;
use crate::mail::{Fetch, MailPage, Purge, Register, WriteCommand, WriteOutcomes};
use crate::policy::Policy;
use crate::socket::AllowedUsers;
use crate::telemetry::{Family, Snapshot};
use crate::{Refusal, convert, wire};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status as GrpcStatus, Streaming};
use tower::ServiceExt as _;

/// Carries out what gateways ask on behalf of clients.
pub trait MailboxHandler: Send + Sync + 'static {
    /// Does the commands and answers after the commit that holds them: one outcome a command, in order.
    fn write(&self, commands: Vec<WriteCommand>) -> impl Future<Output = WriteOutcomes> + Send;
    /// Reads a page.
    fn fetch(&self, fetch: Fetch) -> impl Future<Output = Result<MailPage, Refusal>> + Send;
    /// Registers mailboxes; answers how many.
    fn register(&self, register: Register) -> impl Future<Output = Result<u32, Refusal>> + Send;
    /// Deletes what an owner has; answers how many blobs.
    fn purge(&self, purge: Purge) -> impl Future<Output = Result<u64, Refusal>> + Send;
}

/// Hands the shared policy to gateways.
pub trait AdmissionHandler: Send + Sync + 'static {
    /// The policy now and whenever it changes. The stream must end when the process stops.
    fn watch(&self) -> impl Stream<Item = Policy> + Send + 'static;
}

/// Gathers health and counters.
pub trait TelemetryHandler: Send + Sync + 'static {
    /// Whether the store can commit.
    fn check(&self) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Takes one reporter's snapshots for as long as it lives. Must return when the process stops.
    fn report(
        &self,
        snapshots: impl Stream<Item = Result<Snapshot, Refusal>> + Send + Unpin,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// The counters of the whole relay.
    fn collect(&self) -> Vec<Family>;
}

/// Serves federation.
pub trait OffloadHandler: Send + Sync + 'static {
    /// How full the store is.
    fn capacity(&self) -> Capacity;
}

/// Serves the operator.
pub trait AdminHandler: Send + Sync + 'static {
    /// What `relay status` shows.
    fn status(&self) -> impl Future<Output = Result<Status, Refusal>> + Send;
}

struct Adapter<H>(Arc<H>);

type Reply<T> = Result<Response<T>, GrpcStatus>;

#[tonic::async_trait]
impl<H: MailboxHandler> wire::mailbox_server::Mailbox for Adapter<H> {
    async fn write(&self, request: Request<wire::WriteRequest>) -> Reply<wire::WriteReply> {
        let read = convert::mailbox::write_commands(request.into_inner())?;
        let mut commands = Vec::with_capacity(read.len());
        let refused: Vec<Option<Refusal>> =
            read.into_iter().map(|command| command.map(|good| commands.push(good)).err()).collect();
        let mut done = self.0.write(commands).await.into_iter();
        let outcomes = refused
            .into_iter()
            .map(|refusal| match refusal {
                Some(refusal) => Err(refusal),
                None => done.next().unwrap_or(Err(Refusal::Internal)),
            })
            .collect();
        Ok(Response::new(convert::mailbox::write_reply(outcomes)))
    }

    async fn fetch(&self, request: Request<wire::FetchRequest>) -> Reply<wire::FetchReply> {
        let page = self.0.fetch(Fetch::try_from(request.into_inner())?).await?;
        Ok(Response::new(page.into()))
    }

    async fn register(&self, request: Request<wire::RegisterRequest>) -> Reply<wire::RegisterReply> {
        let registered = self.0.register(Register::try_from(request.into_inner())?).await?;
        Ok(Response::new(wire::RegisterReply { registered }))
    }

    async fn purge(&self, request: Request<wire::PurgeRequest>) -> Reply<wire::PurgeReply> {
        let blobs_deleted = self.0.purge(Purge::try_from(request.into_inner())?).await?;
        Ok(Response::new(wire::PurgeReply { blobs_deleted }))
    }
}

#[tonic::async_trait]
impl<H: AdmissionHandler> wire::admission_server::Admission for Adapter<H> {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Policy, GrpcStatus>> + Send>>;

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Reply<Self::WatchStream> {
        Ok(Response::new(Box::pin(self.0.watch().map(|policy| Ok(policy.into())))))
    }
}

#[tonic::async_trait]
impl<H: TelemetryHandler> wire::telemetry_server::Telemetry for Adapter<H> {
    async fn check(&self, _: Request<wire::CheckRequest>) -> Reply<wire::CheckReply> {
        self.0.check().await?;
        Ok(Response::new(wire::CheckReply {}))
    }

    async fn report(&self, request: Request<Streaming<wire::Snapshot>>) -> Reply<wire::ReportReply> {
        let snapshots = request.into_inner().map(|message| match message {
            Ok(snapshot) => Snapshot::try_from(snapshot),
            Err(status) => Err(crate::status::refusal_of(&status)),
        });
        self.0.report(snapshots).await?;
        Ok(Response::new(wire::ReportReply {}))
    }

    async fn collect(&self, _: Request<wire::CollectRequest>) -> Reply<wire::CollectReply> {
        let families = convert::telemetry::write_families(self.0.collect());
        Ok(Response::new(wire::CollectReply { families }))
    }
}

#[tonic::async_trait]
impl<H: OffloadHandler> wire::offload_server::Offload for Adapter<H> {
    async fn capacity(&self, _: Request<wire::CapacityRequest>) -> Reply<wire::CapacityReply> {
        Ok(Response::new(self.0.capacity().into()))
    }
}

#[tonic::async_trait]
impl<H: AdminHandler> wire::admin_server::Admin for Adapter<H> {
    async fn status(&self, _: Request<wire::StatusRequest>) -> Reply<wire::StatusReply> {
        Ok(Response::new(self.0.status().await?.into()))
    }
}

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
        let service = wire::offload_server::OffloadServer::new(Adapter(Arc::clone(handler)));
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
