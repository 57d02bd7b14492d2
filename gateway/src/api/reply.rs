//! Answers: JSON, whole, ready to be written.

use super::error::{ApiError, Fault};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// An answer with its whole body.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A body of JSON.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Writes a body.
pub(super) fn written(body: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|_| Fault::Internal.into())
}

/// A success.
pub(super) fn success(body: &impl Serialize) -> Result<Reply, ApiError> {
    Ok(json(StatusCode::OK, written(body)?.into()))
}
