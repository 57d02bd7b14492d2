//! Successes, small and large.

use super::budget::UNCOUNTED;
use super::error::{ApiError, ErrorCode};
use super::reply::{self, Reply};
use super::values::StatusOk;
use crate::limits::memory::MemoryPermit;
use hyper::StatusCode;
use relay_proto::page::RUNG;
use schemars::JsonSchema;
use serde::Serialize;

/// The request was carried out, and there is nothing to tell.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Done {
    status: StatusOk,
}

/// Writes a body.
pub(crate) fn written(body: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|_| ErrorCode::Internal.into())
}

/// A success.
pub(crate) fn of(body: &impl Serialize) -> Result<Reply, ApiError> {
    Ok(reply::json(StatusCode::OK, written(body)?.into()))
}

/// A success that has nothing more to say.
pub(crate) fn done() -> Result<Reply, ApiError> {
    of(&Done { status: StatusOk })
}

/// A success of any size, [`written`] before, which holds the memory of its request from now on. It is refused when there
/// is not enough: the client asks again.
pub(crate) async fn large(mut share: MemoryPermit, body: Vec<u8>) -> Result<Reply, ApiError> {
    if body.len() > UNCOUNTED {
        share.grow(body.len()).await?;
    }
    Ok(held(share, body))
}

/// Takes the memory for a reply as large as a sealed one may be, before storage is asked for it: one that the relay gives
/// only once would be lost if it were refused later, and pages of mail would be held without being counted.
pub(crate) async fn reserve(share: &mut MemoryPermit) -> Result<(), ApiError> {
    Ok(share.grow(RUNG).await?)
}

/// Takes the memory for a reply that holds one blob of so many bytes.
pub(crate) async fn reserve_blob(share: &mut MemoryPermit, bytes: u64) -> Result<(), ApiError> {
    let base64 = usize::try_from(bytes).unwrap_or(usize::MAX / 2).div_ceil(3).saturating_mul(4);
    Ok(share.grow(base64.saturating_add(UNCOUNTED)).await?)
}

/// A success for which memory was [reserved](reserve).
pub(crate) fn reserved(share: MemoryPermit, body: Vec<u8>) -> Reply {
    held(share, body)
}

fn held(mut share: MemoryPermit, body: Vec<u8>) -> Reply {
    let body = if body.len() > UNCOUNTED {
        share.shrink(body.len());
        share.hold(body)
    } else {
        body.into()
    };
    reply::json(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::budget::BodyBudget;
    use crate::bodies::error::ErrorCode;
    use crate::limits::memory::Size;
    use http_body_util::BodyExt as _;
    use prometheus::IntCounter;

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_needs_memory_and_one_that_is_given_once_has_it_beforehand() {
        let intake = BodyBudget::new(1 << 20, IntCounter::new("refused", "Refused.").unwrap());
        let account = intake.account([192, 0, 2, 1].into(), false);
        let share = async || account.take(0, Size::Small).await.unwrap();
        let (small, big) = (|| vec![b'x'; UNCOUNTED], || vec![b'x'; UNCOUNTED + 1]);
        let mut once = share().await;
        reserve(&mut once).await.unwrap();
        let mut all = Vec::new();
        while let Ok(share) = account.take(1024, Size::Small).await {
            all.push(share);
        }
        assert!(large(share().await, small()).await.is_ok());
        assert_eq!(large(share().await, big()).await.unwrap_err().fault, ErrorCode::TooMuchInProgress);
        assert!(reserve(&mut share().await).await.is_err());
        let reply = reserved(once, big());
        let more = large(share().await, big()).await;
        assert!(more.is_ok(), "what was reserved and is not needed is given back");
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), big());
        drop(all);
        let reply = large(share().await, big()).await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), big());
    }
}
