//! `GET /health`, `GET /v2/health`: the process is alive. Nothing else is told.

use super::Call;
use super::error::ApiError;
use super::reply::{self, Reply};
use bytes::Bytes;
use hyper::StatusCode;

pub(super) async fn health(_: Call) -> Result<Reply, ApiError> {
    Ok(reply::json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)))
}
