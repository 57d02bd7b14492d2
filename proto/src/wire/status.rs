//! The one table between [`StorageError`] and its two wire forms: the message inside a batch outcome, and the
//! gRPC status (with that message as its details) of a whole call.

use crate::StorageError;
use crate::messages::{self, RefusalCode};
use bytes::Bytes;
use prost::Message as _;
use std::borrow::Cow;
use std::time::Duration;
use tonic::{Code, Status};

/// The refusal's form in a message, the gRPC code of a call that it ends, and what it says besides.
fn parts(refusal: &StorageError) -> (RefusalCode, Code, Duration, &str) {
    use StorageError::{
        AddressRateLimited, AlreadyClaimed, BadSignature, Busy, ClockWrong, GuessesSpent, Internal, Invalid,
        MailboxRateLimited, NotRegistered, NotYetClaimed, OutcomeUnknown, OutsideWindow, QuotaExceeded,
        Replayed, StorageFull, TooLarge, TooManyOffers, Unavailable, UnknownCode,
    };
    let limited = |code, wait: &Duration| (code, Code::ResourceExhausted, *wait, "");
    let plain = |code, status| (code, status, Duration::ZERO, "");
    match refusal {
        Invalid { field } => (RefusalCode::Invalid, Code::InvalidArgument, Duration::ZERO, field),
        MailboxRateLimited { retry_after } => limited(RefusalCode::MailboxRateLimited, retry_after),
        AddressRateLimited { retry_after } => limited(RefusalCode::AddressRateLimited, retry_after),
        GuessesSpent { retry_after } => limited(RefusalCode::GuessesSpent, retry_after),
        UnknownCode => plain(RefusalCode::UnknownCode, Code::NotFound),
        AlreadyClaimed => plain(RefusalCode::AlreadyClaimed, Code::FailedPrecondition),
        NotYetClaimed => plain(RefusalCode::NotYetClaimed, Code::FailedPrecondition),
        TooManyOffers => plain(RefusalCode::TooManyOffers, Code::ResourceExhausted),
        QuotaExceeded => plain(RefusalCode::QuotaExceeded, Code::ResourceExhausted),
        StorageFull => plain(RefusalCode::StorageFull, Code::ResourceExhausted),
        NotRegistered => plain(RefusalCode::NotRegistered, Code::FailedPrecondition),
        TooLarge => plain(RefusalCode::TooLarge, Code::InvalidArgument),
        OutsideWindow => plain(RefusalCode::OutsideWindow, Code::Unauthenticated),
        BadSignature => plain(RefusalCode::BadSignature, Code::Unauthenticated),
        Replayed => plain(RefusalCode::Replayed, Code::Unauthenticated),
        ClockWrong => plain(RefusalCode::ClockWrong, Code::Unavailable),
        Busy => plain(RefusalCode::Busy, Code::Unavailable),
        OutcomeUnknown => plain(RefusalCode::OutcomeUnknown, Code::Unknown),
        Unavailable => plain(RefusalCode::Unavailable, Code::Unavailable),
        Internal => plain(RefusalCode::Internal, Code::Internal),
    }
}

impl From<StorageError> for messages::Refusal {
    fn from(refusal: StorageError) -> Self {
        let (code, _, retry_after, field) = parts(&refusal);
        let retry_after_millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        Self { code: code.into(), retry_after_millis, field: field.to_owned() }
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
        let (_, code, ..) = parts(&refusal);
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
