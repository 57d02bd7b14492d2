//! What clients sealed: bytes and text that the relay carries and never reads. Bounded where they come in, and
//! `Debug` shows a type and a length.

use crate::identifier::encoding::{self, Malformed};
use bytes::Bytes;
use std::fmt;

/// Declares sealed bytes of bounded lengths, made by `TryFrom<Bytes>`, opaque `Debug`.
macro_rules! sealed {
    ($($(#[$doc:meta])* $name:ident: $least:literal..=$most:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(Bytes);

        impl $name {
            /// Most bytes.
            pub const LONGEST: usize = $most;

            /// Reads the base64 form of the client API.
            ///
            /// # Errors
            /// [`Malformed`] when the text is not standard padded base64 of a length within bounds.
            pub fn from_base64(text: &str) -> Result<Self, Malformed> {
                Self::try_from(encoding::from_base64(text)?)
            }

            /// Writes the base64 form of the client API.
            pub fn to_base64(&self) -> String {
                encoding::to_base64(&self.0)
            }

            /// The sealed bytes.
            pub const fn as_bytes(&self) -> &Bytes {
                &self.0
            }
        }

        impl TryFrom<Bytes> for $name {
            type Error = Malformed;

            fn try_from(bytes: Bytes) -> Result<Self, Malformed> {
                if ($least..=$most).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(Malformed) }
            }
        }

        impl From<$name> for Bytes {
            fn from(sealed: $name) -> Self {
                sealed.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }
    )*};
}

sealed! {
    /// A blob of mail, never empty. `RELAY_MAX_MESSAGE_SIZE` bounds it further.
    Ciphertext: 1..=usize::MAX;
    /// A sealed note of the sender's about where answers may go: exactly 74 bytes.
    OriginHint: 74..=74;
    /// A recovery proof, 1 to 4096 bytes.
    RecoveryProof: 1..=4096;
    /// One guardian's entry in a guardian set, at most 256 bytes.
    GuardianEntry: 0..=256;
    /// What lies in an escrow slot, at most 64 KiB.
    EscrowBlob: 0..=65_536;
}

impl EscrowBlob {
    /// Reads base64url without padding, the form that escrow has in the client API.
    ///
    /// # Errors
    /// `None` inside when the text is fine and too long, so that clients can be told which it is;
    /// [`Malformed`] when it is not base64url.
    pub fn from_base64url(text: &str) -> Result<Option<Self>, Malformed> {
        Ok(Self::try_from(encoding::from_base64url(text)?).ok())
    }

    /// Writes base64url without padding.
    pub fn to_base64url(&self) -> String {
        encoding::to_base64url(&self.0)
    }
}

/// Text that two people exchange by a code, at most 64 KiB. Not looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct ExchangeText(String);

impl ExchangeText {
    /// Most bytes.
    pub const LONGEST: usize = 65_536;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExchangeText {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if text.len() <= Self::LONGEST { Ok(Self(text)) } else { Err(Malformed) }
    }
}

impl From<ExchangeText> for String {
    fn from(text: ExchangeText) -> Self {
        text.0
    }
}

impl fmt::Debug for ExchangeText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExchangeText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits<T: TryFrom<Bytes>>(length: usize) -> bool {
        T::try_from(Bytes::from(vec![7; length])).is_ok()
    }

    #[test]
    fn every_length_has_its_bounds() {
        assert_eq!([0, 1, 100_000].map(fits::<Ciphertext>), [false, true, true]);
        assert_eq!([0, 73, 74, 75].map(fits::<OriginHint>), [false, false, true, false]);
        assert_eq!([0, 1, 4096, 4097].map(fits::<RecoveryProof>), [false, true, true, false]);
        assert_eq!([0, 256, 257].map(fits::<GuardianEntry>), [true, true, false]);
        assert_eq!([0, 65_536, 65_537].map(fits::<EscrowBlob>), [true, true, false]);
        assert!(ExchangeText::try_from("x".repeat(65_536)).is_ok());
        assert_eq!(ExchangeText::try_from("x".repeat(65_537)), Err(Malformed));
    }

    #[test]
    fn debug_shows_a_type_and_a_length_and_no_byte() {
        let ciphertext = Ciphertext::try_from(Bytes::from_static(b"secret")).unwrap();
        assert_eq!(format!("{ciphertext:?}"), "Ciphertext(6 bytes)");
        let text = ExchangeText::try_from("secret".to_owned()).unwrap();
        assert_eq!(format!("{text:?}"), "ExchangeText(6 bytes)");
    }

    #[test]
    fn escrow_travels_as_base64url_and_says_whether_it_is_wrong_or_long() {
        let blob = EscrowBlob::try_from(Bytes::from_static(&[0xfb, 0xff])).unwrap();
        assert_eq!(blob.to_base64url(), "-_8");
        assert_eq!(EscrowBlob::from_base64url("-_8"), Ok(Some(blob)));
        for text in ["+/8", "-_8=", "A", "-_9"] {
            assert_eq!(EscrowBlob::from_base64url(text), Err(Malformed), "{text}");
        }
        assert_eq!(EscrowBlob::from_base64url(&"A".repeat(87_384)), Ok(None));
    }
}
