//! The first inner form, which deployed clients speak: a JSON object behind its length, and filling.
//!
//! ```text
//! length u32, big-endian | {"version":2,"action":NAME, …the fields of the endpoint…} | random bytes
//! ```

use super::padding;
use crate::api::router::path_of_action;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::fields::{self, Field};
use axum::body::Body;
use bytes::Bytes;
use hyper::{Method, Request};
use serde::Deserialize;
use std::borrow::Cow;

/// The only version there is.
const VERSION: u64 = 2;

const PREFIX: usize = 4;

/// What of an envelope's JSON is not the endpoint's own.
#[derive(Deserialize)]
struct Envelope<'a> {
    version: Field<u64>,
    #[serde(borrow)]
    action: Field<Cow<'a, str>>,
}

/// Makes the request that an envelope asks for: its own JSON, posted to the endpoint its action names.
pub(crate) fn read(plaintext: &Bytes) -> Result<Request<Body>, ApiError> {
    let json = unframe(plaintext).ok_or(ErrorCode::Framing)?;
    let Envelope { version, action } = fields::read(&json)?;
    if version.or(ErrorCode::EnvelopeVersion)? != VERSION {
        return Err(ErrorCode::EnvelopeVersion.into());
    }
    let action = action.or(ErrorCode::UnknownAction)?;
    let path = path_of_action(&action).ok_or(ErrorCode::UnknownAction)?;
    drop(action);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path;
    *request.body_mut() = Body::from(json);
    Ok(request)
}

/// The JSON in front of the filling.
fn unframe(plaintext: &Bytes) -> Option<Bytes> {
    let (length, rest) = plaintext.split_first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (length <= rest.len()).then(|| plaintext.slice(PREFIX..PREFIX + length))
}

/// Frames a reply's JSON and fills it up to its rung, if there is one.
pub(super) fn write(json: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(json.len()).ok()?;
    let rung = padding::rung(PREFIX + json.len())?;
    let mut plaintext = Vec::with_capacity(rung);
    plaintext.extend_from_slice(&length.to_be_bytes());
    plaintext.extend_from_slice(json);
    let filled = plaintext.len();
    plaintext.resize(rung, 0);
    // Clients expect random bytes. All of it is sealed, so the thread's own generator is good enough.
    rand::fill(&mut plaintext[filled..]);
    Some(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    fn framed(json: &str, filling: usize) -> Bytes {
        let mut bytes = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + filling, 0xaa);
        bytes.into()
    }

    #[tokio::test]
    async fn an_envelope_has_these_very_bytes() {
        let json = br#"{"version":2,"action":"exchange_offer","payload":"x"}"#;
        let plaintext = [
            [0, 0, 0, 53].as_slice(), // length of the JSON, big-endian
            json,                     // the JSON itself
            &[0x5a; 199],             // filling, up to 256 bytes
        ]
        .concat();
        assert_eq!(plaintext.len(), 256);
        let request = read(&plaintext.into()).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/v2/exchange/offer"));
        assert!(request.headers().is_empty());
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), json.as_slice());
    }

    #[test]
    fn what_is_wrong_with_an_envelope_is_told_apart() {
        let fault = |bytes: Bytes| read(&bytes).unwrap_err().fault;
        assert_eq!(fault(Bytes::from_static(&[0, 0, 0])), ErrorCode::Framing);
        assert_eq!(fault(Bytes::from_static(&[0, 0, 0, 2, b'{'])), ErrorCode::Framing);
        assert_eq!(fault(Bytes::from_static(&[255, 255, 255, 255, b'{'])), ErrorCode::Framing);
        assert_eq!(fault(framed("{", 9)), ErrorCode::NotJson);
        for version in ["1", "3", "\"2\"", "2.0", "null"] {
            let json = format!("{{\"version\":{version},\"action\":\"send\"}}");
            assert_eq!(fault(framed(&json, 0)), ErrorCode::EnvelopeVersion, "{version}");
        }
        for action in
            ["\"\"", "\"ohttp\"", "\"exchange/offer\"", "\"Send\"", "\"health\"", "7", "null", "\"../send\""]
        {
            let json = format!("{{\"version\":2,\"action\":{action}}}");
            assert_eq!(fault(framed(&json, 0)), ErrorCode::UnknownAction, "{action}");
        }
    }

    #[test]
    fn an_answer_is_framed_as_a_request_is_and_fills_its_rung() {
        for length in [0, 1, 4092, 4093, 32_764, 32_765, 98_300] {
            let json = vec![b'x'; length];
            let plaintext = Bytes::from(write(&json).unwrap());
            assert_eq!(unframe(&plaintext).unwrap(), json);
            assert_eq!(Some(plaintext.len()), padding::rung(length + 4));
        }
        assert_eq!(write(&[b'x'; 98_301]), None, "it has no rung");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes.into()).is_err());
        }

        #[test]
        fn a_changed_byte_never_panics(position in 0_usize..57, byte: u8) {
            let mut bytes = framed(r#"{"version":2,"action":"exchange_offer","payload":"x"}"#, 0).to_vec();
            bytes[position] = byte;
            if let Ok(request) = read(&bytes.into()) {
                prop_assert!(request.uri().path().starts_with("/v2/"));
            }
        }
    }
}
