//! Six-digit exchange codes.

use crate::OfferName;
use crate::identifier::digest;
use crate::identifier::encoding::Malformed;
use std::fmt;

/// Six digits that one person reads to another. Known to the gateway and to the two.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeCode(u32);

impl ExchangeCode {
    /// Digits of a code.
    pub const DIGITS: usize = 6;

    /// How many codes there are.
    pub const COUNT: u32 = 1_000_000;
}

impl ExchangeCode {
    /// Reads what a person typed.
    ///
    /// # Errors
    /// [`Malformed`] unless it is exactly six ASCII digits.
    pub fn from_digits(text: &str) -> Result<Self, Malformed> {
        if text.len() != Self::DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed);
        }
        text.parse().map(Self).map_err(|_| Malformed)
    }

    /// What a person is shown.
    pub fn to_digits(self) -> String {
        format!("{:06}", self.0)
    }

    /// The number, below [`ExchangeCode::COUNT`].
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The name under which its offer rests.
    pub fn offer(self) -> OfferName {
        OfferName::from_bytes(digest("vauchi-relay/offer/v1\0", &[&self.0.to_be_bytes()]))
    }
}

impl TryFrom<u32> for ExchangeCode {
    type Error = Malformed;

    fn try_from(number: u32) -> Result<Self, Malformed> {
        if number < Self::COUNT { Ok(Self(number)) } else { Err(Malformed) }
    }
}

impl fmt::Debug for ExchangeCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ExchangeCode(6 digits)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_six_digits_and_keeps_its_zeros() {
        assert_eq!(ExchangeCode::from_digits("000042").map(ExchangeCode::get), Ok(42));
        assert_eq!(ExchangeCode::try_from(42).unwrap().to_digits(), "000042");
        for text in ["", "12345", "1234567", "12345a", " 12345", "+12345", "１２３", "-12345"] {
            assert_eq!(ExchangeCode::from_digits(text), Err(Malformed), "{text:?}");
        }
        assert_eq!(ExchangeCode::try_from(ExchangeCode::COUNT), Err(Malformed));
        assert_eq!(format!("{:?}", ExchangeCode::try_from(123_456).unwrap()), "ExchangeCode(6 digits)");
    }
}
