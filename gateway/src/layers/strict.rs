//! What a request may not be, although the library that reads it lets it pass: another program in front could read it as
//! another request than this one does.

use crate::bodies::error::ErrorCode;
use axum::http::uri::Authority;
use hyper::header::{CONTENT_ENCODING, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};

/// What is wrong with a request that came in by the main port, for whoever replies to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Malformed(pub(crate) ErrorCode);

/// Looks at a request and notes in its extensions what is wrong with it. One that names its host as HTTP/2 does names it
/// in `Host` afterwards.
pub(crate) fn inspect(head: &mut Parts) {
    match check(head) {
        Ok(Some(host)) => {
            head.headers.insert(HOST, host);
        }
        Ok(None) => {}
        Err(fault) => {
            head.extensions.insert(Malformed(fault));
        }
    }
}

fn check(head: &Parts) -> Result<Option<HeaderValue>, ErrorCode> {
    let host = check_host(head)?;
    let codings = &mut head.headers.get_all(TRANSFER_ENCODING).iter();
    // RFC 9112 §6.1: others than the last one would have to be undone.
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !is(coding, "chunked"))
    {
        return Err(ErrorCode::TransferCoding);
    }
    check_content(&head.headers)?;
    Ok(host)
}

/// Whether the content is what it seems to be.
pub(crate) fn check_content(headers: &HeaderMap) -> Result<(), ErrorCode> {
    let is_encoded = headers.get_all(CONTENT_ENCODING).iter().any(|coding| !is(coding, "identity"));
    if is_encoded { Err(ErrorCode::ContentEncoding) } else { Ok(()) }
}

/// RFC 9112 §3.2, RFC 9113 §8.3.1. Returns the host where only HTTP/2 names it.
fn check_host(head: &Parts) -> Result<Option<HeaderValue>, ErrorCode> {
    let hosts = &mut head.headers.get_all(HOST).iter();
    let (first, is_one) = (hosts.next(), hosts.next().is_none());
    let named = head.uri.authority();
    match (first, named) {
        (None, Some(named)) if head.version == Version::HTTP_2 => {
            HeaderValue::from_str(named.as_str()).map(Some).map_err(|_| ErrorCode::Host)
        }
        (None, _) if head.version == Version::HTTP_11 => Err(ErrorCode::Host),
        (None, _) => Ok(None),
        (Some(host), _) if !is_one || !is_authority(host) => Err(ErrorCode::Host),
        (Some(host), Some(named)) if head.version == Version::HTTP_2 && !is(host, named.as_str()) => {
            Err(ErrorCode::Host)
        }
        (Some(_), _) => Ok(None),
    }
}

/// Whether a value is a host, with or without a port; nothing at all is one too.
fn is_authority(host: &HeaderValue) -> bool {
    host.is_empty() || (!host.as_bytes().contains(&b'@') && Authority::try_from(host.as_bytes()).is_ok())
}

fn is(value: &HeaderValue, expected: &str) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(expected.as_bytes())
}

/// Headers that belong to a connection, which HTTP/2 and Binary HTTP do not have (RFC 9113 §8.2.2, RFC 9292 §3.6).
const OF_A_CONNECTION: [&str; 5] =
    ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];

/// Whether HTTP/2 lets a field pass (RFC 9113 §8.2).
pub(crate) fn is_field(name: &[u8], value: &[u8]) -> bool {
    let is_lower = !name.iter().any(u8::is_ascii_uppercase);
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    is_lower
        && HeaderName::from_bytes(name).is_ok()
        && !OF_A_CONNECTION.iter().any(|forbidden| forbidden.as_bytes() == name)
        && (name != b"te" || value == b"trailers")
        && HeaderValue::from_bytes(value).is_ok()
        && !is_edge(value.first())
        && !is_edge(value.last())
}

/// Whether two authorities name the same host and port, where a scheme says what no port is.
pub(crate) fn is_same_authority(one: &str, other: &str, scheme: &str) -> bool {
    let port = if scheme.eq_ignore_ascii_case("http") { "80" } else { "443" };
    let split = |authority: &'_ str| -> (String, String) {
        // The colons in brackets are an address's own.
        let end = authority.rfind(']').map_or(0, |end| end + 1);
        match authority[end..].rfind(':').map(|colon| authority.split_at(end + colon)) {
            Some((host, given)) if given.len() > 1 => (host.to_ascii_lowercase(), given[1..].to_owned()),
            Some((host, _)) => (host.to_ascii_lowercase(), port.to_owned()),
            None => (authority.to_ascii_lowercase(), port.to_owned()),
        }
    };
    split(one) == split(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn fault(version: Version, uri: &str, headers: &[(&str, &str)]) -> Option<ErrorCode> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        inspect(&mut head);
        head.extensions.get::<Malformed>().map(|malformed| malformed.0)
    }

    #[test]
    fn a_request_names_one_host() {
        let of_one = |uri, headers: &[_]| fault(Version::HTTP_11, uri, headers);
        for host in ["relay", "relay:80", "[2001:db8::1]:80", ""] {
            assert_eq!(of_one("/", &[("host", host)]), None, "{host:?}");
        }
        for headers in [
            &[][..],
            &[("host", "relay"), ("host", "relay")],
            &[("host", "a b")],
            &[("host", "user@relay")],
            &[("host", "relay/")],
        ] {
            assert_eq!(of_one("/", headers), Some(ErrorCode::Host), "{headers:?}");
        }
        assert_eq!(of_one("http://relay/", &[]), Some(ErrorCode::Host), "its own target does not spare it");
        assert_eq!(fault(Version::HTTP_10, "/", &[]), None);
        let of_two = |headers: &[_]| fault(Version::HTTP_2, "https://relay/", headers);
        assert_eq!(of_two(&[]), None);
        assert_eq!(of_two(&[("host", "Relay")]), None);
        assert_eq!(of_two(&[("host", "other")]), Some(ErrorCode::Host));
    }

    #[test]
    fn only_chunks_and_plain_content_are_taken() {
        let of = |name, values: &[&str]| {
            let headers: Vec<_> =
                [("host", "relay")].into_iter().chain(values.iter().map(|value| (name, *value))).collect();
            fault(Version::HTTP_11, "/", &headers)
        };
        for plain in [&["chunked"][..], &["Chunked"]] {
            assert_eq!(of("transfer-encoding", plain), None);
        }
        for coded in
            [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &["identity"], &[""]]
        {
            assert_eq!(of("transfer-encoding", coded), Some(ErrorCode::TransferCoding), "{coded:?}");
        }
        assert_eq!(of("content-encoding", &["identity"]), None);
        for coded in [&["gzip"][..], &["br"], &["identity, gzip"], &["identity", "gzip"], &[""]] {
            assert_eq!(of("content-encoding", coded), Some(ErrorCode::ContentEncoding), "{coded:?}");
        }
    }

    #[test]
    fn what_http_2_forbids_is_no_field() {
        for (name, value) in [("accept", "*/*"), ("te", "trailers"), ("x-y", ""), ("cookie", "a=1; b=2")] {
            assert!(is_field(name.as_bytes(), value.as_bytes()), "{name}");
        }
        for (name, value) in [
            ("Accept", "x"),
            (":path", "/"),
            ("", "x"),
            ("a b", "x"),
            ("a\0", "x"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("x", "a\r\nb"),
            ("x", "a\0b"),
            ("x", " a"),
            ("x", "a\t"),
        ] {
            assert!(!is_field(name.as_bytes(), value.as_bytes()), "{name}: {value:?}");
        }
    }

    #[test]
    fn a_default_port_is_as_good_as_none() {
        for (one, other, scheme) in [
            ("relay", "Relay:443", "https"),
            ("relay:80", "relay", "HTTP"),
            ("[2001:db8::1]", "[2001:db8::1]:443", "https"),
            ("relay:8443", "relay:8443", "https"),
            ("relay:", "relay", "https"),
        ] {
            assert!(is_same_authority(one, other, scheme), "{one} {other}");
            assert!(is_same_authority(other, one, scheme), "{other} {one}");
        }
        for (one, other, scheme) in [
            ("relay", "relay:80", "https"),
            ("relay", "relay:443", "http"),
            ("relay", "elsewhere", "https"),
            ("[2001:db8::1]", "[2001:db8::2]", "https"),
        ] {
            assert!(!is_same_authority(one, other, scheme), "{one} {other}");
        }
    }
}
