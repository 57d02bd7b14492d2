//! Successes, small and large.

use super::body::{Intake, LARGE};
use super::error::{ApiError, Fault};
use super::reply::{self, Reply};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;

/// Writes a body.
pub(super) fn written(body: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|_| Fault::Internal.into())
}

/// A success.
pub(super) fn of(body: &impl Serialize) -> Result<Reply, ApiError> {
    Ok(reply::json(StatusCode::OK, written(body)?.into()))
}

/// A success that has nothing more to say.
pub(super) fn done() -> Reply {
    reply::json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#))
}

/// A success of any size, [`written`] before. It is turned away when all memory is taken: the client asks
/// again.
pub(super) async fn large(intake: &Intake, body: Vec<u8>) -> Result<Reply, ApiError> {
    let body = if body.len() > LARGE { intake.share(body.len()).await?.hold(body) } else { body.into() };
    Ok(reply::json(StatusCode::OK, body))
}

/// As [`large`], for an answer that the relay gives only once. Turning it away would lose it, so it goes out
/// even when it finds no memory to hold.
pub(super) async fn large_once(intake: &Intake, body: Vec<u8>) -> Reply {
    let share = if body.len() > LARGE { intake.share(body.len()).await.ok() } else { None };
    let body = match share {
        Some(share) => share.hold(body),
        None => body.into(),
    };
    reply::json(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_needs_memory_and_one_that_is_given_once_goes_out_without() {
        let intake = Intake::new(1 << 20);
        let (small, big) = (|| vec![b'x'; LARGE], || vec![b'x'; LARGE + 1]);
        let mut all = Vec::new();
        while let Ok(share) = intake.share(1 << 20).await {
            all.push(share);
        }
        assert!(large(&intake, small()).await.is_ok());
        assert_eq!(large(&intake, big()).await.unwrap_err().fault, Fault::Crowded);
        let reply = large_once(&intake, big()).await.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(reply, big());
        drop(all);
        for reply in [large(&intake, big()).await.unwrap(), large_once(&intake, big()).await] {
            assert_eq!(reply.status(), StatusCode::OK);
            assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), big());
        }
    }
}
