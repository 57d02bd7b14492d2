//! What stands before every call of a socket: the caller shows the secret of the socket's directory, and there is room
//! for what it asks. Nothing of a call is read or decoded before.

use super::budget::MessageBudget;
use crate::socket::SecretCheck;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Paths below this one are calls; others are for operators, who may ask whether the process is ready.
const CALLS: &str = "/relay.";

/// The entrance to the services of a socket. Cheap to clone, as each call does.
#[derive(Debug, Clone)]
pub(super) struct Entrance(Arc<(SecretCheck, MessageBudget)>);

impl Entrance {
    pub(super) fn new(check: SecretCheck, budget: MessageBudget) -> Self {
        Self(Arc::new((check, budget)))
    }
}

impl<S> Layer<S> for Entrance {
    type Service = Entered<S>;

    fn layer(&self, services: S) -> Entered<S> {
        Entered { entrance: self.clone(), services }
    }
}

/// Services behind their entrance.
#[derive(Debug, Clone)]
pub(super) struct Entered<S> {
    entrance: Entrance,
    services: S,
}

impl<S> Service<Request<Body>> for Entered<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with(CALLS) {
            return Box::pin(self.services.call(request));
        }
        let entrance = self.entrance.clone();
        if !entrance.0.0.admits(request.headers()) {
            let refused = Status::permission_denied("the secret of the socket is missing or wrong");
            return Box::pin(ready(Ok(refused.into_http())));
        }
        // The one that is ready goes with the call.
        let services = self.services.clone();
        let mut services = std::mem::replace(&mut self.services, services);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let (held, body) = match entrance.0.1.admit(head.uri.path(), body).await {
                Ok(admitted) => admitted,
                Err(status) => return Ok(status.into_http()),
            };
            let response = services.call(Request::from_parts(head, body)).await?;
            // The room is given back with the reply's body, when it has been sent.
            let holding = move |frame| {
                let _until_dropped = &held;
                frame
            };
            Ok(response.map(|body| Body::new(body.map_frame(holding))))
        })
    }
}
