//! Replies: JSON, whole, ready to be written.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tower::ServiceExt as _;

/// A reply with its whole body.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A body of JSON.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Calls a router for a request. What it replies is whole already, and only boxed.
pub(crate) async fn of_router(router: Router, request: Request<Body>) -> Reply {
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (mut head, body) = response.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    // The router writes the length of every body, also where a protocol begins that has none (RFC 9110 §8.6).
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        head.headers.remove(CONTENT_LENGTH);
    }
    Response::from_parts(head, Full::new(body))
}
