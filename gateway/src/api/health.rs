//! `GET /health`, `GET /v2/health`: the process is alive. Nothing else is told.

use crate::api::openapi::{Body, Operation};
use crate::bodies::error::ApiError;
use crate::bodies::reply::Reply;
use crate::bodies::success::{self, Done};
use crate::layers::context::RequestContext;

pub(crate) const HEALTH: Operation = Operation::get(Body::json::<Done>(), &[]);

pub(crate) async fn health(_: RequestContext) -> Result<Reply, ApiError> {
    success::done()
}
