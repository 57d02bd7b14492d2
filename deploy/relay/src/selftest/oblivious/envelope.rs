//! The envelope: a big-endian length in four bytes, JSON of that length, fill.

use super::padded;
use crate::selftest::client::{Answer, Trouble, expect, wrong};
use serde_json::{Value, json};

/// Version of what is inside.
const VERSION: u32 = 2;

/// Writes an action.
pub(in crate::selftest) fn request(action: &str, fields: &Value) -> Result<Vec<u8>, Trouble> {
    request_of_version(VERSION, action, fields)
}

/// Writes an action as another version would.
pub(in crate::selftest) fn request_of_version(
    version: u32,
    action: &str,
    fields: &Value,
) -> Result<Vec<u8>, Trouble> {
    let mut inside = json!({ "version": version, "action": action });
    if let (Some(inside), Some(fields)) = (inside.as_object_mut(), fields.as_object()) {
        inside.extend(fields.clone());
    }
    let json = inside.to_string();
    let length = u32::try_from(json.len()).map_err(|_| wrong("the request is too long"))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    let filled = bytes.len();
    bytes.resize(padded(filled), 0);
    getrandom::fill(&mut bytes[filled..]).map_err(|_| wrong("this system has no randomness"))?;
    Ok(bytes)
}

/// Reads the answer.
pub(in crate::selftest) fn answer(bytes: &[u8]) -> Result<Answer, Trouble> {
    let unframed = || wrong("the answer is not framed as an envelope");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(unframed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| unframed())?;
    let json = rest.get(..length).ok_or_else(unframed)?;
    let json: Value = serde_json::from_slice(json).map_err(|_| wrong("the envelope holds no JSON"))?;
    expect(json.is_object(), "the envelope holds no JSON object")?;
    Ok(Answer { status: None, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_framed_and_filled() {
        let bytes = request("send", &json!({ "recipient_id": "ab" })).unwrap();
        assert_eq!(bytes.len(), 4096);
        let length = usize::try_from(u32::from_be_bytes(bytes[..4].try_into().unwrap())).unwrap();
        assert_eq!(bytes[4], b'{');
        let json: Value = serde_json::from_slice(&bytes[4..4 + length]).unwrap();
        assert_eq!(json, json!({ "version": 2, "action": "send", "recipient_id": "ab" }));
        assert!(bytes[4 + length..].iter().any(|byte| *byte != 0), "the fill is random");
        let long = request("send", &json!({ "ciphertext": "x".repeat(5000) })).unwrap();
        assert!(long.len() > 5000 && long.len().is_multiple_of(256));
    }

    #[test]
    fn an_answer_is_read_and_a_broken_one_told() {
        let mut bytes = vec![0, 0, 0, 15];
        bytes.extend_from_slice(br#"{"status":"ok"}"#);
        bytes.resize(4096, 9);
        let read = answer(&bytes).unwrap();
        assert_eq!((read.status, read.json), (None, json!({ "status": "ok" })));
        for broken in [&[][..], &[0, 0, 0, 9, b'{'], &[0, 0, 0, 1, b'1'], &[0, 0, 0, 1, b'{']] {
            assert!(answer(broken).is_err(), "{broken:?}");
        }
    }
}
