//! The signed key record, read from its bytes and checked as clients check it.
//!
//! ```text
//! version 1 | window u64 | length u16 | key configuration | signature 64
//!   | intermediate key 32 | not_before u64 | not_after u64 | anchor signature 64
//! ```

use crate::oblivious::{CHACHA20_POLY1305, Key};
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};

/// Path of the record.
pub const PATH: &str = "/v2/ohttp-key-signed";
/// Its content type.
pub const CONTENT_TYPE: &str = "application/vnd.vauchi.ohttp-key-signed";
/// Most bytes that it may have.
pub const LONGEST: usize = 699;

const LONGEST_CONFIG: usize = 512;
const DAY_SECS: u64 = 86_400;

/// Why clients refuse a key record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRecordError {
    /// More than [`LONGEST`] bytes.
    #[error("it is longer than 699 bytes")]
    TooLong,
    /// Another version or cut short, or something follows it.
    #[error("the body is not a key record")]
    Malformed,
    /// The configuration inside is not exactly one.
    #[error("there is not one key configuration in it")]
    NotAKey,
    /// For another day.
    #[error("its window is not this day")]
    OtherDay,
    /// Key ids follow from windows.
    #[error("its key id is not its window modulo 256")]
    OtherId,
    /// Clients take the first suite.
    #[error("HKDF-SHA256 with ChaCha20-Poly1305 is not its first suite")]
    OtherSuite,
    /// The certificate expired, or begins later.
    #[error("the certificate in it does not hold at this time")]
    NotValidNow,
    /// The signature over the key is not by the intermediate key.
    #[error("the certified key did not sign it")]
    NotSigned,
    /// The signature over the intermediate key is not by the anchor.
    #[error("the anchor did not sign the certificate in it")]
    NotCertified,
}

/// A record, taken apart.
#[derive(Debug, Clone)]
pub struct ServedKeyRecord {
    /// Which window the key is of.
    pub window: u64,
    /// The key configuration that is signed.
    pub key: Key,
    signature: Signature,
    intermediate: [u8; 32],
    /// First second at which the intermediate key may sign.
    pub not_before: u64,
    /// First second at which it may not any more.
    pub not_after: u64,
    anchor_signature: Signature,
}

impl ServedKeyRecord {
    /// Reads a record to its last byte.
    ///
    /// # Errors
    /// When it is none. Signatures are not checked here.
    pub fn parse(record: &[u8]) -> Result<Self, KeyRecordError> {
        if record.len() > LONGEST {
            return Err(KeyRecordError::TooLong);
        }
        let mut rest = record;
        if take(&mut rest)? != [1] {
            return Err(KeyRecordError::Malformed);
        }
        let window = u64::from_be_bytes(take(&mut rest)?);
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (config, after) = rest
            .split_at_checked(length)
            .filter(|_| length <= LONGEST_CONFIG)
            .ok_or(KeyRecordError::Malformed)?;
        rest = after;
        let signature = Signature::from_bytes(&take(&mut rest)?);
        let intermediate = take(&mut rest)?;
        let [not_before, not_after] = [take(&mut rest)?, take(&mut rest)?].map(u64::from_be_bytes);
        let anchor_signature = Signature::from_bytes(&take(&mut rest)?);
        if !rest.is_empty() {
            return Err(KeyRecordError::Malformed);
        }
        let key = Key::parse(Bytes::copy_from_slice(config)).map_err(|_| KeyRecordError::NotAKey)?;
        Ok(Self { window, key, signature, intermediate, not_before, not_after, anchor_signature })
    }

    /// Reads a record that was asked for at `asked` and came at `now`, in Unix seconds, and checks everything that clients
    /// check. Without an anchor, who certified it remains unknown.
    ///
    /// # Errors
    /// The first reason for which a client would refuse it.
    pub fn check(
        record: &[u8],
        anchor: Option<&[u8; 32]>,
        asked: u64,
        now: u64,
    ) -> Result<Self, KeyRecordError> {
        let record = Self::parse(record)?;
        if !(asked / DAY_SECS..=now / DAY_SECS).contains(&record.window) {
            return Err(KeyRecordError::OtherDay);
        }
        if u64::from(record.key.id()) != record.window % 256 {
            return Err(KeyRecordError::OtherId);
        }
        if record.key.suites().first() != Some(&CHACHA20_POLY1305) {
            return Err(KeyRecordError::OtherSuite);
        }
        if !(record.not_before..record.not_after).contains(&now) {
            return Err(KeyRecordError::NotValidNow);
        }
        if !record.is_signed() {
            return Err(KeyRecordError::NotSigned);
        }
        if anchor.is_some_and(|anchor| !record.is_certified_by(anchor)) {
            return Err(KeyRecordError::NotCertified);
        }
        Ok(record)
    }

    /// Returns true if the intermediate key signed the configuration for its window.
    pub fn is_signed(&self) -> bool {
        let window = self.window.to_be_bytes();
        let message = [b"vauchi-ohttp-keyconfig-v1".as_slice(), &window, self.key.config()].concat();
        is_signed(&self.intermediate, &message, &self.signature)
    }

    /// Returns true if an anchor signed the intermediate key and its times.
    pub fn is_certified_by(&self, anchor: &[u8; 32]) -> bool {
        let times = [self.not_before, self.not_after].map(u64::to_be_bytes);
        let message =
            [b"vauchi-ohttp-intermediate-v1".as_slice(), &self.intermediate, &times.concat()].concat();
        is_signed(anchor, &message, &self.anchor_signature)
    }
}

/// Returns true if this is a signature by the key, verified strictly.
pub(crate) fn is_signed(key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, signature).is_ok())
}

pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], KeyRecordError> {
    let (taken, after) = rest.split_first_chunk().ok_or(KeyRecordError::Malformed)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use relay_proto::UnixSeconds;
    use relay_proto::anchor::{Certificate, public};
    use relay_proto::messages::KeyWindow;

    const NOW: u64 = 20_000 * DAY_SECS + 5;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn anchor(seed: u8) -> [u8; 32] {
        key(seed).verifying_key().to_bytes()
    }

    /// A record as the relay signs it, with a configuration that may be changed before that.
    fn record(change: impl FnOnce(&mut Vec<u8>)) -> relay_proto::key_record::KeyRecord {
        let number = NOW / DAY_SECS;
        let window = KeyWindow { number, seed: vec![7; 32].into() };
        let mut config = window.encoded_config().unwrap();
        change(&mut config);
        let at = UnixSeconds::new(NOW);
        let certificate =
            Certificate::issue(&key(1), &public(&key(2)), at.minus(DAY_SECS), at.plus(DAY_SECS));
        relay_proto::key_record::KeyRecord::sign(number, config.into(), &key(2), certificate).unwrap()
    }

    fn problem(body: &[u8], now: u64) -> KeyRecordError {
        ServedKeyRecord::check(body, Some(&anchor(1)), now, now).unwrap_err()
    }

    #[test]
    fn a_record_is_taken_from_its_anchor_on_its_day() {
        let good = record(|_| ());
        for anchor in [None, Some(&anchor(1))] {
            let taken = ServedKeyRecord::check(&good.encode(), anchor, NOW, NOW).unwrap();
            assert_eq!((taken.window, &taken.key.config()[..]), (good.day, &good.config[..]));
        }
        let late = ServedKeyRecord::check(&good.encode(), None, NOW, NOW + DAY_SECS - 1);
        assert!(late.is_ok(), "it was the day before");
    }

    #[test]
    fn whatever_a_client_refuses_is_named() {
        let good = record(|_| ());
        assert_eq!(problem(&[0; 700], NOW), KeyRecordError::TooLong);
        assert_eq!(problem(&good.encode()[1..], NOW), KeyRecordError::Malformed);
        assert_eq!(problem(&[&good.encode()[..], &[0]].concat(), NOW), KeyRecordError::Malformed);
        assert_eq!(problem(&good.encode(), NOW + DAY_SECS), KeyRecordError::OtherDay);
        let other_id = record(|config| config[0] ^= 1);
        assert_eq!(problem(&other_id.encode(), NOW), KeyRecordError::OtherId);
        let swapped = record(|config| config[37..].rotate_left(4));
        assert_eq!(problem(&swapped.encode(), NOW), KeyRecordError::OtherSuite);
        let cut = record(|config| config.truncate(20));
        assert_eq!(problem(&cut.encode(), NOW), KeyRecordError::NotAKey);
        let mut ended = good.clone();
        ended.certificate.not_after = UnixSeconds::new(NOW);
        assert_eq!(problem(&ended.encode(), NOW), KeyRecordError::NotValidNow);
        let mut forged = good.clone();
        forged.config = [&good.config[..3], &[9], &good.config[4..]].concat().into();
        assert_eq!(problem(&forged.encode(), NOW), KeyRecordError::NotSigned);
        let other = ServedKeyRecord::check(&good.encode(), Some(&anchor(3)), NOW, NOW).unwrap_err();
        assert_eq!(other, KeyRecordError::NotCertified);
    }
}
