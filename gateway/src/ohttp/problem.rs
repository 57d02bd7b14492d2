//! What is told outside about a message that cannot be opened (RFC 9457, RFC 9458 §5.3). Clients fetch the key again
//! whenever they read a 400.

use crate::bodies::reply::Reply;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// Why a message cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It names a key or suite that is not offered, or was sealed to another key than the one it names.
    Key,
    /// It is no sealed message at all.
    Malformed,
}

impl Problem {
    /// The document.
    const fn document(self) -> &'static str {
        match self {
            Self::Key => {
                r#"{"type":"https://iana.org/assignments/http-problem-types#ohttp-key","title":"key configuration not accepted","status":400}"#
            }
            Self::Malformed => r#"{"type":"about:blank","title":"Bad Request","status":400}"#,
        }
    }

    /// The reply.
    pub(crate) fn reply(self) -> Reply {
        let mut reply = Response::new(Full::new(Bytes::from_static(self.document().as_bytes())));
        *reply.status_mut() = StatusCode::BAD_REQUEST;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_json_documents_with_their_status() {
        for problem in [Problem::Key, Problem::Malformed] {
            let document: serde_json::Value = serde_json::from_str(problem.document()).unwrap();
            assert_eq!(document["status"], 400);
            assert_eq!(problem.reply().headers()["content-type"], "application/problem+json");
        }
    }
}
