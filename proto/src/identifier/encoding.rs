//! Where text from clients becomes bytes: strict hex and strict base64, and nothing in between.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;

/// The text was not what it had to be. Says nothing about the text itself, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed value")]
pub struct Malformed;

/// Reads exactly `N` bytes written as `2 * N` hexadecimal digits of either case.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| Malformed)?;
    Ok(bytes)
}

/// Reads standard base64 with padding (RFC 4648 §4), the only form the contract knows.
pub(crate) fn from_base64(text: &str) -> Result<Bytes, Malformed> {
    STANDARD.decode(text).map(Bytes::from).map_err(|_| Malformed)
}

/// Writes standard base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64url without padding (RFC 4648 §5).
pub(crate) fn from_base64url(text: &str) -> Result<Bytes, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map(Bytes::from).map_err(|_| Malformed)
}

/// Writes base64url without padding.
pub(crate) fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hex_of_the_wrong_length_or_alphabet_is_refused() {
        for text in ["", "0", "000", "0000000", "zz000000", "0000000g", " 0000000", "0x000000"] {
            assert_eq!(from_hex::<4>(text), Err(Malformed), "{text:?}");
        }
        assert_eq!(from_hex::<4>("00fFA1b2"), Ok([0x00, 0xff, 0xa1, 0xb2]));
    }

    #[test]
    fn base64_must_be_standard_and_padded() {
        for text in ["A", "AA", "AA=", "AAA", "_-8=", "AA==\n", "AA= =", "AB=="] {
            assert_eq!(from_base64(text), Err(Malformed), "{text:?}");
        }
        assert_eq!(from_base64("+/8=").unwrap(), Bytes::from_static(&[0xfb, 0xff]));
    }

    proptest! {
        #[test]
        fn base64_round_trips(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(from_base64(&to_base64(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn no_text_panics_a_door(text in ".{0,200}") {
            prop_assert!(from_hex::<32>(&text).is_err() || text.len() == 64);
            if let Ok(bytes) = from_base64(&text) {
                prop_assert_eq!(to_base64(&bytes), text);
            }
        }
    }
}
