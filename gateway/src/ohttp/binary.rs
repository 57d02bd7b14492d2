//! The second inner form: Binary HTTP (RFC 9292), known-length or indeterminate-length, any endpoint of the API by
//! its path, answered with its true status.

use super::padding;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::layers::strict;
use axum::body::Body;
use bhttp::{Message, Mode, StatusCode};
use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Request, Uri};
use std::io::Cursor;

/// Headers that go along to an endpoint. What else a client sends stays here.
const LET_IN: [HeaderName; 2] = [CONTENT_TYPE, HeaderName::from_static("x-app-compat-version")];

/// What the paths of the API begin with; everything else is not for those who come this way.
const API: &str = "/v2/";

/// Longest path that is looked at.
const LONGEST_PATH: usize = 1024;

/// Makes the request that a Binary HTTP message is. `is_ours` tells this relay's authorities from foreign ones, under the
/// message's scheme.
pub(crate) fn read(
    plaintext: &[u8],
    is_ours: impl Fn(&str, &str) -> bool,
) -> Result<Request<Body>, ApiError> {
    let mut bytes = Cursor::new(plaintext);
    let message = Message::read_bhttp(&mut bytes).map_err(|_| ErrorCode::Binary)?;
    let read = usize::try_from(bytes.position()).unwrap_or(usize::MAX);
    // RFC 9292 §3.8: padding is zeros, or the message is not what it says it is.
    if plaintext.get(read..).is_none_or(|padding| padding.iter().any(|byte| *byte != 0)) {
        return Err(ErrorCode::Binary.into());
    }
    let control = message.control();
    let method = control.method().ok_or(ErrorCode::Binary)?;
    let method = Method::from_bytes(method).map_err(|_| ErrorCode::Binary)?;
    let scheme = text(control.scheme().unwrap_or_default())?;
    for authority in authorities(&message) {
        let authority = text(authority)?;
        if !authority.is_empty() && !is_ours(authority, scheme) {
            return Err(ErrorCode::ForeignAuthority.into());
        }
    }
    let path = text(control.path().unwrap_or_default())?;
    if method == Method::CONNECT || path.len() > LONGEST_PATH || !path.starts_with(API) {
        return Err(ErrorCode::NotFound.into());
    }
    check(&message)?;
    let fields = message.header();
    if fields.get(EXPECT.as_str().as_bytes()).is_some() {
        return Err(ErrorCode::Expectation.into());
    }
    let mut request = Request::new(Body::empty());
    for name in LET_IN {
        if let Some(value) = fields.get(name.as_str().as_bytes()) {
            let value = HeaderValue::from_bytes(value).map_err(|_| ErrorCode::Binary)?;
            request.headers_mut().insert(name, value);
        }
    }
    *request.method_mut() = method;
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| ErrorCode::NotFound)?;
    *request.body_mut() = Body::from(Bytes::copy_from_slice(message.content()));
    Ok(request)
}

/// Whom a message is for, by its control data and by its headers.
fn authorities(message: &Message) -> impl Iterator<Item = &[u8]> {
    message.control().authority().into_iter().chain(message.header().get_all(HOST.as_str().as_bytes()))
}

/// Refuses what HTTP/2 would refuse, and content that is not what its headers say (RFC 9292 §3.6).
fn check(message: &Message) -> Result<(), ApiError> {
    let fields = || message.header().iter().chain(message.trailer().iter());
    let all = |name: HeaderName| fields().filter(move |field| field.name() == name.as_str().as_bytes());
    if !fields().all(|field| strict::is_field(field.name(), field.value())) || all(HOST).count() > 1 {
        return Err(ErrorCode::Binary.into());
    }
    let length = message.content().len().to_string();
    if all(CONTENT_LENGTH).any(|field| field.value() != length.as_bytes()) {
        return Err(ErrorCode::Binary.into());
    }
    if all(CONTENT_ENCODING).any(|field| !field.value().eq_ignore_ascii_case(b"identity")) {
        return Err(ErrorCode::ContentEncoding.into());
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(bytes).map_err(|_| ErrorCode::Binary.into())
}

/// Writes a reply and pads it with zeros up to its rung, if there is one.
pub(super) fn write(head: &Parts, body: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::response(status(head.status.as_u16()));
    for (name, value) in &head.headers {
        message.put_header(name.as_str(), value.as_bytes());
    }
    message.write_content(body);
    let capacity = padding::rung(body.len() + 512).or_else(|| padding::rung(body.len()))?;
    let mut plaintext = Vec::with_capacity(capacity);
    if message.write_bhttp(Mode::KnownLength, &mut plaintext).is_err() {
        // A vector takes every write; should the library think otherwise, the client learns that much.
        plaintext = vec![1, 0x41, 0xf4, 0, 0, 0];
    }
    plaintext.resize(padding::rung(plaintext.len())?, 0);
    Some(plaintext)
}

fn status(code: u16) -> StatusCode {
    StatusCode::try_from(code).unwrap_or(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    fn request(
        method: &str,
        authority: &str,
        path: &str,
        fields: &[(&str, &str)],
        content: &[u8],
    ) -> Vec<u8> {
        let mut message = Message::request(method.into(), "https".into(), authority.into(), path.into());
        for (name, value) in fields {
            message.put_header(*name, *value);
        }
        message.write_content(content);
        let mut bytes = Vec::new();
        message.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
        bytes
    }

    fn ours(authority: &str, _: &str) -> bool {
        authority == "relay.example"
    }

    fn fault(bytes: &[u8]) -> ErrorCode {
        read(bytes, ours).unwrap_err().fault
    }

    #[tokio::test]
    async fn a_request_keeps_what_an_endpoint_needs_and_nothing_else() {
        let fields =
            [("content-type", "application/json"), ("x-app-compat-version", "7"), ("cookie", "secret")];
        let mut bytes = request("POST", "relay.example", "/v2/send", &fields, b"{}");
        bytes.extend_from_slice(&[0; 100]);
        let request = read(&bytes, ours).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/v2/send"));
        assert_eq!(request.headers().len(), 2);
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), b"{}".as_slice());
    }

    #[test]
    fn what_may_not_come_this_way_is_refused() {
        assert_eq!(
            fault(&request("POST", "elsewhere.example", "/v2/send", &[], b"")),
            ErrorCode::ForeignAuthority
        );
        assert_eq!(fault(&request("CONNECT", "relay.example", "/v2/send", &[], b"")), ErrorCode::NotFound);
        for path in ["", "/", "/metrics", "/federation", "/health", "*", "v2/send", "//v2/send"] {
            assert_eq!(fault(&request("GET", "", path, &[], b"")), ErrorCode::NotFound, "{path}");
        }
        let expecting = request("POST", "", "/v2/send", &[("expect", "100-continue")], b"");
        assert_eq!(fault(&expecting), ErrorCode::Expectation);
        let mut padded = request("POST", "", "/v2/send", &[], b"");
        padded.extend_from_slice(&[0, 0, 1, 0]);
        assert_eq!(fault(&padded), ErrorCode::Binary, "padding that is not zeros");
        assert_eq!(fault(&[]), ErrorCode::Binary);
        assert_eq!(fault(&[1, 0x40, 0xc8, 0, 0, 0]), ErrorCode::Binary, "an answer is no request");
        assert_eq!(fault(&request("PO ST", "", "/v2/send", &[], b"")), ErrorCode::Binary);
    }

    #[test]
    fn what_http_2_forbids_and_a_wrong_length_are_errors() {
        for (name, value) in [
            ("Content-Type", "application/json"),
            (":path", "/v2/health"),
            ("a b", "x"),
            ("x", "a\r\nb"),
            ("x", "a\0"),
            ("x", " a"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("content-length", "3"),
            ("content-length", "02"),
        ] {
            assert_eq!(
                fault(&request("POST", "", "/v2/send", &[(name, value)], b"{}")),
                ErrorCode::Binary,
                "{name}"
            );
        }
        let fields = [("host", "relay.example"), ("host", "relay.example")];
        assert_eq!(fault(&request("POST", "", "/v2/send", &fields, b"{}")), ErrorCode::Binary);
        let mut trailing = Message::request("POST".into(), "https".into(), "".into(), "/v2/send".into());
        trailing.put_trailer("Digest", "x");
        let mut bytes = Vec::new();
        trailing.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
        assert_eq!(fault(&bytes), ErrorCode::Binary);
        let encoded = request("POST", "", "/v2/send", &[("content-encoding", "gzip")], b"{}");
        assert_eq!(fault(&encoded), ErrorCode::ContentEncoding);
        let fine = [("content-length", "2"), ("host", "relay.example"), ("te", "trailers")];
        assert!(read(&request("POST", "", "/v2/send", &fine, b"{}"), ours).is_ok());
        let elsewhere = request("POST", "relay.example", "/v2/send", &[("host", "elsewhere.example")], b"");
        assert_eq!(fault(&elsewhere), ErrorCode::ForeignAuthority);
    }

    #[test]
    fn an_answer_has_its_true_status_and_fills_its_rung() {
        let mut reply = hyper::Response::new(());
        *reply.status_mut() = hyper::StatusCode::TOO_MANY_REQUESTS;
        reply.headers_mut().insert("retry-after", HeaderValue::from_static("9"));
        let head = reply.into_parts().0;
        assert_eq!(write(&head, &[b'x'; 98_304]), None, "it has no rung");
        let bytes = write(&head, b"{}").unwrap();
        assert_eq!(bytes.len(), 4096);
        let message = Message::read_bhttp(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(message.control().status().unwrap().code(), 429);
        assert_eq!(message.header().get(b"retry-after"), Some(b"9".as_slice()));
        assert_eq!(message.content(), b"{}");
    }

    #[test]
    fn the_request_of_the_rfcs_example_is_read() {
        // RFC 9458, Appendix A: GET https://example.com/, cut short behind its headers, as RFC 9292 §3.8 allows.
        let example = hex::decode("00034745540568747470730b6578616d706c652e636f6d012f").unwrap();
        let is_ours = |authority: &str, _: &str| authority == "example.com";
        assert_eq!(read(&example, is_ours).unwrap_err().fault, ErrorCode::NotFound, "it is not for the API");
        assert_eq!(read(&example, ours).unwrap_err().fault, ErrorCode::ForeignAuthority);
        let longer = String::from_utf8(example).unwrap().replace("\u{1}/", "\u{a}/v2/health");
        let request = read(longer.as_bytes(), is_ours).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/v2/health"));
        // And the reply that the example gives: a status, and nothing else.
        let bytes = write(&hyper::Response::new(()).into_parts().0, b"").unwrap();
        assert_eq!(bytes[..3], hex::decode("0140c8").unwrap());
        assert!(bytes[3..].iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(request) = read(&bytes, ours) {
                prop_assert!(request.uri().path().starts_with(API));
            }
        }

        #[test]
        fn a_changed_byte_never_panics(position in 0_usize..60, byte: u8) {
            let mut bytes = request("POST", "", "/v2/exchange/offer", &[("content-type", "application/json")], b"{}");
            let position = position.min(bytes.len() - 1);
            bytes[position] = byte;
            if let Ok(request) = read(&bytes, ours) {
                prop_assert!(request.uri().path().starts_with(API));
            }
        }
    }
}
