//! The one table of what clients are told when something is wrong.
//!
//! A fault carries nothing that a client sent: it has a status, a fixed text, a metric label and the time
//! after which asking again makes sense. Texts hold none of the words by which clients recognise a stale
//! OHTTP key, because the same texts travel inside OHTTP answers.

use super::reply::{self, Reply};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use relay_proto::Refusal;
use std::time::Duration;

macro_rules! faults {
    ($($name:ident = $status:ident, $text:literal, $reason:ident, $retry:expr, $when:literal;)*) => {
        /// Everything that can be wrong with a request, or with the relay that should answer it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $(#[doc = $when] $name,)*
        }

        impl Fault {
            /// All of them, in the order in which the documentation shows them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        status: StatusCode::$status,
                        text: $text,
                        body: concat!("{\"status\":\"error\",\"error\":\"", $text, "\"}"),
                        reason: Reason::$reason,
                        retry_after: $retry,
                        when: $when,
                    },)*
                }
            }
        }
    };
}

struct Row {
    status: StatusCode,
    text: &'static str,
    body: &'static str,
    reason: Reason,
    retry_after: Option<u64>,
    when: &'static str,
}

faults! {
    NotJson = BAD_REQUEST, "request body must be a JSON object", Invalid, None,
        "The body is not JSON, not an object, nested too deeply, or says a field twice.";
    RecipientId = BAD_REQUEST, "recipient_id must be 64 hex characters", Invalid, None,
        "`recipient_id` is absent or malformed.";
    Ciphertext = BAD_REQUEST, "ciphertext must be valid base64", Invalid, None,
        "`ciphertext` is absent, empty, or not standard base64 with padding.";
    OriginHint = BAD_REQUEST, "origin_hint must be base64 of exactly 74 bytes", Invalid, None,
        "`origin_hint` is malformed.";
    TokenCount = BAD_REQUEST, "mailbox_tokens must contain 1-1900 entries", Invalid, None,
        "`mailbox_tokens` is absent, no list, empty or too long.";
    Token = BAD_REQUEST, "mailbox_tokens must be 64 hex characters each", Invalid, None,
        "An entry of `mailbox_tokens` is malformed.";
    BlobId = BAD_REQUEST, "blob_id must be 32 hex characters", Invalid, None,
        "`blob_id` is absent or malformed.";
    PublicKey = BAD_REQUEST, "public_key must be 64 hex characters", Invalid, None,
        "`public_key` is absent or malformed.";
    PurgeToken = BAD_REQUEST, "purge_token must be 64 hex characters", Invalid, None,
        "`purge_token` is absent or malformed.";
    Signature = BAD_REQUEST, "signature must be 128 hex characters", Invalid, None,
        "`signature` is absent or malformed.";
    Timestamp = BAD_REQUEST, "timestamp must be a whole number of seconds", Invalid, None,
        "`timestamp` is absent or malformed.";
    HalfAnOwner = BAD_REQUEST, "public_key, timestamp and signature must come together", Invalid, None,
        "A registration names an owner incompletely.";
    BodyBroken = BAD_REQUEST, "request body ended early", Invalid, None,
        "The connection or stream broke before the whole body was there.";
    PurgeWindow = UNAUTHORIZED, "purge timestamp outside acceptable window", Unauthorized, None,
        "A purge was signed more than 60 seconds from the relay's time.";
    PurgeSignature = UNAUTHORIZED, "invalid purge signature", Unauthorized, None,
        "The signature does not hold, or its key does not own the mailbox.";
    PurgeReplay = UNAUTHORIZED, "purge token replay detected", Unauthorized, None,
        "The purge token was used before.";
    RegistrationWindow = UNAUTHORIZED, "registration timestamp outside acceptable window", Unauthorized, None,
        "A registration was signed more than 60 seconds from the relay's time.";
    RegistrationSignature = UNAUTHORIZED, "invalid registration signature", Unauthorized, None,
        "The signature does not hold.";
    RegistrationReplay = UNAUTHORIZED, "registration replay detected", Unauthorized, None,
        "The signature was used before.";
    NotRegistered = FORBIDDEN, "recipient is not registered with this relay", NotRegistered, None,
        "The operator asks for registration (`RELAY_REQUIRE_REGISTRATION`), and nobody registered the mailbox.";
    NotFound = NOT_FOUND, "no such endpoint", NotFound, None,
        "The path is none of the relay's.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method not allowed", NotFound, None,
        "The path takes another method; `Allow` names it.";
    BodyTooSlow = REQUEST_TIMEOUT, "request body came too slowly", Timeout, None,
        "The body took more than 30 seconds, or came at less than 1 KiB a second.";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "request body too large", TooLarge, None,
        "The body is longer than the largest blob (`RELAY_MAX_MESSAGE_SIZE`) can make it.";
    BlobTooLarge = PAYLOAD_TOO_LARGE, "blob too large", TooLarge, None,
        "The decoded blob is larger than `RELAY_MAX_MESSAGE_SIZE`.";
    UpgradeRequired = UPGRADE_REQUIRED, "upgrade_required", Upgrade, None,
        "The client's version is below the minimum and the grace time is over; the body also has `min_version`.";
    RateLimited = TOO_MANY_REQUESTS, "rate limit exceeded", RateLimited, Some(1),
        "The mailbox or the client's address had more than its share.";
    QuotaExceeded = TOO_MANY_REQUESTS, "quota exceeded for recipient", Quota, Some(3600),
        "The mailbox is full.";
    Internal = INTERNAL_SERVER_ERROR, "internal error", Internal, None,
        "A fault of the relay's own.";
    Busy = SERVICE_UNAVAILABLE, "relay is busy", Unavailable, Some(1),
        "More waits to be stored than may wait.";
    Crowded = SERVICE_UNAVAILABLE, "too many requests in progress", Unavailable, Some(1),
        "Requests in progress take all the memory they may.";
    TooManyConnections = SERVICE_UNAVAILABLE, "too many connections", Unavailable, Some(1),
        "The gateway holds `RELAY_MAX_CONNECTIONS` already.";
    Unreachable = SERVICE_UNAVAILABLE, "storage is not reachable", Unavailable, Some(2),
        "Storage did not answer within 5 seconds.";
    StorageFull = INSUFFICIENT_STORAGE, "quota exceeded: relay storage is full", StorageFull, Some(600),
        "The relay holds as much as it may (`RELAY_MAX_STORAGE_BYTES`). Nothing was stored.";
}

macro_rules! reasons {
    ($($name:ident = $label:literal;)*) => {
        /// Why a request was refused, as metrics tell it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $(#[doc = $label] $name,)*
        }

        impl Reason {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The metric label.
            pub(crate) const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    Invalid = "invalid";
    Unauthorized = "unauthorized";
    NotRegistered = "not_registered";
    NotFound = "not_found";
    Timeout = "timeout";
    TooLarge = "too_large";
    Upgrade = "upgrade_required";
    RateLimited = "rate_limited";
    Quota = "quota";
    Internal = "internal";
    Unavailable = "unavailable";
    StorageFull = "storage_full";
}

impl Fault {
    /// The status code.
    pub(crate) const fn status(self) -> StatusCode {
        self.row().status
    }

    /// What the client reads.
    pub(crate) const fn text(self) -> &'static str {
        self.row().text
    }

    /// The whole JSON body.
    pub(crate) const fn body(self) -> &'static str {
        self.row().body
    }

    /// When it happens, for the documentation.
    pub(crate) const fn when(self) -> &'static str {
        self.row().when
    }

    /// How it is counted.
    pub(crate) const fn reason(self) -> Reason {
        self.row().reason
    }
}

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
            Refusal::Busy => Fault::Busy,
            Refusal::OutcomeUnknown | Refusal::Unavailable => Fault::Unreachable,
            Refusal::Internal => Fault::Internal,
            // The gateway checks what it asks for, and only signed requests can fail to prove themselves.
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
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_fault_is_a_json_error_with_its_own_text() {
        let mut texts = HashSet::new();
        for fault in Fault::ALL {
            let json: serde_json::Value = serde_json::from_str(fault.body()).unwrap();
            assert_eq!(json, serde_json::json!({ "status": "error", "error": fault.text() }));
            assert!(fault.status().is_client_error() || fault.status().is_server_error());
            assert!(texts.insert(fault.text()), "{} is said twice", fault.text());
            assert!(!fault.when().is_empty());
        }
    }

    #[test]
    fn no_text_sounds_like_a_stale_key() {
        for fault in Fault::ALL {
            for word in ["400", "502", "ohttp", "OHTTP"] {
                assert!(!fault.text().contains(word), "{}", fault.text());
            }
        }
    }

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
            (Refusal::QuotaExceeded, Fault::QuotaExceeded),
            (Refusal::StorageFull, Fault::StorageFull),
            (Refusal::NotRegistered, Fault::NotRegistered),
            (Refusal::TooLarge, Fault::BlobTooLarge),
            (Refusal::Busy, Fault::Busy),
            (Refusal::OutcomeUnknown, Fault::Unreachable),
            (Refusal::Unavailable, Fault::Unreachable),
            (Refusal::Internal, Fault::Internal),
        ] {
            let answers = [refusal.clone().into(), of_purge(refusal.clone()), of_registration(refusal)];
            assert!(answers.iter().all(|error: &ApiError| error.fault == fault));
        }
        for (refusal, purge, registration) in [
            (Refusal::OutsideWindow, Fault::PurgeWindow, Fault::RegistrationWindow),
            (Refusal::BadSignature, Fault::PurgeSignature, Fault::RegistrationSignature),
            (Refusal::Replayed, Fault::PurgeReplay, Fault::RegistrationReplay),
        ] {
            assert_eq!(of_purge(refusal.clone()).fault, purge);
            assert_eq!(of_registration(refusal).fault, registration);
        }
    }
}
