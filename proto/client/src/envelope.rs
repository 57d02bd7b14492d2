//! The first form of a sealed request: a JSON object behind its length in four bytes, and random bytes up to a padded
//! size.

use crate::error::Error;
use crate::oblivious::padded_request;
use bytes::Bytes;
use serde_json::{Value, json};

/// Version of the envelope.
const VERSION: u32 = 2;

/// The plaintext that asks for an action.
///
/// # Errors
/// When the fields are no object.
pub fn request(action: &str, fields: &Value) -> Result<Vec<u8>, Error> {
    request_with(json!(VERSION), json!(action), fields)
}

/// The same with any version and action.
///
/// # Errors
/// When the fields are no object.
pub fn request_with(version: Value, action: Value, fields: &Value) -> Result<Vec<u8>, Error> {
    let mut object = fields.as_object().ok_or(Error::NotAnObject)?.clone();
    object.insert("version".to_owned(), version);
    object.insert("action".to_owned(), action);
    framed(Value::Object(object).to_string().as_bytes())
}

/// Any bytes behind their length, with random ones up to a padded size.
///
/// # Errors
/// When they are longer than four bytes can say.
pub fn framed(json: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u32::try_from(json.len()).map_err(|_| Error::TooLong)?;
    let mut plaintext = [&length.to_be_bytes(), json].concat();
    let filled = plaintext.len();
    plaintext.resize(padded_request(filled), 0);
    getrandom::fill(&mut plaintext[filled..]).map_err(|_| Error::NoRandomness)?;
    Ok(plaintext)
}

/// The bytes in front of the padding.
///
/// # Errors
/// When there are fewer than their length says.
pub fn unframed(plaintext: &[u8]) -> Result<Bytes, Error> {
    let (length, rest) = plaintext.split_first_chunk::<4>().ok_or(Error::NotFramed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Error::NotFramed)?;
    rest.get(..length).map(Bytes::copy_from_slice).ok_or(Error::NotFramed)
}

/// Reads an answer. It has neither a status nor headers of its own.
///
/// # Errors
/// When the envelope holds no JSON object.
pub fn answer(plaintext: &[u8]) -> Result<Value, Error> {
    let json: Value = serde_json::from_slice(&unframed(plaintext)?).map_err(|_| Error::NotAnObject)?;
    if json.is_object() { Ok(json) } else { Err(Error::NotAnObject) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_sizes_that_clients_send() {
        for (length, size) in [(0, 4096), (4092, 4096), (4093, 4352), (4348, 4352), (4349, 4608)] {
            let json = vec![b'x'; length];
            let framed = framed(&json).unwrap();
            assert_eq!(framed.len(), size);
            assert_eq!(unframed(&framed).unwrap(), json);
        }
    }

    #[test]
    fn a_request_is_its_fields_with_version_and_action_and_random_padding() {
        let plaintext = request("exchange_offer", &json!({ "payload": "x" })).unwrap();
        let inside = unframed(&plaintext).unwrap();
        let json: Value = serde_json::from_slice(&inside).unwrap();
        assert_eq!(json, json!({ "version": 2, "action": "exchange_offer", "payload": "x" }));
        assert_eq!(plaintext[4], b'{');
        assert!(plaintext[4 + inside.len()..].iter().any(|byte| *byte != 0), "the padding is random");
        assert!(request("send", &json!([])).is_err());
    }

    #[test]
    fn an_answer_is_read_and_a_broken_one_refused() {
        let mut bytes = vec![0, 0, 0, 15];
        bytes.extend_from_slice(br#"{"status":"ok"}"#);
        bytes.resize(4096, 9);
        assert_eq!(answer(&bytes).unwrap(), json!({ "status": "ok" }));
        for broken in [&[][..], &[0, 0, 0, 9, b'{'], &[0, 0, 0, 1, b'1'], &[0, 0, 0, 1, b'{']] {
            assert!(answer(broken).is_err(), "{broken:?}");
        }
    }
}
