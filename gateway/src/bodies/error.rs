//! Errors on their way to clients: which [`ErrorCode`] a refusal by storage is, and how it is replied.

mod table;

pub(crate) use table::{ErrorCode, Reason, Row, own_errors};

use super::reply::{self, Reply};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use relay_proto::StorageError;
use serde_json::json;
use std::time::Duration;

/// A refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) fault: ErrorCode,
    /// Overrides the table's, where the time is known.
    retry_after: Option<Duration>,
    /// The oldest version of clients that is served, where that is the reason.
    min_version: Option<u16>,
}

impl From<ErrorCode> for ApiError {
    fn from(fault: ErrorCode) -> Self {
        Self { fault, retry_after: None, min_version: None }
    }
}

impl ApiError {
    /// Over a limit, and free again after a time.
    pub(crate) const fn rate_limited(retry_after: Duration) -> Self {
        Self { fault: ErrorCode::RateLimited, retry_after: Some(retry_after), min_version: None }
    }

    /// Of a client that is older than the oldest that is served.
    pub(crate) const fn upgrade_required(min_version: u16) -> Self {
        Self { fault: ErrorCode::UpgradeRequired, retry_after: None, min_version: Some(min_version) }
    }

    /// Whole seconds after which asking again makes sense.
    fn retry_seconds(self) -> Option<u64> {
        let computed = self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        computed.map(|seconds| seconds.max(1)).or(self.fault.row().retry_after)
    }

    /// The reply to the client.
    pub(crate) fn reply(self) -> Reply {
        let body = match self.min_version {
            Some(min_version) => {
                let body =
                    json!({ "status": "error", "error": self.fault.text(), "min_version": min_version });
                body.to_string().into()
            }
            None => Bytes::from_static(self.fault.body().as_bytes()),
        };
        let mut reply = reply::json(self.fault.status(), body);
        if let Some(seconds) = self.retry_seconds() {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        reply
    }
}

impl IntoResponse for ApiError {
    /// The reply, with its [`ErrorCode`] as an extension: the layers count it.
    fn into_response(self) -> Response {
        let mut response = self.reply().into_response();
        response.extensions_mut().insert(self.fault);
        response
    }
}

impl From<StorageError> for ApiError {
    fn from(refusal: StorageError) -> Self {
        let fault = match refusal {
            StorageError::MailboxRateLimited { retry_after }
            | StorageError::AddressRateLimited { retry_after }
            | StorageError::GuessesSpent { retry_after } => return Self::rate_limited(retry_after),
            StorageError::QuotaExceeded => ErrorCode::QuotaExceeded,
            StorageError::StorageFull => ErrorCode::StorageFull,
            StorageError::NotRegistered => ErrorCode::NotRegistered,
            StorageError::TooLarge => ErrorCode::BlobTooLarge,
            StorageError::ClockWrong => ErrorCode::ClockWrong,
            StorageError::Busy => ErrorCode::Busy,
            StorageError::OutcomeUnknown | StorageError::Unavailable => ErrorCode::Unreachable,
            StorageError::Internal => ErrorCode::Internal,
            // The gateway checks what it asks for, only signed requests can fail to prove themselves, and
            // only exchanges have codes.
            StorageError::Invalid { .. }
            | StorageError::OutsideWindow
            | StorageError::BadSignature
            | StorageError::Replayed
            | StorageError::UnknownCode
            | StorageError::AlreadyClaimed
            | StorageError::NotYetClaimed
            | StorageError::TooManyOffers => {
                tracing::error!(%refusal, "storage and gateway disagree about a request");
                ErrorCode::Internal
            }
        };
        fault.into()
    }
}

/// A refusal of something signed, of which each kind has its own words for a time outside the window, a signature that does
/// not hold, and one that was used before.
pub(crate) fn of_signed(refusal: StorageError, [window, signature, replay]: [ErrorCode; 3]) -> ApiError {
    match refusal {
        StorageError::OutsideWindow => window.into(),
        StorageError::BadSignature => signature.into(),
        StorageError::Replayed => replay.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{every_error, exchange, guardian, purge, register};

    #[test]
    fn clients_that_wait_find_the_words_and_the_time_they_look_for() {
        for fault in every_error() {
            let reply = ApiError::from(fault).reply();
            let waits = matches!(reply.status().as_u16(), 429 | 503 | 507);
            assert_eq!(reply.headers().contains_key(RETRY_AFTER), waits, "{}", fault.text());
            if matches!(reply.status().as_u16(), 429 | 507) {
                assert!(fault.text().contains("rate limit") || fault.text().contains("quota exceeded"));
            }
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
            let reply = ApiError::rate_limited(Duration::from_millis(millis)).reply();
            assert_eq!(reply.headers()[RETRY_AFTER], seconds, "{millis} ms");
        }
    }

    #[test]
    fn every_refusal_has_its_reply() {
        let wait = Duration::from_secs(7);
        for (refusal, fault) in [
            (StorageError::invalid("mailbox"), ErrorCode::Internal),
            (StorageError::MailboxRateLimited { retry_after: wait }, ErrorCode::RateLimited),
            (StorageError::AddressRateLimited { retry_after: wait }, ErrorCode::RateLimited),
            (StorageError::GuessesSpent { retry_after: wait }, ErrorCode::RateLimited),
            (StorageError::StorageFull, ErrorCode::StorageFull),
            (StorageError::NotRegistered, ErrorCode::NotRegistered),
            (StorageError::TooLarge, ErrorCode::BlobTooLarge),
            (StorageError::ClockWrong, ErrorCode::ClockWrong),
            (StorageError::Busy, ErrorCode::Busy),
            (StorageError::OutcomeUnknown, ErrorCode::Unreachable),
            (StorageError::Unavailable, ErrorCode::Unreachable),
            (StorageError::Internal, ErrorCode::Internal),
        ] {
            let refusals =
                [ApiError::from, purge::refusal, register::refusal, guardian::refusal, exchange::refusal];
            assert!(refusals.iter().all(|told| told(refusal.clone()).fault == fault), "{refusal}");
        }
    }

    #[test]
    fn a_full_mailbox_and_a_key_with_too_many_are_told_apart() {
        assert_eq!(ApiError::from(StorageError::QuotaExceeded).fault, ErrorCode::QuotaExceeded);
        assert_eq!(register::refusal(StorageError::QuotaExceeded).fault, ErrorCode::OwnerQuota);
    }

    #[test]
    fn a_refusal_that_only_some_calls_know_is_told_in_their_words() {
        for (refusal, purge, registration, guardians) in [
            (
                StorageError::OutsideWindow,
                ErrorCode::PurgeWindow,
                ErrorCode::RegistrationWindow,
                guardian::GUARDIAN_WINDOW,
            ),
            (
                StorageError::BadSignature,
                ErrorCode::PurgeSignature,
                ErrorCode::RegistrationSignature,
                guardian::GUARDIAN_SIGNATURE,
            ),
            (
                StorageError::Replayed,
                ErrorCode::PurgeReplay,
                ErrorCode::RegistrationReplay,
                guardian::GUARDIAN_REPLAY,
            ),
        ] {
            assert_eq!(purge::refusal(refusal.clone()).fault, purge);
            assert_eq!(register::refusal(refusal.clone()).fault, registration);
            assert_eq!(guardian::refusal(refusal.clone()).fault, guardians);
            assert_eq!(exchange::refusal(refusal).fault, ErrorCode::Internal);
        }
        for (refusal, exchange) in [
            (StorageError::UnknownCode, exchange::UNKNOWN_CODE),
            (StorageError::AlreadyClaimed, exchange::ALREADY_CLAIMED),
            (StorageError::NotYetClaimed, exchange::NOT_YET_CLAIMED),
            (StorageError::TooManyOffers, exchange::TOO_MANY_OFFERS),
        ] {
            assert_eq!(exchange::refusal(refusal.clone()).fault, exchange);
            assert_eq!(ApiError::from(refusal).fault, ErrorCode::Internal);
        }
    }
}
