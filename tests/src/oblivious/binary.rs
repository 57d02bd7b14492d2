//! The second form of what is sealed: Binary HTTP (RFC 9292).

use crate::client::Via;
use crate::reply::Reply;
use bhttp::{Message, Mode};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use std::io::Cursor;

/// A request, to be changed before it is written.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Scheme.
    pub scheme: String,
    /// Authority; may be empty.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub content: Vec<u8>,
}

impl Request {
    /// A request without an authority.
    pub fn new(method: &str, path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            scheme: "https".to_owned(),
            authority: String::new(),
            path: path.to_owned(),
            headers: Vec::new(),
            content: content.into(),
        }
    }

    /// A POST of JSON.
    pub fn post(path: &str, json: &serde_json::Value) -> Self {
        Self::new("POST", path, json.to_string()).with_header("content-type", "application/json")
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the relay that is meant.
    #[must_use]
    pub fn at(mut self, authority: impl ToString) -> Self {
        self.authority = authority.to_string();
        self
    }

    /// The bytes, without padding.
    ///
    /// # Panics
    /// When the library cannot write them.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(Mode::KnownLength)
    }

    /// The bytes in either of the format's framings.
    ///
    /// # Panics
    /// When the library cannot write them.
    pub fn encode_as(&self, mode: Mode) -> Vec<u8> {
        let bytes = |text: &String| text.clone().into_bytes();
        let mut message = Message::request(
            bytes(&self.method),
            bytes(&self.scheme),
            bytes(&self.authority),
            bytes(&self.path),
        );
        for (name, value) in &self.headers {
            message.put_header(name.as_str(), value.as_str());
        }
        message.write_content(&self.content);
        let mut plaintext = Vec::new();
        message.write_bhttp(mode, &mut plaintext).expect("a vector takes everything");
        plaintext
    }
}

/// Reads an answer, which is padded with zeros.
///
/// # Panics
/// When it is no Binary HTTP, or padded with something else.
#[track_caller]
pub fn reply(plaintext: &[u8]) -> Reply {
    let mut bytes = Cursor::new(plaintext);
    let message = Message::read_bhttp(&mut bytes).expect("an answer in Binary HTTP");
    let read = usize::try_from(bytes.position()).expect("a short answer");
    assert!(plaintext[read..].iter().all(|byte| *byte == 0), "padding is zeros");
    let mut headers = HeaderMap::new();
    for field in message.header().iter() {
        let name = HeaderName::from_bytes(field.name()).expect("a header has a name");
        headers.append(name, HeaderValue::from_bytes(field.value()).expect("a header has a value"));
    }
    Reply {
        status: message.control().status().expect("an answer has a status").code(),
        headers,
        body: Bytes::copy_from_slice(message.content()),
        via: Via::Bhttp,
        plaintext: Some(plaintext.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_up_to_its_padding() {
        // RFC 9292 §3: framing 1 is a known-length response; then status, headers, content, trailers.
        let mut plaintext = vec![1, 0x41, 0xad, 4, 1, b'a', 1, b'7', 2, b'{', b'}', 0];
        plaintext.resize(4096, 0);
        let reply = reply(&plaintext);
        assert_eq!((reply.status, reply.header("a"), &reply.body[..]), (429, Some("7"), b"{}".as_slice()));
    }

    #[test]
    #[should_panic(expected = "padding is zeros")]
    fn an_answer_with_other_padding_is_none() {
        reply(&[1, 0x40, 0xc8, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn a_request_has_these_very_bytes() {
        let request = Request::new("GET", "/v2/health", "").at("r");
        let expected =
            [&[0, 3], b"GET".as_slice(), &[5], b"https", &[1], b"r", &[10], b"/v2/health", &[0, 0, 0]];
        assert_eq!(request.encode(), expected.concat());
    }
}
