//! The one table between [`Refusal`] and its two wire forms: the message inside a batch outcome, and the
//! gRPC status (with that message as its details) of a whole call.

use crate::Refusal;
use crate::messages::{self, RefusalCode};
use bytes::Bytes;
use prost::Message as _;
use std::borrow::Cow;
use std::time::Duration;
use tonic::{Code, Status};

impl From<Refusal> for messages::Refusal {
    fn from(refusal: Refusal) -> Self {
        let (code, retry_after, field) = match refusal {
            Refusal::Invalid { field } => (RefusalCode::Invalid, None, field),
            Refusal::MailboxRateLimited { retry_after } => {
                (RefusalCode::MailboxRateLimited, Some(retry_after), Cow::default())
            }
            Refusal::AddressRateLimited { retry_after } => {
                (RefusalCode::AddressRateLimited, Some(retry_after), Cow::default())
            }
            Refusal::GuessesSpent { retry_after } => {
                (RefusalCode::GuessesSpent, Some(retry_after), Cow::default())
            }
            Refusal::UnknownCode => (RefusalCode::UnknownCode, None, Cow::default()),
            Refusal::AlreadyClaimed => (RefusalCode::AlreadyClaimed, None, Cow::default()),
            Refusal::NotYetClaimed => (RefusalCode::NotYetClaimed, None, Cow::default()),
            Refusal::TooManyOffers => (RefusalCode::TooManyOffers, None, Cow::default()),
            Refusal::QuotaExceeded => (RefusalCode::QuotaExceeded, None, Cow::default()),
            Refusal::StorageFull => (RefusalCode::StorageFull, None, Cow::default()),
            Refusal::NotRegistered => (RefusalCode::NotRegistered, None, Cow::default()),
            Refusal::TooLarge => (RefusalCode::TooLarge, None, Cow::default()),
            Refusal::OutsideWindow => (RefusalCode::OutsideWindow, None, Cow::default()),
            Refusal::BadSignature => (RefusalCode::BadSignature, None, Cow::default()),
            Refusal::Replayed => (RefusalCode::Replayed, None, Cow::default()),
            Refusal::ClockWrong => (RefusalCode::ClockWrong, None, Cow::default()),
            Refusal::Busy => (RefusalCode::Busy, None, Cow::default()),
            Refusal::OutcomeUnknown => (RefusalCode::OutcomeUnknown, None, Cow::default()),
            Refusal::Unavailable => (RefusalCode::Unavailable, None, Cow::default()),
            Refusal::Internal => (RefusalCode::Internal, None, Cow::default()),
        };
        let retry_after_millis =
            retry_after.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        Self { code: code.into(), retry_after_millis, field: field.into_owned() }
    }
}

impl From<messages::Refusal> for Refusal {
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

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Invalid { .. } | Refusal::TooLarge => Code::InvalidArgument,
            Refusal::MailboxRateLimited { .. }
            | Refusal::AddressRateLimited { .. }
            | Refusal::GuessesSpent { .. }
            | Refusal::QuotaExceeded
            | Refusal::TooManyOffers
            | Refusal::StorageFull => Code::ResourceExhausted,
            Refusal::NotRegistered | Refusal::AlreadyClaimed | Refusal::NotYetClaimed => {
                Code::FailedPrecondition
            }
            Refusal::UnknownCode => Code::NotFound,
            Refusal::OutsideWindow | Refusal::BadSignature | Refusal::Replayed => Code::Unauthenticated,
            Refusal::Busy | Refusal::Unavailable | Refusal::ClockWrong => Code::Unavailable,
            Refusal::OutcomeUnknown => Code::Unknown,
            Refusal::Internal => Code::Internal,
        };
        let text = refusal.to_string();
        Self::with_details(code, text, Bytes::from(messages::Refusal::from(refusal).encode_to_vec()))
    }
}

/// Reads a status, from our own handlers (details) or from the transport (a bare code).
#[must_use]
pub fn refusal_of(status: &Status) -> Refusal {
    if !status.details().is_empty() {
        return messages::Refusal::decode(status.details()).map_or(Refusal::Internal, Refusal::from);
    }
    match status.code() {
        // The way to storage broke, or storage went away under the call.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
            Refusal::Unavailable
        }
        // It has started again, and with another secret than was shown. Nothing was done.
        Code::PermissionDenied => Refusal::Unavailable,
        // HTTP/2 resets without a gRPC status surface as Internal: the peer died mid-call.
        Code::Internal if std::error::Error::source(status).is_some() => Refusal::Unavailable,
        _ => Refusal::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_refusal() -> Vec<Refusal> {
        let retry_after = Duration::from_millis(1234);
        vec![
            Refusal::invalid("mailbox"),
            Refusal::MailboxRateLimited { retry_after },
            Refusal::AddressRateLimited { retry_after },
            Refusal::GuessesSpent { retry_after },
            Refusal::UnknownCode,
            Refusal::AlreadyClaimed,
            Refusal::NotYetClaimed,
            Refusal::TooManyOffers,
            Refusal::QuotaExceeded,
            Refusal::StorageFull,
            Refusal::NotRegistered,
            Refusal::TooLarge,
            Refusal::OutsideWindow,
            Refusal::BadSignature,
            Refusal::Replayed,
            Refusal::ClockWrong,
            Refusal::Busy,
            Refusal::OutcomeUnknown,
            Refusal::Unavailable,
            Refusal::Internal,
        ]
    }

    #[test]
    fn every_refusal_survives_both_wire_forms() {
        for refusal in every_refusal() {
            assert_eq!(Refusal::from(messages::Refusal::from(refusal.clone())), refusal);
            assert_eq!(refusal_of(&Status::from(refusal.clone())), refusal);
        }
    }

    #[test]
    fn unknown_refusals_and_garbage_are_internal_faults() {
        assert_eq!(Refusal::from(messages::Refusal { code: 999, ..Default::default() }), Refusal::Internal);
        let garbage = Status::with_details(Code::Unknown, "", Bytes::from_static(b"\xff\xff"));
        assert_eq!(refusal_of(&garbage), Refusal::Internal);
    }

    #[test]
    fn a_broken_transport_is_passing() {
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::PermissionDenied] {
            assert!(refusal_of(&Status::new(code, "")).is_passing());
        }
        assert!(!refusal_of(&Status::new(Code::Unimplemented, "")).is_passing());
    }
}
