//! An answer.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;
use std::fmt;

/// An answer of the relay, in the open or from inside a seal.
#[derive(Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// A header's value as text; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns true if the content type is the given one, with or without parameters.
    pub fn is_of_type(&self, content_type: &str) -> bool {
        let given = self.header("content-type").and_then(|value| value.split(';').next());
        given.is_some_and(|given| given.trim().eq_ignore_ascii_case(content_type))
    }

    /// The body as JSON; null where it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_may_have_parameters() {
        let headers = [("content-type", "Application/Problem+JSON; charset=utf-8")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let response = Response { status: 400, headers: headers.into_iter().collect(), body: Bytes::new() };
        assert!(response.is_of_type("application/problem+json"));
        assert!(!response.is_of_type("application/json"));
    }
}
