//! What fuzzers feed: every place where bytes from strangers become something else. Each body takes any bytes and
//! panics where a promise is broken. The fuzzer in `tests/fuzz` runs them for hours, the tests here for a moment and
//! over everything that was ever found.

use crate::bodies::fields::{self, Described, Field, List, Spelled, Value};
use crate::bodies::values;
use crate::limits::address;
use crate::ohttp::{Form, binary, envelope};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use relay_proto::anchor::{encode_rollovers, parse_rollovers};
use relay_proto::key_record::KeyRecord;
use relay_proto::{BlobId, Ciphertext, EscrowBlob, ExchangeCode, GuardianEntry, MailboxToken};
use serde::Deserialize;
use serde::de::MapAccess;
use std::net::{IpAddr, Ipv4Addr};

/// A body by the name of its target.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("envelope", envelope),
    ("binary_http", binary_http),
    ("json_body", json_body),
    ("key_record", key_record),
    ("client_address", client_address),
    ("encodings", encodings),
];

/// The framing of an envelope and the action in it: what comes out is a request to the API.
pub fn envelope(data: &[u8]) {
    if let Ok(request) = envelope::read(&Bytes::copy_from_slice(data)) {
        assert!(request.uri().path().starts_with("/v2/") && request.headers().is_empty());
        assert_eq!(Form::of(data), Form::Envelope, "an object begins with its brace");
    }
}

/// Binary HTTP: what comes out is a request to the API with no header but those that are let in.
pub fn binary_http(data: &[u8]) {
    if let Ok(request) = binary::read(data, |authority, _| authority == "relay.example") {
        assert!(request.uri().path().starts_with("/v2/") && request.headers().len() <= 2);
    }
}

/// A field of each kind.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Body<'a> {
    recipient_id: Field<MailboxToken>,
    ciphertext: Field<Ciphertext>,
    #[serde(borrow)]
    mailbox_tokens: Field<List<Spelled<'a, MailboxToken>>>,
    timestamp: Option<Field<u64>>,
    entries: Option<Field<List<Entry>>>,
}

/// An object in a list.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Entry {
    data: Field<GuardianEntry>,
}

impl Described for Entry {
    type Schema = values::Sealed;
}

impl<'de> Value<'de> for Entry {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        fields::object(object)
    }
}

/// A JSON body: what is read as one is one.
pub fn json_body(data: &[u8]) {
    if fields::read::<Body<'_>>(data).is_ok() {
        let json: Result<serde_json::Value, _> = serde_json::from_slice(data);
        assert!(json.is_ok_and(|json| json.is_object()), "stricter than a plain parser, never laxer");
    }
}

/// A signed key record or rollover records: what can be read is written again as it was.
pub fn key_record(data: &[u8]) {
    if let Ok(record) = KeyRecord::parse(data) {
        assert_eq!(record.encode(), data);
    }
    if let Ok(records) = parse_rollovers(data) {
        assert_eq!(encode_rollovers(&records), data);
    }
}

/// `X-Forwarded-For`: a peer that is not trusted is the client, whatever it writes.
pub fn client_address(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(address::client_address(peer, &headers, &[]), peer);
    let trusted = ["127.0.0.0/8", "10.0.0.0/8"].map(|network| network.parse()).into_iter().flatten();
    let trusted: Vec<_> = trusted.collect();
    let client = address::client_address(peer, &headers, &trusted);
    assert_eq!(client, client.to_canonical(), "mapped addresses do not make two clients of one");
}

/// The encodings hex, base64, base64url and codes: what is read is written again as it was, but for letters' case.
pub fn encodings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = BlobId::from_hex(text) {
        assert_eq!(id.to_hex(), text.to_ascii_lowercase());
    }
    if let Ok(token) = MailboxToken::from_hex(text) {
        assert_eq!(token.as_bytes().len() * 2, text.len());
    }
    if let Ok(ciphertext) = Ciphertext::from_base64(text) {
        assert_eq!(ciphertext.to_base64(), text);
    }
    if let Ok(Some(blob)) = EscrowBlob::from_base64url(text) {
        assert_eq!(blob.to_base64url(), text);
    }
    if let Ok(code) = ExchangeCode::from_digits(text) {
        assert_eq!(code.to_digits(), text);
    }
}

#[cfg(test)]
mod harness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ever_found_stays_found() {
        harness::run_over_corpora(&TARGETS);
    }

    #[test]
    fn no_input_breaks_a_promise() {
        harness::run_over_random_inputs(&TARGETS);
    }
}
