//! `GET /health`, `GET /v2/health`: the process is alive. Nothing else is told.

use super::RequestContext;
use super::error::ApiError;
use super::reply::Reply;
use super::success::{self, Done};
use crate::openapi::{Body, Operation};

pub(crate) const HEALTH: Operation = Operation::get(Body::json::<Done>(), &[]);

pub(crate) async fn health(_: RequestContext) -> Result<Reply, ApiError> {
    success::done()
}
