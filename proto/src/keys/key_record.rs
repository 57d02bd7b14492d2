//! The signed key record: a key configuration for one day, vouched for by an intermediate key, which an anchor
//! vouches for in turn. Clients pin the anchor, and so cannot be given a key of somebody else's.
//!
//! ```text
//! version 1 | window u64 | length u16 | key configuration (at most 512) | signature 64
//!   | intermediate key 32 | not_before u64 | not_after u64 | anchor signature 64
//! ```
//!
//! Numbers are big-endian. `window` is the key's window, whose length is a day: unix time divided by 86,400. Clients
//! take no other, and no key whose id is not the window modulo 256. The first signature is Ed25519 by the intermediate key over `vauchi-ohttp-keyconfig-v1`, window
//! and key configuration; the second is the [`Certificate`]'s.

use crate::anchor::Certificate;
use crate::identifier::encoding::Malformed;
use crate::{PublicKey, Signature, UnixSeconds};
use bytes::Bytes;
use ed25519_dalek::SigningKey;

/// Content type of a record.
pub const CONTENT_TYPE: &str = "application/vnd.vauchi.ohttp-key-signed";

/// Most bytes of a record.
pub const LONGEST: usize = 187 + LONGEST_CONFIG;

/// Most bytes of the key configuration in it.
pub const LONGEST_CONFIG: usize = 512;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"vauchi-ohttp-keyconfig-v1";

/// A signed key record, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The window: unix time in days. Only where windows are shorter, for tests, it counts those.
    pub day: u64,
    /// What is signed: one key configuration (RFC 9458 §3.1).
    pub config: Bytes,
    /// By the intermediate key.
    pub signature: Signature,
    /// By the anchor, for the intermediate key.
    pub certificate: Certificate,
}

/// Why a record is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The anchor did not sign the certificate.
    #[error("the certificate is not the anchor's")]
    Certificate,
    /// The certificate has ended or not begun.
    #[error("the certificate does not hold at this time")]
    Time,
    /// The record is of another day.
    #[error("the record is of another day")]
    Day,
    /// The intermediate key did not sign the record.
    #[error("the record is not signed by the certified key")]
    Signature,
}

impl KeyRecord {
    /// Signs a key configuration for a day. `None` when it is longer than a record can hold.
    pub fn sign(
        day: u64,
        config: Bytes,
        intermediate: &SigningKey,
        certificate: Certificate,
    ) -> Option<Self> {
        if config.len() > LONGEST_CONFIG {
            return None;
        }
        let signature = crate::anchor::sign(intermediate, &message(day, &config));
        Some(Self { day, config, signature, certificate })
    }

    /// Writes a record.
    pub fn encode(&self) -> Bytes {
        let Certificate { intermediate, not_before, not_after, signature } = &self.certificate;
        let length = u16::try_from(self.config.len()).unwrap_or(u16::MAX);
        let [day, not_before, not_after] =
            [self.day, not_before.get(), not_after.get()].map(u64::to_be_bytes);
        let head = [&[VERSION][..], &day, &length.to_be_bytes(), &self.config, self.signature.as_bytes()];
        let certificate = [intermediate.as_bytes(), &not_before[..], &not_after, signature.as_bytes()];
        [head.concat(), certificate.concat()].concat().into()
    }

    /// Reads a record. Nothing may follow it.
    ///
    /// # Errors
    /// [`Malformed`]. A record that can be read is not yet one to be believed: [`KeyRecord::verify`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        let day = u64::from_be_bytes(take(&mut rest)?);
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        if version != VERSION || length > LONGEST_CONFIG {
            return Err(Malformed);
        }
        let (config, mut rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let record = Self {
            day,
            config: Bytes::copy_from_slice(config),
            signature: Signature::from_bytes(take(&mut rest)?),
            certificate: Certificate {
                intermediate: PublicKey::from_bytes(take(&mut rest)?),
                not_before: UnixSeconds::new(u64::from_be_bytes(take(&mut rest)?)),
                not_after: UnixSeconds::new(u64::from_be_bytes(take(&mut rest)?)),
                signature: Signature::from_bytes(take(&mut rest)?),
            },
        };
        if rest.is_empty() { Ok(record) } else { Err(Malformed) }
    }

    /// Checks everything that a client checks.
    ///
    /// # Errors
    /// [`Distrust`], the first reason found.
    pub fn verify(&self, anchor: &PublicKey, now: UnixSeconds) -> Result<(), Distrust> {
        self.verify_in_window(anchor, now, now.get() / crate::keys::DAY_SECS)
    }

    /// As [`KeyRecord::verify`], where windows may be of another length than a day.
    ///
    /// # Errors
    /// As [`KeyRecord::verify`].
    pub fn verify_in_window(
        &self,
        anchor: &PublicKey,
        now: UnixSeconds,
        window: u64,
    ) -> Result<(), Distrust> {
        if !self.certificate.is_by(anchor) {
            return Err(Distrust::Certificate);
        }
        if !self.certificate.holds_at(now) {
            return Err(Distrust::Time);
        }
        if self.day != window {
            return Err(Distrust::Day);
        }
        let message = message(self.day, &self.config);
        if crate::anchor::is_signed(&self.certificate.intermediate, &message, &self.signature) {
            Ok(())
        } else {
            Err(Distrust::Signature)
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*taken)
}

fn message(day: u64, config: &[u8]) -> Vec<u8> {
    [LABEL, &day.to_be_bytes(), config].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Signer as _;
    use proptest::prelude::*;

    fn keys() -> [SigningKey; 2] {
        [[1; 32], [2; 32]].map(|seed| SigningKey::from_bytes(&seed))
    }

    fn record() -> KeyRecord {
        let [anchor, intermediate] = keys();
        let certificate = Certificate::issue(
            &anchor,
            &crate::anchor::public(&intermediate),
            UnixSeconds::new(86_400),
            UnixSeconds::new(10 * 86_400),
        );
        KeyRecord::sign(3, Bytes::from_static(b"config"), &intermediate, certificate).unwrap()
    }

    #[test]
    fn a_record_has_these_very_bytes() {
        let bytes = record().encode();
        let (head, rest) = bytes.split_at(17);
        assert_eq!(
            head,
            [
                [1].as_slice(),            // version
                &[0, 0, 0, 0, 0, 0, 0, 3], // window: day 3
                &[0, 6],                   // length of the key configuration
                b"config",                 // the key configuration
            ]
            .concat()
        );
        let (signature, rest) = rest.split_at(64);
        let [anchor, intermediate] = keys();
        let signed = [b"vauchi-ohttp-keyconfig-v1".as_slice(), &3_u64.to_be_bytes(), b"config"].concat();
        assert_eq!(signature, intermediate.sign(&signed).to_bytes());
        let (key, rest) = rest.split_at(32);
        assert_eq!(key, intermediate.verifying_key().as_bytes());
        let (times, certified) = rest.split_at(16);
        assert_eq!(times, [86_400_u64.to_be_bytes(), 864_000_u64.to_be_bytes()].concat());
        let signed = [b"vauchi-ohttp-intermediate-v1".as_slice(), key, times].concat();
        assert_eq!(certified, anchor.sign(&signed).to_bytes());
    }

    #[test]
    fn a_record_is_believed_in_its_time_and_by_its_anchor_only() {
        let [anchor, intermediate] = keys().map(|key| crate::anchor::public(&key));
        let now = UnixSeconds::new(3 * 86_400 + 5);
        assert_eq!(record().verify(&anchor, now), Ok(()));
        assert_eq!(record().verify(&intermediate, now), Err(Distrust::Certificate));
        assert_eq!(record().verify(&anchor, UnixSeconds::new(86_399)), Err(Distrust::Time));
        assert_eq!(record().verify(&anchor, UnixSeconds::new(864_000)), Err(Distrust::Time));
        assert_eq!(record().verify(&anchor, UnixSeconds::new(4 * 86_400)), Err(Distrust::Day));
        let other = KeyRecord { config: Bytes::from_static(b"confij"), ..record() };
        assert_eq!(other.verify(&anchor, now), Err(Distrust::Signature));
    }

    #[test]
    fn the_longest_record_has_699_bytes_and_a_longer_configuration_none() {
        let certificate = record().certificate;
        let [_, intermediate] = keys();
        let sign = |length| KeyRecord::sign(3, Bytes::from(vec![0; length]), &intermediate, certificate);
        assert_eq!(sign(LONGEST_CONFIG).unwrap().encode().len(), 699);
        assert_eq!(LONGEST, 699);
        assert!(sign(LONGEST_CONFIG + 1).is_none());
    }

    proptest! {
        #[test]
        fn records_survive_the_wire_and_cuts_do_not(config in prop::collection::vec(any::<u8>(), 0..=LONGEST_CONFIG), day: u64) {
            let record = KeyRecord { day, config: config.into(), ..record() };
            let bytes = record.encode();
            prop_assert_eq!(KeyRecord::parse(&bytes), Ok(record));
            for cut in 0..bytes.len() {
                prop_assert_eq!(KeyRecord::parse(&bytes[..cut]), Err(Malformed));
            }
            prop_assert_eq!(KeyRecord::parse(&[&bytes[..], &[0]].concat()), Err(Malformed));
        }

        #[test]
        fn a_changed_bit_is_noticed(position in 0_usize..193, bit in 0_u8..8) {
            let mut bytes = record().encode().to_vec();
            bytes[position] ^= 1 << bit;
            let anchor = crate::anchor::public(&keys()[0]);
            let believed = KeyRecord::parse(&bytes)
                .is_ok_and(|record| record.verify(&anchor, UnixSeconds::new(3 * 86_400)).is_ok());
            prop_assert!(!believed);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
            if let Ok(record) = KeyRecord::parse(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
