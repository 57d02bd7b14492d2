//! A channel on which each call shows the secret of its socket.

use crate::socket::KnownSecret;
use axum::http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::Service;

/// Calls over one socket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls {
    channel: Channel,
    secret: KnownSecret,
}

impl Calls {
    pub(super) const fn new(channel: Channel, secret: KnownSecret) -> Self {
        Self { channel, secret }
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.secret.show(request.headers_mut());
        let (answer, secret) = (self.channel.call(request), self.secret.clone());
        Box::pin(async move {
            let response = answer.await?;
            // Whoever listens has started again: the next attempt reads the secret of that start.
            if Status::from_header_map(response.headers())
                .is_some_and(|it| it.code() == Code::PermissionDenied)
            {
                secret.forget();
            }
            Ok(response)
        })
    }
}
