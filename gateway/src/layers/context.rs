//! An admitted request, as its endpoint gets it.

use crate::app::{App, Arrival};
use crate::bodies::budget::Upload;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::edge::UpgradeHandle;
use crate::layers::origin::Origin;
use crate::storage::PATIENCE;
use axum::Router;
use axum::extract::{FromRequest, Request};
use hyper::{HeaderMap, Method};
use relay_proto::RequestId;
use relay_proto::mail::Caller;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What admission found out about a request, as an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Who is charged.
    pub(crate) caller: Caller,
    /// How long the caller has to wait, where that is said inside of a sealed reply.
    pub(crate) refused: Option<Duration>,
    pub(crate) retry: RetryDeadline,
    pub(crate) idempotency: IdempotencyKey,
}

/// An admitted request, as its endpoint gets it.
pub(crate) struct RequestContext {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    pub(crate) refused: Option<Duration>,
    pub(crate) retry: RetryDeadline,
    pub(crate) idempotency: IdempotencyKey,
    /// Whether the reply will be sealed, so that it must fit [`relay_proto::page::RUNG`].
    pub(crate) sealed: bool,
    /// For a request inside this one.
    pub(crate) router: Option<Router>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Upload,
    /// Present where the request asks for an upgrade.
    pub(crate) upgrade: Option<UpgradeHandle>,
}

impl FromRequest<Arc<App>> for RequestContext {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (mut head, body) = request.into_parts();
        let arrival = head.extensions.remove().ok_or(ErrorCode::Internal)?;
        let admitted = head.extensions.remove().ok_or(ErrorCode::Internal)?;
        let Arrival { origin, account, router } = arrival;
        let Admitted { caller, refused, retry, idempotency } = admitted;
        Ok(Self {
            app: Arc::clone(app),
            caller,
            refused,
            retry,
            idempotency,
            sealed: origin.is_sealed(),
            router,
            upgrade: head.extensions.remove().filter(|_| head.method == Method::GET),
            headers: head.headers,
            body: Upload { body, account },
        })
    }
}

/// What a request is known by, where storage must not carry it out twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdempotencyKey(Option<RequestId>);

impl IdempotencyKey {
    /// A sealed request is known by its message, any other one by a name that is drawn when it is needed.
    pub(crate) const fn of(origin: Origin) -> Self {
        match origin {
            Origin::Oblivious { request_id, .. } => Self(Some(request_id)),
            Origin::Direct(_) => Self(None),
        }
    }

    /// The name. To be asked once a request.
    pub(crate) fn request_id(self) -> Result<RequestId, ApiError> {
        match self.0 {
            Some(request_id) => Ok(request_id),
            None => RequestId::random().map_err(|_| ErrorCode::Internal.into()),
        }
    }
}

/// How long storage may still keep a request waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryDeadline(Duration);

impl RetryDeadline {
    /// What is left of a request's patience that began to wait at `began`.
    pub(crate) fn since(began: Instant) -> Self {
        Self(PATIENCE.saturating_sub(began.elapsed()))
    }

    /// What is left of it.
    pub(crate) fn remaining(self) -> Duration {
        self.0
    }

    /// When it ends, if it is needed from now on. The time for sending a body is not counted: that one is the client's.
    pub(crate) fn deadline(self) -> Instant {
        Instant::now() + self.0
    }
}
