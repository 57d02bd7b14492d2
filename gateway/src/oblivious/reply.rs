//! What clients are answered: of a target's answer what may pass, or why there is none.

use crate::bodies::error::ErrorCode;
use crate::limits::memory::{Exhausted, MemoryPermit};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use std::time::Duration;

pub(super) type Reply = Response<Full<Bytes>>;

/// Content types that may pass. What else a target says, its front's page of an error for one, stays behind.
const PASSING: [&str; 6] = [
    "message/ohttp-res",
    "application/ohttp-keys",
    "application/vnd.vauchi.ohttp-key-signed",
    "application/vnd.vauchi.ohttp-anchor-rollover",
    "application/problem+json",
    "application/json",
];

/// Longest pause that a target may ask for, in seconds: what is longer is no pause.
const LONGEST_PAUSE: u64 = 86_400;

/// Why a request has no answer of a target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForwardError {
    /// It means nothing that is served.
    NotFound,
    /// It asks by another method than these.
    Method(&'static str),
    /// It is for a proxy.
    NoProxy,
    /// Another program in front could read it as another request.
    Malformed(ErrorCode),
    /// It is not a sealed request.
    ContentType,
    /// It is longer than a sealed request may be.
    TooLarge,
    /// Its body ended early.
    Broken,
    /// Its body came too slowly.
    Slow,
    /// Its client asks too often, or for more than its share.
    RateLimit(Duration),
    /// Its client has too much in progress.
    InProgress,
    /// All clients have too much in progress.
    Crowded,
    /// The target cannot be reached, or went away.
    Unreachable,
    /// The target did not answer in time.
    Silent,
    /// The target's answer is not one that may pass.
    Unusable,
}

impl ForwardError {
    const fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoProxy => StatusCode::MISDIRECTED_REQUEST,
            Self::Malformed(error) => error.status(),
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimit(_) | Self::InProgress => StatusCode::TOO_MANY_REQUESTS,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::Unusable => StatusCode::BAD_GATEWAY,
            Self::Silent => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The text for clients, which look for the words `rate limit`.
    const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Method(_) => "method not allowed",
            Self::NoProxy => "this is not a proxy",
            Self::Malformed(error) => error.text(),
            Self::ContentType => "content type must be that of a sealed request",
            Self::TooLarge => "request body too large",
            Self::Broken => "request body ended early",
            Self::Slow => "request body came too slowly",
            Self::RateLimit(_) => "rate limit exceeded",
            Self::InProgress => "rate limit exceeded: too many requests in progress",
            Self::Crowded => "too many requests in progress",
            Self::Unreachable => "the relay cannot be reached",
            Self::Silent => "the relay did not answer in time",
            Self::Unusable => "the relay's answer cannot be passed on",
        }
    }

    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::RateLimit(wait) => Some(wait),
            Self::InProgress | Self::Crowded => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The answer.
    pub(super) fn reply(self) -> Reply {
        let body = format!("{{\"status\":\"error\",\"error\":\"{}\"}}", self.text());
        let mut reply = json(self.status(), body.into());
        if let Some(wait) = self.retry_after() {
            reply.headers_mut().insert(RETRY_AFTER, seconds(wait));
        }
        if let Self::Method(allowed) = self {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        reply
    }
}

impl From<Exhausted> for ForwardError {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Account => Self::InProgress,
            Exhausted::Whole => Self::Crowded,
        }
    }
}

/// Says that the outer relay lives, and nothing else.
pub(super) fn health() -> Reply {
    json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#))
}

/// What passes of an answer's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PassedHead {
    pub(super) status: StatusCode,
    /// `None` where the body stays behind.
    kind: Option<&'static str>,
    pub(super) retry_after: Option<Duration>,
}

impl PassedHead {
    /// Takes what may pass. Redirections do not, and neither does a success of a kind that no resource has.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Result<Self, ForwardError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            PASSING.into_iter().find(|known| known.eq_ignore_ascii_case(essence))
        });
        let is_error = status.is_client_error() || status.is_server_error();
        if !is_error && (status != StatusCode::OK || kind.is_none()) {
            return Err(ForwardError::Unusable);
        }
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = retry_after.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
        Ok(Self { status, kind, retry_after })
    }

    /// The answer, with how long it may be kept; `None` is not at all.
    pub(super) fn reply(self, body: Bytes, max_age: Option<Duration>) -> Reply {
        let body = if self.kind.is_some() { body } else { Bytes::new() };
        let cache = match max_age {
            Some(left) => HeaderValue::from_str(&format!("public, max-age={}", left.as_secs())).ok(),
            None => None,
        };
        let mut reply = Response::new(Full::new(body));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, cache.unwrap_or(HeaderValue::from_static("no-store")));
        if let Some(kind) = self.kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds(wait));
        }
        reply
    }

    /// The same, of a body that holds memory until it is written.
    pub(super) fn holding(self, body: Vec<u8>, mut memory: MemoryPermit) -> Reply {
        memory.shrink(body.len());
        self.reply(memory.hold(body), None)
    }
}

fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Whole seconds, never fewer than were meant.
fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[tokio::test]
    async fn of_a_targets_answer_passes_what_clients_need_and_nothing_else() {
        let given = headers(&[
            ("content-type", "Message/OHTTP-Res; charset=x"),
            ("retry-after", "7"),
            ("set-cookie", "a=1"),
            ("server", "nginx"),
            ("etag", "x"),
            ("cache-control", "public"),
        ]);
        let reply =
            PassedHead::of(StatusCode::OK, &given).unwrap().reply(Bytes::from_static(b"sealed"), None);
        let expected = headers(&[
            ("content-type", "message/ohttp-res"),
            ("retry-after", "7"),
            ("cache-control", "no-store"),
        ]);
        assert_eq!(reply.headers(), &expected);
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "sealed");
    }

    #[tokio::test]
    async fn an_error_passes_with_its_status_and_its_page_stays_behind() {
        let page =
            headers(&[("content-type", "text/html"), ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]);
        let reply =
            PassedHead::of(StatusCode::SERVICE_UNAVAILABLE, &page).unwrap().reply("<html>".into(), None);
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.headers(), &headers(&[("cache-control", "no-store")]));
        assert!(reply.into_body().collect().await.unwrap().to_bytes().is_empty());
        let endless = headers(&[("retry-after", "18446744073709551615")]);
        let reply = PassedHead::of(StatusCode::TOO_MANY_REQUESTS, &endless).unwrap().reply("".into(), None);
        assert_eq!(reply.headers()[RETRY_AFTER], "86400");
        let problem = headers(&[("content-type", "application/problem+json")]);
        let reply = PassedHead::of(StatusCode::BAD_REQUEST, &problem).unwrap().reply("{}".into(), None);
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-type"]),
            (400, &problem["content-type"])
        );
    }

    #[test]
    fn what_is_no_answer_of_a_resource_does_not_pass() {
        let sealed = headers(&[("content-type", "message/ohttp-res"), ("location", "https://evil.example")]);
        for status in [101, 201, 204, 206, 301, 302, 304, 307, 308] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(PassedHead::of(status, &sealed), Err(ForwardError::Unusable), "{status}");
        }
        for kind in ["text/html", "", "message/ohttp-req"] {
            let other = headers(&[("content-type", kind)]);
            assert_eq!(PassedHead::of(StatusCode::OK, &other), Err(ForwardError::Unusable), "{kind}");
        }
    }

    #[tokio::test]
    async fn refusals_say_what_clients_look_for_and_no_word_of_a_stale_key() {
        for error in [
            ForwardError::NotFound,
            ForwardError::Method("GET"),
            ForwardError::NoProxy,
            ForwardError::Malformed(ErrorCode::Host),
            ForwardError::Malformed(ErrorCode::TransferCoding),
            ForwardError::Malformed(ErrorCode::ContentEncoding),
            ForwardError::ContentType,
            ForwardError::TooLarge,
            ForwardError::Broken,
            ForwardError::Slow,
            ForwardError::RateLimit(Duration::from_millis(1001)),
            ForwardError::InProgress,
            ForwardError::Crowded,
            ForwardError::Unreachable,
            ForwardError::Silent,
            ForwardError::Unusable,
        ] {
            let reply = error.reply();
            let is_limit = reply.status() == StatusCode::TOO_MANY_REQUESTS;
            assert_eq!(error.text().contains("rate limit"), is_limit);
            assert!(!is_limit || reply.headers().contains_key(RETRY_AFTER));
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["status"], "error");
            for word in ["400", "502", "ohttp"] {
                assert!(!error.text().contains(word), "{error:?}");
            }
        }
        let wait = ForwardError::RateLimit(Duration::from_millis(1001)).reply();
        assert_eq!(wait.headers()[RETRY_AFTER], "2");
        assert_eq!(ForwardError::Method("GET, POST").reply().headers()[ALLOW], "GET, POST");
    }
}
