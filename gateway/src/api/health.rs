//! `GET /health`, `GET /v2/health`: the process is alive. Nothing else is told.

use super::Call;
use super::error::ApiError;
use super::reply::{self, Reply};

pub(super) async fn health(_: Call) -> Result<Reply, ApiError> {
    Ok(reply::done())
}
