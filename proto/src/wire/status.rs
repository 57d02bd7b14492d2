//! The one table between [`StorageError`] and its two wire forms: the message inside a batch outcome, and the
//! gRPC status (with that message as its details) of a whole call.

use crate::StorageError;
use crate::messages::{self, RefusalCode};
use bytes::Bytes;
use prost::Message as _;
use std::borrow::Cow;
use std::time::Duration;
use tonic::{Code, Status};

impl From<StorageError> for messages::Refusal {
    fn from(refusal: StorageError) -> Self {
        let (code, retry_after, field) = match refusal {
            StorageError::Invalid { field } => (RefusalCode::Invalid, None, field),
            StorageError::MailboxRateLimited { retry_after } => {
                (RefusalCode::MailboxRateLimited, Some(retry_after), Cow::default())
            }
            StorageError::AddressRateLimited { retry_after } => {
                (RefusalCode::AddressRateLimited, Some(retry_after), Cow::default())
            }
            StorageError::GuessesSpent { retry_after } => {
                (RefusalCode::GuessesSpent, Some(retry_after), Cow::default())
            }
            StorageError::UnknownCode => (RefusalCode::UnknownCode, None, Cow::default()),
            StorageError::AlreadyClaimed => (RefusalCode::AlreadyClaimed, None, Cow::default()),
            StorageError::NotYetClaimed => (RefusalCode::NotYetClaimed, None, Cow::default()),
            StorageError::TooManyOffers => (RefusalCode::TooManyOffers, None, Cow::default()),
            StorageError::QuotaExceeded => (RefusalCode::QuotaExceeded, None, Cow::default()),
            StorageError::StorageFull => (RefusalCode::StorageFull, None, Cow::default()),
            StorageError::NotRegistered => (RefusalCode::NotRegistered, None, Cow::default()),
            StorageError::TooLarge => (RefusalCode::TooLarge, None, Cow::default()),
            StorageError::OutsideWindow => (RefusalCode::OutsideWindow, None, Cow::default()),
            StorageError::BadSignature => (RefusalCode::BadSignature, None, Cow::default()),
            StorageError::Replayed => (RefusalCode::Replayed, None, Cow::default()),
            StorageError::ClockWrong => (RefusalCode::ClockWrong, None, Cow::default()),
            StorageError::Busy => (RefusalCode::Busy, None, Cow::default()),
            StorageError::OutcomeUnknown => (RefusalCode::OutcomeUnknown, None, Cow::default()),
            StorageError::Unavailable => (RefusalCode::Unavailable, None, Cow::default()),
            StorageError::Internal => (RefusalCode::Internal, None, Cow::default()),
        };
        let retry_after_millis =
            retry_after.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        Self { code: code.into(), retry_after_millis, field: field.into_owned() }
    }
}

impl From<messages::Refusal> for StorageError {
    fn from(message: messages::Refusal) -> Self {
        let messages::Refusal { code, retry_after_millis, field } = message;
        let retry_after = Duration::from_millis(retry_after_millis);
        match RefusalCode::try_from(code) {
            Ok(RefusalCode::Invalid) => Self::Invalid { field: Cow::Owned(field) },
            Ok(RefusalCode::MailboxRateLimited) => Self::MailboxRateLimited { retry_after },
            Ok(RefusalCode::AddressRateLimited) => Self::AddressRateLimited { retry_after },
            Ok(RefusalCode::GuessesSpent) => Self::GuessesSpent { retry_after },
            Ok(RefusalCode::UnknownCode) => Self::UnknownCode,
            Ok(RefusalCode::AlreadyClaimed) => Self::AlreadyClaimed,
            Ok(RefusalCode::NotYetClaimed) => Self::NotYetClaimed,
            Ok(RefusalCode::TooManyOffers) => Self::TooManyOffers,
            Ok(RefusalCode::QuotaExceeded) => Self::QuotaExceeded,
            Ok(RefusalCode::StorageFull) => Self::StorageFull,
            Ok(RefusalCode::NotRegistered) => Self::NotRegistered,
            Ok(RefusalCode::TooLarge) => Self::TooLarge,
            Ok(RefusalCode::OutsideWindow) => Self::OutsideWindow,
            Ok(RefusalCode::BadSignature) => Self::BadSignature,
            Ok(RefusalCode::Replayed) => Self::Replayed,
            Ok(RefusalCode::ClockWrong) => Self::ClockWrong,
            Ok(RefusalCode::Busy) => Self::Busy,
            Ok(RefusalCode::OutcomeUnknown) => Self::OutcomeUnknown,
            Ok(RefusalCode::Unavailable) => Self::Unavailable,
            // A refusal that this version does not know is still a refusal.
            Ok(RefusalCode::Internal | RefusalCode::Unspecified) | Err(_) => Self::Internal,
        }
    }
}

impl From<StorageError> for Status {
    fn from(refusal: StorageError) -> Self {
        let code = match &refusal {
            StorageError::Invalid { .. } | StorageError::TooLarge => Code::InvalidArgument,
            StorageError::MailboxRateLimited { .. }
            | StorageError::AddressRateLimited { .. }
            | StorageError::GuessesSpent { .. }
            | StorageError::QuotaExceeded
            | StorageError::TooManyOffers
            | StorageError::StorageFull => Code::ResourceExhausted,
            StorageError::NotRegistered | StorageError::AlreadyClaimed | StorageError::NotYetClaimed => {
                Code::FailedPrecondition
            }
            StorageError::UnknownCode => Code::NotFound,
            StorageError::OutsideWindow | StorageError::BadSignature | StorageError::Replayed => {
                Code::Unauthenticated
            }
            StorageError::Busy | StorageError::Unavailable | StorageError::ClockWrong => Code::Unavailable,
            StorageError::OutcomeUnknown => Code::Unknown,
            StorageError::Internal => Code::Internal,
        };
        let text = refusal.to_string();
        Self::with_details(code, text, Bytes::from(messages::Refusal::from(refusal).encode_to_vec()))
    }
}

/// Reads a status, from our own handlers (details) or from the transport (a bare code).
#[must_use]
pub fn refusal_of(status: &Status) -> StorageError {
    if !status.details().is_empty() {
        return messages::Refusal::decode(status.details())
            .map_or(StorageError::Internal, StorageError::from);
    }
    match status.code() {
        // The way to storage broke, or storage went away under the call.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
            StorageError::Unavailable
        }
        // It has started again, and with another secret than was shown. Nothing was done.
        Code::PermissionDenied => StorageError::Unavailable,
        // HTTP/2 resets without a gRPC status surface as Internal: the peer died mid-call.
        Code::Internal if std::error::Error::source(status).is_some() => StorageError::Unavailable,
        _ => StorageError::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_refusal() -> Vec<StorageError> {
        let retry_after = Duration::from_millis(1234);
        vec![
            StorageError::invalid("mailbox"),
            StorageError::MailboxRateLimited { retry_after },
            StorageError::AddressRateLimited { retry_after },
            StorageError::GuessesSpent { retry_after },
            StorageError::UnknownCode,
            StorageError::AlreadyClaimed,
            StorageError::NotYetClaimed,
            StorageError::TooManyOffers,
            StorageError::QuotaExceeded,
            StorageError::StorageFull,
            StorageError::NotRegistered,
            StorageError::TooLarge,
            StorageError::OutsideWindow,
            StorageError::BadSignature,
            StorageError::Replayed,
            StorageError::ClockWrong,
            StorageError::Busy,
            StorageError::OutcomeUnknown,
            StorageError::Unavailable,
            StorageError::Internal,
        ]
    }

    #[test]
    fn every_refusal_survives_both_wire_forms() {
        for refusal in every_refusal() {
            assert_eq!(StorageError::from(messages::Refusal::from(refusal.clone())), refusal);
            assert_eq!(refusal_of(&Status::from(refusal.clone())), refusal);
        }
    }

    #[test]
    fn unknown_refusals_and_garbage_are_internal_faults() {
        assert_eq!(
            StorageError::from(messages::Refusal { code: 999, ..Default::default() }),
            StorageError::Internal
        );
        let garbage = Status::with_details(Code::Unknown, "", Bytes::from_static(b"\xff\xff"));
        assert_eq!(refusal_of(&garbage), StorageError::Internal);
    }

    #[test]
    fn a_broken_transport_is_passing() {
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::PermissionDenied] {
            assert!(refusal_of(&Status::new(code, "")).is_passing());
        }
        assert!(!refusal_of(&Status::new(Code::Unimplemented, "")).is_passing());
    }
}
