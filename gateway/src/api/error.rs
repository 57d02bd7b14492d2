//! Errors on their way to clients: which [`Fault`] a refusal by storage is, and how it is answered.

mod table;

pub(crate) use table::{Fault, Reason};

use super::reply::{self, Reply};
use bytes::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use relay_proto::Refusal;
use std::time::Duration;

/// A refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) fault: Fault,
    /// Overrides the table's, where the time is known.
    retry_after: Option<Duration>,
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self { fault, retry_after: None }
    }
}

impl ApiError {
    /// Over a limit, and free again after a time.
    pub(crate) const fn rate_limited(retry_after: Duration) -> Self {
        Self { fault: Fault::RateLimited, retry_after: Some(retry_after) }
    }

    /// Whole seconds after which asking again makes sense.
    fn retry_seconds(self) -> Option<u64> {
        let computed = self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        computed.map(|seconds| seconds.max(1)).or(self.fault.row().retry_after)
    }

    /// The answer to the client.
    pub(crate) fn reply(self) -> Reply {
        let body = Bytes::from_static(self.fault.body().as_bytes());
        let mut reply = reply::json(self.fault.status(), body);
        if let Some(seconds) = self.retry_seconds() {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        reply
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let fault = match refusal {
            Refusal::MailboxRateLimited { retry_after }
            | Refusal::AddressRateLimited { retry_after }
            | Refusal::GuessesSpent { retry_after } => return Self::rate_limited(retry_after),
            Refusal::QuotaExceeded => Fault::QuotaExceeded,
            Refusal::StorageFull => Fault::StorageFull,
            Refusal::NotRegistered => Fault::NotRegistered,
            Refusal::TooLarge => Fault::BlobTooLarge,
            Refusal::ClockWrong => Fault::ClockWrong,
            Refusal::Busy => Fault::Busy,
            Refusal::OutcomeUnknown | Refusal::Unavailable => Fault::Unreachable,
            Refusal::Internal => Fault::Internal,
            // The gateway checks what it asks for, only signed requests can fail to prove themselves, and
            // only exchanges have codes.
            Refusal::Invalid { .. }
            | Refusal::OutsideWindow
            | Refusal::BadSignature
            | Refusal::Replayed
            | Refusal::UnknownCode
            | Refusal::AlreadyClaimed
            | Refusal::NotYetClaimed
            | Refusal::TooManyOffers => {
                tracing::error!(%refusal, "storage and gateway disagree about a request");
                Fault::Internal
            }
        };
        fault.into()
    }
}

/// A refusal of a purge.
pub(super) fn of_purge(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::OutsideWindow => Fault::PurgeWindow.into(),
        Refusal::BadSignature => Fault::PurgeSignature.into(),
        Refusal::Replayed => Fault::PurgeReplay.into(),
        other => other.into(),
    }
}

/// A refusal of a registration.
pub(super) fn of_registration(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::OutsideWindow => Fault::RegistrationWindow.into(),
        Refusal::BadSignature => Fault::RegistrationSignature.into(),
        Refusal::Replayed => Fault::RegistrationReplay.into(),
        Refusal::QuotaExceeded => Fault::OwnerQuota.into(),
        other => other.into(),
    }
}

/// A refusal of a guardian set.
pub(super) fn of_guardians(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::OutsideWindow => Fault::GuardianWindow.into(),
        Refusal::BadSignature => Fault::GuardianSignature.into(),
        Refusal::Replayed => Fault::GuardianReplay.into(),
        other => other.into(),
    }
}

/// A refusal of a step of an exchange.
pub(super) fn of_exchange(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::UnknownCode => Fault::UnknownCode.into(),
        Refusal::AlreadyClaimed => Fault::AlreadyClaimed.into(),
        Refusal::NotYetClaimed => Fault::NotYetClaimed.into(),
        Refusal::TooManyOffers => Fault::TooManyOffers.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_wait_find_the_words_and_the_time_they_look_for() {
        for fault in Fault::ALL {
            let reply = ApiError::from(*fault).reply();
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
    fn every_refusal_has_its_answer() {
        let wait = Duration::from_secs(7);
        for (refusal, fault) in [
            (Refusal::invalid("mailbox"), Fault::Internal),
            (Refusal::MailboxRateLimited { retry_after: wait }, Fault::RateLimited),
            (Refusal::AddressRateLimited { retry_after: wait }, Fault::RateLimited),
            (Refusal::GuessesSpent { retry_after: wait }, Fault::RateLimited),
            (Refusal::StorageFull, Fault::StorageFull),
            (Refusal::NotRegistered, Fault::NotRegistered),
            (Refusal::TooLarge, Fault::BlobTooLarge),
            (Refusal::ClockWrong, Fault::ClockWrong),
            (Refusal::Busy, Fault::Busy),
            (Refusal::OutcomeUnknown, Fault::Unreachable),
            (Refusal::Unavailable, Fault::Unreachable),
            (Refusal::Internal, Fault::Internal),
        ] {
            let answers = [ApiError::from, of_purge, of_registration, of_guardians, of_exchange];
            assert!(answers.iter().all(|answer| answer(refusal.clone()).fault == fault), "{refusal}");
        }
    }

    #[test]
    fn a_full_mailbox_and_a_key_with_too_many_are_told_apart() {
        assert_eq!(ApiError::from(Refusal::QuotaExceeded).fault, Fault::QuotaExceeded);
        assert_eq!(of_registration(Refusal::QuotaExceeded).fault, Fault::OwnerQuota);
    }

    #[test]
    fn a_refusal_that_only_some_calls_know_is_told_in_their_words() {
        for (refusal, purge, registration, guardians) in [
            (Refusal::OutsideWindow, Fault::PurgeWindow, Fault::RegistrationWindow, Fault::GuardianWindow),
            (
                Refusal::BadSignature,
                Fault::PurgeSignature,
                Fault::RegistrationSignature,
                Fault::GuardianSignature,
            ),
            (Refusal::Replayed, Fault::PurgeReplay, Fault::RegistrationReplay, Fault::GuardianReplay),
        ] {
            assert_eq!(of_purge(refusal.clone()).fault, purge);
            assert_eq!(of_registration(refusal.clone()).fault, registration);
            assert_eq!(of_guardians(refusal.clone()).fault, guardians);
            assert_eq!(of_exchange(refusal).fault, Fault::Internal);
        }
        for (refusal, exchange) in [
            (Refusal::UnknownCode, Fault::UnknownCode),
            (Refusal::AlreadyClaimed, Fault::AlreadyClaimed),
            (Refusal::NotYetClaimed, Fault::NotYetClaimed),
            (Refusal::TooManyOffers, Fault::TooManyOffers),
        ] {
            assert_eq!(of_exchange(refusal.clone()).fault, exchange);
            assert_eq!(ApiError::from(refusal).fault, Fault::Internal);
        }
    }
}
