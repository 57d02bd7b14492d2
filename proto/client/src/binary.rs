//! The second form of a sealed request: Binary HTTP (RFC 9292), with zeros behind it.

use crate::error::Error;
use crate::oblivious::padded_request;
use crate::response::Response;
use bhttp::Message;
pub use bhttp::Mode;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use std::io::Cursor;

/// A request, to be changed before it is written.
#[derive(Clone)]
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
    pub fn post(path: &str, json: &Value) -> Self {
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

    /// The bytes in either of the format's framings, without padding.
    ///
    /// # Errors
    /// When a part of it is longer than the format takes.
    pub fn write(&self, mode: Mode) -> Result<Vec<u8>, Error> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let [method, scheme] = [bytes(&self.method), bytes(&self.scheme)];
        let mut message = Message::request(method, scheme, bytes(&self.authority), bytes(&self.path));
        for (name, value) in &self.headers {
            message.put_header(name.as_str(), value.as_str());
        }
        message.write_content(&self.content);
        let mut plaintext = Vec::new();
        message.write_bhttp(mode, &mut plaintext)?;
        Ok(plaintext)
    }

    /// The bytes as clients seal them: of known length, with zeros up to a padded size.
    ///
    /// # Errors
    /// As [`Request::write`].
    pub fn encode_padded(&self) -> Result<Vec<u8>, Error> {
        let mut plaintext = self.write(Mode::KnownLength)?;
        plaintext.resize(padded_request(plaintext.len()), 0);
        Ok(plaintext)
    }
}

/// Reads an answer, which is padded with zeros.
///
/// # Errors
/// When it is no answer in Binary HTTP, or padded with something else.
pub fn response(plaintext: &[u8]) -> Result<Response, Error> {
    let mut bytes = Cursor::new(plaintext);
    let message = Message::read_bhttp(&mut bytes)?;
    let read = usize::try_from(bytes.position()).unwrap_or(usize::MAX);
    if plaintext.get(read..).unwrap_or_default().iter().any(|byte| *byte != 0) {
        return Err(Error::Padding);
    }
    let mut headers = HeaderMap::new();
    for field in message.header().iter() {
        let name = HeaderName::from_bytes(field.name()).map_err(|error| Error::Request(error.into()))?;
        let value = HeaderValue::from_bytes(field.value()).map_err(|error| Error::Request(error.into()))?;
        headers.append(name, value);
    }
    let status = message.control().status().ok_or(Error::NotAResponse)?.code();
    Ok(Response { status, headers, body: Bytes::copy_from_slice(message.content()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 9292 §3: framing 1 is a known-length response; then status, headers, content, trailers.
    fn answered() -> Vec<u8> {
        let mut plaintext = vec![1, 0x41, 0xad, 4, 1, b'a', 1, b'7', 2, b'{', b'}', 0];
        plaintext.resize(4096, 0);
        plaintext
    }

    #[test]
    fn an_answer_is_read_up_to_its_padding() {
        let answer = response(&answered()).unwrap();
        assert_eq!((answer.status, answer.header("a"), &answer.body[..]), (429, Some("7"), b"{}".as_slice()));
    }

    #[test]
    fn what_is_hidden_in_the_padding_is_found() {
        let mut bytes = answered();
        bytes[4000] = 1;
        assert!(matches!(response(&bytes), Err(Error::Padding)));
        assert!(response(&[]).is_err());
        let request = Request::new("GET", "/", "").encode_padded().unwrap();
        assert!(matches!(response(&request), Err(Error::NotAResponse)));
    }

    #[test]
    fn a_request_has_these_very_bytes() {
        let request = Request::new("GET", "/v2/health", "").at("r");
        let expected =
            [&[0, 3], b"GET".as_slice(), &[5], b"https", &[1], b"r", &[10], b"/v2/health", &[0, 0, 0]];
        assert_eq!(request.write(Mode::KnownLength).unwrap(), expected.concat());
    }

    #[test]
    fn a_request_is_known_length_and_padded_with_zeros() {
        let request = Request::post("/v2/send", &json!({ "a": 1 })).at("host:1");
        let bytes = request.encode_padded().unwrap();
        assert_eq!((bytes.len(), bytes[0]), (4096, 0));
        assert_ne!(bytes[4], b'{', "that would be an envelope");
        let message = Message::read_bhttp(&mut Cursor::new(&bytes[..])).unwrap();
        assert_eq!(message.control().path(), Some(&b"/v2/send"[..]));
        assert_eq!(message.content(), br#"{"a":1}"#);
        assert_eq!(message.header().get(b"content-type"), Some(&b"application/json"[..]));
    }
}
