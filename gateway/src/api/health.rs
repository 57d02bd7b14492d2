//! `GET /health`, `GET /v2/health`: the process is alive. Nothing else is told.

use super::error::ApiError;
use super::reply::Reply;
use super::{RequestContext, success};

pub(crate) async fn health(_: RequestContext) -> Result<Reply, ApiError> {
    Ok(success::done())
}
