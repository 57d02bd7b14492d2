//! The table of what clients are told when something is wrong. What only the endpoints of one file of `api/` tell is
//! declared there by [`own_errors`]; of older endpoints, those of mail have theirs here.
//!
//! A fault carries nothing that a client sent: it has a status, a fixed text, a metric label and the time
//! after which asking again makes sense. Texts hold none of the words by which clients recognise a stale
//! OHTTP key, because the same texts travel inside OHTTP replies.

use hyper::StatusCode;

macro_rules! faults {
    ($($name:ident = $status:ident, $text:literal, $reason:ident, $retry:expr, $when:literal;)*) => {
        /// Everything that can be wrong with a request, or with the relay that should reply it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ErrorCode {
            $(#[doc = $when] $name,)*
            /// One that an endpoint declares beside its handler, as [`own_errors`] does.
            Own(&'static Row),
        }

        impl ErrorCode {
            /// All of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        status: StatusCode::$status,
                        text: $text,
                        body: concat!("{\"status\":\"error\",\"error\":\"", $text, "\"}"),
                        reason: Reason::$reason,
                        retry_after: $retry,
                        when: $when,
                    },)*
                    Self::Own(row) => *row,
                }
            }
        }
    };
}

/// Declares errors that only the endpoints of one file have.
macro_rules! own_errors {
    ($($name:ident = $status:ident, $text:literal, $reason:ident, $retry:expr, $when:literal;)*) => {$(
        #[doc = $when]
        pub(crate) const $name: $crate::bodies::error::ErrorCode =
            $crate::bodies::error::ErrorCode::Own(&$crate::bodies::error::Row {
                status: hyper::StatusCode::$status,
                text: $text,
                body: concat!("{\"status\":\"error\",\"error\":\"", $text, "\"}"),
                reason: $crate::bodies::error::Reason::$reason,
                retry_after: $retry,
                when: $when,
            });
    )*};
}
pub(crate) use own_errors;

/// What is said of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
    pub(crate) body: &'static str,
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<u64>,
    pub(crate) when: &'static str,
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
    Framing = BAD_REQUEST, "request framing is broken", Invalid, None,
        "Inside an oblivious request: the length in front of the JSON does not fit.";
    EnvelopeVersion = BAD_REQUEST, "unsupported version", Invalid, None,
        "Inside an oblivious request: `version` is not 2.";
    UnknownAction = BAD_REQUEST, "unknown action", Invalid, None,
        "Inside an oblivious request: `action` names no endpoint.";
    Binary = BAD_REQUEST, "malformed binary request", Invalid, None,
        "Inside an oblivious request: neither an envelope nor a Binary HTTP request, one with a field that HTTP/2 forbids or a wrong `content-length`, or padding that is not zeros.";
    Host = BAD_REQUEST, "exactly one host is expected", Invalid, None,
        "An HTTP/1.1 request without `Host`, with two or with one that is no host; over HTTP/2 one that is not the `:authority`.";
    TransferCoding = BAD_REQUEST, "transfer codings are not supported", Invalid, None,
        "`Transfer-Encoding` is something else than one `chunked`.";
    NotAnUpgrade = BAD_REQUEST, "a WebSocket upgrade is expected here", Invalid, None,
        "What a peer asks at `/federation` is no WebSocket upgrade over HTTP/1.1.";
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
    NoRollover = NOT_FOUND, "there was no rollover", NotFound, None,
        "The relay's anchor is its first one.";
    NoPeering = NOT_FOUND, "this relay does not peer", NotFound, None,
        "Federation is off (`RELAY_FEDERATION_ENABLED`), or has not begun yet.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method not allowed", NotFound, None,
        "The path takes another method; `Allow` names it.";
    BodyTooSlow = REQUEST_TIMEOUT, "request body came too slowly", Timeout, None,
        "The body took more than 30 seconds, or came at less than 1 KiB a second.";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "request body too large", TooLarge, None,
        "The body is longer than the largest blob (`RELAY_MAX_MESSAGE_SIZE`) can make it.";
    BlobTooLarge = PAYLOAD_TOO_LARGE, "blob too large", TooLarge, None,
        "The decoded blob is larger than `RELAY_MAX_MESSAGE_SIZE`.";
    AnswerTooLarge = PAYLOAD_TOO_LARGE, "answer too large to be sealed", TooLarge, None,
        "Inside an oblivious request: the answer would be longer than 96 KiB, which relays in between refuse.";
    ContentType = UNSUPPORTED_MEDIA_TYPE, "unsupported content type", Invalid, None,
        "An oblivious request must be `message/ohttp-req`.";
    ContentEncoding = UNSUPPORTED_MEDIA_TYPE, "content encodings are not supported", Invalid, None,
        "`Content-Encoding` is something else than `identity`.";
    Expectation = EXPECTATION_FAILED, "expectations are not supported", Invalid, None,
        "Inside an oblivious request: `Expect`.";
    ForeignAuthority = MISDIRECTED_REQUEST, "request is for another host", Invalid, None,
        "Inside an oblivious request: an authority that is neither empty nor this relay's (`RELAY_PUBLIC_URL`).";
    UpgradeRequired = UPGRADE_REQUIRED, "upgrade_required", Upgrade, None,
        "The client's version is below the minimum and the grace time is over; the body also has `min_version`.";
    RateLimited = TOO_MANY_REQUESTS, "rate limit exceeded", RateLimited, Some(1),
        "The mailbox or the address had more than its share, or too many wrong exchange codes came.";
    TooMuchInProgress = TOO_MANY_REQUESTS, "rate limit exceeded: too much in progress", RateLimited, Some(1),
        "Requests and answers in progress of one address take a quarter of the gateway's memory for them; others are served.";
    TooManyOfOneAddress = TOO_MANY_REQUESTS, "rate limit exceeded: too many connections", RateLimited, Some(1),
        "The address has `RELAY_ADDR_MAX_CONNECTIONS` connections to this gateway already.";
    QuotaExceeded = TOO_MANY_REQUESTS, "quota exceeded for recipient", Quota, Some(3600),
        "The mailbox is full.";
    OwnerQuota = TOO_MANY_REQUESTS, "quota exceeded: too many mailboxes are bound to this key", Quota, Some(86_400),
        "A registration would bind more than 10,000 mailboxes to its key. They end with their registration, or when the key purges.";
    Internal = INTERNAL_SERVER_ERROR, "internal error", Internal, None,
        "A fault of the relay's own.";
    Busy = SERVICE_UNAVAILABLE, "relay is busy", Unavailable, Some(1),
        "More waits to be stored than may wait.";
    Crowded = SERVICE_UNAVAILABLE, "too many requests in progress", Unavailable, Some(1),
        "Requests in progress take all the memory they may.";
    TooManyConnections = SERVICE_UNAVAILABLE, "too many connections", Unavailable, Some(1),
        "The gateway holds `RELAY_MAX_CONNECTIONS` already.";
    TooManyTunnels = SERVICE_UNAVAILABLE, "too many peers are connected", Unavailable, Some(30),
        "The gateway passes on as many connections of peers as it may, which is 64.";
    NoSignedKey = SERVICE_UNAVAILABLE, "no signed key at this time", Unavailable, Some(60),
        "No certificate of the relay's anchor holds now.";
    Unreachable = SERVICE_UNAVAILABLE, "storage is not reachable", Unavailable, Some(2),
        "Storage did not answer within 5 seconds, or within 10 for a claim or completion of an exchange.";
    ClockWrong = SERVICE_UNAVAILABLE, "relay stores nothing at this time", Unavailable, Some(600),
        "The clock of the relay's machine is behind: what is stored would end too early. Mail is fetched and acked as always.";
    FederationAway = SERVICE_UNAVAILABLE, "federation is not reachable", Unavailable, Some(5),
        "The part of the relay that speaks with peers did not take the connection within 5 seconds.";
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

impl ErrorCode {
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

#[cfg(test)]
mod tests {
    use crate::api::every_error;
    use std::collections::HashSet;

    #[test]
    fn every_fault_is_a_json_error_with_its_own_text() {
        let mut texts = HashSet::new();
        for fault in every_error() {
            let json: serde_json::Value = serde_json::from_str(fault.body()).unwrap();
            assert_eq!(json, serde_json::json!({ "status": "error", "error": fault.text() }));
            assert!(fault.status().is_client_error() || fault.status().is_server_error());
            assert!(texts.insert(fault.text()), "{} is said twice", fault.text());
            assert!(!fault.when().is_empty());
        }
    }

    #[test]
    fn no_text_sounds_like_a_stale_key() {
        for fault in every_error() {
            for word in ["400", "502", "ohttp", "OHTTP"] {
                assert!(!fault.text().contains(word), "{}", fault.text());
            }
        }
    }
}
