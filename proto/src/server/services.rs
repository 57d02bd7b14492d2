//! Which services a socket serves, and to whom.

use super::budget::MessageBudget;
use super::connection::CallerConnection;
use super::entrance::Entrance;
use crate::limits::MAX_GRPC_MESSAGE;
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

/// Largest reply that holds no mail, in bytes.
const SMALL_REPLY: usize = 4 << 20;

/// How large the messages of a service may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageBounds {
    pub(crate) request: usize,
    pub(crate) reply: usize,
}

impl MessageBounds {
    /// The bounds of a service. One that says nothing else has small messages.
    pub(crate) fn of(service: &str) -> Self {
        let small = Self { request: SMALL_MESSAGE, reply: SMALL_REPLY };
        match service {
            "Mailbox" | "Offload" => Self { request: MAX_GRPC_MESSAGE, reply: MAX_GRPC_MESSAGE },
            "Recalls" => Self { reply: MAX_GRPC_MESSAGE, ..small },
            "Telemetry" => Self { request: SNAPSHOT, ..small },
            _ => small,
        }
    }
}

/// The services behind one socket. It has a method for each service of the `.proto` files, which serves it within its
/// bounds.
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

include!(concat!(env!("OUT_DIR"), "/servers.rs"));

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

    fn with<S>(self, service: S) -> Self
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::CALLS;

    #[test]
    fn services_with_large_messages_are_there_under_these_names() {
        for service in ["Mailbox", "Offload", "Recalls", "Telemetry"] {
            let path = format!("/relay.storage.v1.{service}/");
            assert!(CALLS.iter().any(|call| call.path.starts_with(&path)), "{service}");
            let MessageBounds { request, reply } = MessageBounds::of(service);
            assert_ne!((request, reply), (SMALL_MESSAGE, SMALL_REPLY), "{service}");
        }
    }
}
