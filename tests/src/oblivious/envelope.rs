//! The first form of what is sealed: a JSON object behind its length, and random bytes up to a usual size.

use crate::action::Action;
use crate::client::Via;
use crate::fields::random_bytes;
use crate::reply::{Reply, UNTOLD};
use bytes::Bytes;
use serde_json::{Value, json};

/// The smallest plaintext that clients send; larger ones are multiples of [`STEP`].
const SMALLEST: usize = 4096;
const STEP: usize = 256;
const PREFIX: usize = 4;

/// The plaintext that asks for an action.
///
/// # Panics
/// When the fields are no object: an envelope is one.
pub fn request(action: Action, fields: &Value) -> Vec<u8> {
    request_with(json!(2), json!(action.name()), fields)
}

/// The same with any version and action.
///
/// # Panics
/// When the fields are no object.
pub fn request_with(version: Value, action: Value, fields: &Value) -> Vec<u8> {
    let mut object = fields.as_object().expect("an envelope is an object").clone();
    object.insert("version".to_owned(), version);
    object.insert("action".to_owned(), action);
    framed(Value::Object(object).to_string().as_bytes())
}

/// Any bytes behind their length, and random ones up to a usual size.
pub fn framed(json: &[u8]) -> Vec<u8> {
    let length = u32::try_from(json.len()).expect("a short text");
    let mut plaintext = [&length.to_be_bytes(), json].concat();
    let size = plaintext.len().next_multiple_of(STEP).max(SMALLEST);
    plaintext.extend(random_bytes(size - plaintext.len()));
    plaintext
}

/// The bytes in front of the filling.
///
/// # Panics
/// When there are fewer than they say.
#[track_caller]
pub fn unframed(plaintext: &[u8]) -> Bytes {
    let (length, rest) = plaintext.split_first_chunk::<PREFIX>().expect("a length");
    let length = usize::try_from(u32::from_be_bytes(*length)).expect("a short text");
    assert!(length <= rest.len(), "{length} bytes of JSON in a plaintext of {}", plaintext.len());
    Bytes::copy_from_slice(&rest[..length])
}

/// Reads an answer. It has no status and no headers of its own: an error is told by its JSON, and the headers are
/// those of what carried it.
#[track_caller]
pub fn reply(outer: Reply, plaintext: &[u8]) -> Reply {
    let body = unframed(plaintext);
    let json: Value = serde_json::from_slice(&body).expect("an envelope holds JSON");
    let status = if json["status"] == "error" { UNTOLD } else { 200 };
    Reply { status, body, via: Via::Envelope, plaintext: Some(plaintext.len()), ..outer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_sizes_that_clients_send() {
        for (length, size) in [(0, 4096), (4092, 4096), (4093, 4352), (4348, 4352), (4349, 4608)] {
            let json = vec![b'x'; length];
            assert_eq!(framed(&json).len(), size);
            assert_eq!(unframed(&framed(&json)), json);
        }
    }

    #[test]
    fn a_request_is_its_fields_with_version_and_action() {
        let plaintext = request(Action::ExchangeOffer, &json!({ "payload": "x" }));
        let json: Value = serde_json::from_slice(&unframed(&plaintext)).unwrap();
        assert_eq!(json, json!({ "version": 2, "action": "exchange_offer", "payload": "x" }));
    }
}
