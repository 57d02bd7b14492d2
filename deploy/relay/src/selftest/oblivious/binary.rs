//! Binary HTTP (RFC 9292) of known length, with zeros behind it.

use super::padded;
use crate::selftest::client::{Answer, COMPATIBLE, Trouble, expect, wrong};
use bhttp::{Message, Mode};
use serde_json::Value;
use std::io::Cursor;

/// Writes a request, with JSON if it has any.
pub(in crate::selftest) fn request(
    method: &str,
    authority: &str,
    path: &str,
    fields: Option<&Value>,
) -> Result<Vec<u8>, Trouble> {
    let mut message = Message::request(method.into(), "https".into(), authority.into(), path.into());
    let (name, value) = COMPATIBLE;
    message.put_header(name, value);
    if let Some(fields) = fields {
        message.put_header("content-type", "application/json");
        message.write_content(fields.to_string());
    }
    let mut bytes = Vec::new();
    message
        .write_bhttp(Mode::KnownLength, &mut bytes)
        .map_err(|error| wrong(format_args!("the request cannot be written: {error}")))?;
    bytes.resize(padded(bytes.len()), 0);
    Ok(bytes)
}

/// A response.
pub(in crate::selftest) struct Response {
    pub(in crate::selftest) status: u16,
    message: Message,
}

impl Response {
    /// A header's text.
    pub(in crate::selftest) fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.message.header().get(name.as_bytes())?).ok()
    }

    /// As an answer of the API.
    pub(in crate::selftest) fn answer(&self) -> Answer {
        let json = serde_json::from_slice(self.message.content()).unwrap_or_default();
        Answer { status: Some(self.status), json }
    }
}

/// Reads a response.
pub(in crate::selftest) fn response(bytes: &[u8]) -> Result<Response, Trouble> {
    let mut cursor = Cursor::new(bytes);
    let message = Message::read_bhttp(&mut cursor)
        .map_err(|error| wrong(format_args!("the answer is not Binary HTTP: {error}")))?;
    let read = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    let padding = bytes.get(read..).unwrap_or_default();
    expect(padding.iter().all(|byte| *byte == 0), "there is something in the padding of the answer")?;
    let status = message.control().status().ok_or_else(|| wrong("the answer is a request"))?.code();
    Ok(Response { status, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bhttp::StatusCode;
    use serde_json::json;

    #[test]
    fn a_request_is_known_length_and_padded_with_zeros() {
        let bytes = request("POST", "host:1", "/v2/send", Some(&json!({ "a": 1 }))).unwrap();
        assert_eq!((bytes.len(), bytes[0]), (4096, 0));
        assert_ne!(bytes[4], b'{', "that would be an envelope");
        let message = Message::read_bhttp(&mut Cursor::new(&bytes[..])).unwrap();
        assert_eq!(message.control().path(), Some(&b"/v2/send"[..]));
        assert_eq!(message.content(), br#"{"a":1}"#);
        assert_eq!(message.header().get(b"content-type"), Some(&b"application/json"[..]));
    }

    fn answered(status: u16) -> Vec<u8> {
        let mut message = Message::response(StatusCode::try_from(status).unwrap());
        message.put_header("x-min-version", "0");
        message.write_content(br#"{"status":"ok"}"#);
        let mut bytes = Vec::new();
        message.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
        bytes.resize(4096, 0);
        bytes
    }

    #[test]
    fn a_response_has_its_true_status_and_headers() {
        let response = response(&answered(404)).unwrap();
        assert_eq!((response.status, response.header("x-min-version")), (404, Some("0")));
        assert_eq!(response.answer().json, json!({ "status": "ok" }));
    }

    #[test]
    fn what_is_hidden_in_the_padding_is_found() {
        let mut bytes = answered(200);
        bytes[4000] = 1;
        assert!(response(&bytes).is_err());
        assert!(response(&[]).is_err());
        assert!(response(&request("GET", "", "/", None).unwrap()).is_err());
    }
}
