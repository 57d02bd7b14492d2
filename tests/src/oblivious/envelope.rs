//! The first form of what is sealed: a JSON object behind its length, and random bytes up to a padded size.

use crate::action::Action;
use crate::client::Via;
use crate::reply::{Reply, UNTOLD};
use bytes::Bytes;
use relay_client::envelope;
use serde_json::Value;

/// The plaintext that asks for an action.
///
/// # Panics
/// When the fields are no object: an envelope is one.
pub fn request(action: Action, fields: &Value) -> Vec<u8> {
    envelope::request(action.name(), fields).expect("an envelope is an object")
}

/// The same with any version and action.
///
/// # Panics
/// When the fields are no object.
pub fn request_with(version: Value, action: Value, fields: &Value) -> Vec<u8> {
    envelope::request_with(version, action, fields).expect("an envelope is an object")
}

/// Any bytes behind their length, and random ones up to a padded size.
///
/// # Panics
/// When they are longer than 4 GiB.
pub fn framed(json: &[u8]) -> Vec<u8> {
    envelope::framed(json).expect("a short text")
}

/// The bytes in front of the padding.
///
/// # Panics
/// When there are fewer than they say.
#[track_caller]
pub fn unframed(plaintext: &[u8]) -> Bytes {
    envelope::unframed(plaintext).expect("a frame")
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
