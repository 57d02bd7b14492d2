//! Anchors: the keys that clients pin, what they certify, and how one takes over from another.
//!
//! A client pins an anchor and a [`Commitment`] to its backup. A [`Rollover`] record, signed by the backup that
//! the commitment names, makes the backup the anchor and commits to the next backup. So a lost or stolen anchor
//! can be replaced without asking clients to trust on first use again.

pub mod file;

use crate::identifier::encoding::Malformed;
use crate::{Commitment, PublicKey, Signature, UnixSeconds};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

const CERTIFICATE_LABEL: &[u8] = b"vauchi-ohttp-intermediate-v1";
const ROLLOVER_LABEL: &[u8] = b"vauchi-ohttp-anchor-rollover-v1";
const ROLLOVER_VERSION: u8 = 1;

/// Content type of the rollover records.
pub const ROLLOVER_CONTENT_TYPE: &str = "application/vnd.vauchi.ohttp-anchor-rollover";

/// Most rollover records in one answer.
pub const MOST_ROLLOVERS: usize = 16;

/// The public half of a signing key.
pub fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from_bytes(key.verifying_key().to_bytes())
}

/// Signs a message.
pub(crate) fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    Signature::from_bytes(key.sign(message).to_bytes())
}

/// Checks a signature strictly: no small-order keys, no malleable encodings.
pub fn is_signed(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
    VerifyingKey::from_bytes(key.as_bytes()).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// An anchor's word for an intermediate key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// The key that may sign key records.
    pub intermediate: PublicKey,
    /// From when, inclusive.
    pub not_before: UnixSeconds,
    /// Until when, exclusive.
    pub not_after: UnixSeconds,
    /// Ed25519 by the anchor over `vauchi-ohttp-intermediate-v1`, key and times.
    pub signature: Signature,
}

impl Certificate {
    /// Certifies a key.
    pub fn issue(
        anchor: &SigningKey,
        intermediate: &PublicKey,
        not_before: UnixSeconds,
        not_after: UnixSeconds,
    ) -> Self {
        let signature = sign(anchor, &certificate_message(intermediate, not_before, not_after));
        Self { intermediate: *intermediate, not_before, not_after, signature }
    }

    /// Whether the anchor signed it.
    pub fn is_by(&self, anchor: &PublicKey) -> bool {
        let message = certificate_message(&self.intermediate, self.not_before, self.not_after);
        is_signed(anchor, &message, &self.signature)
    }

    /// Whether it holds at a moment.
    pub fn holds_at(&self, now: UnixSeconds) -> bool {
        (self.not_before..self.not_after).contains(&now)
    }
}

fn certificate_message(intermediate: &PublicKey, not_before: UnixSeconds, not_after: UnixSeconds) -> Vec<u8> {
    let times = [not_before, not_after].map(|time| time.get().to_be_bytes());
    [CERTIFICATE_LABEL, intermediate.as_bytes(), &times[0], &times[1]].concat()
}

/// A change of anchor, 129 bytes: `version 1 | new anchor 32 | next commitment 32 | signature 64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollover {
    /// The backup that takes over.
    pub new_anchor: PublicKey,
    /// To the backup of the new anchor.
    pub next_commitment: Commitment,
    /// Ed25519 by the new anchor over `vauchi-ohttp-anchor-rollover-v1`, anchor and commitment.
    pub signature: Signature,
}

impl Rollover {
    /// Bytes of a record.
    pub const LENGTH: usize = 129;

    /// Makes a key the anchor, with a commitment to the next one.
    pub fn issue(new_anchor: &SigningKey, next_commitment: Commitment) -> Self {
        let anchor = public(new_anchor);
        let signature = sign(new_anchor, &rollover_message(&anchor, &next_commitment));
        Self { new_anchor: anchor, next_commitment, signature }
    }

    /// Whether the new anchor is the one that was committed to, and signed this itself.
    pub fn follows(&self, commitment: &Commitment) -> bool {
        let message = rollover_message(&self.new_anchor, &self.next_commitment);
        Commitment::to(&self.new_anchor) == *commitment
            && is_signed(&self.new_anchor, &message, &self.signature)
    }

    /// Writes a record.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [ROLLOVER_VERSION; Self::LENGTH];
        bytes[1..33].copy_from_slice(self.new_anchor.as_bytes());
        bytes[33..65].copy_from_slice(self.next_commitment.as_bytes());
        bytes[65..].copy_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() != Self::LENGTH || bytes[0] != ROLLOVER_VERSION {
            return Err(Malformed);
        }
        Ok(Self {
            new_anchor: PublicKey::try_from(&bytes[1..33])?,
            next_commitment: Commitment::try_from(&bytes[33..65])?,
            signature: Signature::try_from(&bytes[65..])?,
        })
    }
}

fn rollover_message(anchor: &PublicKey, next: &Commitment) -> Vec<u8> {
    [ROLLOVER_LABEL, anchor.as_bytes(), next.as_bytes()].concat()
}

/// Writes the body of the rollover endpoint: a count and the records, oldest first. Of more than
/// [`MOST_ROLLOVERS`] the newest are written.
pub fn encode_rollovers(records: &[Rollover]) -> Bytes {
    let newest = &records[records.len().saturating_sub(MOST_ROLLOVERS)..];
    let count = u8::try_from(newest.len()).unwrap_or(u8::MAX);
    std::iter::once(count).chain(newest.iter().flat_map(Rollover::encode)).collect()
}

/// Reads the body of the rollover endpoint.
///
/// # Errors
/// [`Malformed`], also for more than [`MOST_ROLLOVERS`] records.
pub fn parse_rollovers(body: &[u8]) -> Result<Vec<Rollover>, Malformed> {
    let (count, records) = body.split_first().ok_or(Malformed)?;
    let count = usize::from(*count);
    if count > MOST_ROLLOVERS || records.len() != count * Rollover::LENGTH {
        return Err(Malformed);
    }
    records.chunks_exact(Rollover::LENGTH).map(Rollover::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    #[test]
    fn a_rollover_has_these_very_bytes() {
        let next = Commitment::to(&public(&key(2)));
        let record = Rollover::issue(&key(1), next).encode();
        assert_eq!(record[0], 1, "version");
        assert_eq!(&record[1..33], key(1).verifying_key().as_bytes(), "new anchor");
        assert_eq!(&record[33..65], next.as_bytes(), "next commitment");
        let signed = [b"vauchi-ohttp-anchor-rollover-v1".as_slice(), &record[1..65]].concat();
        assert_eq!(record[65..], key(1).sign(&signed).to_bytes(), "by the new anchor");
        assert_eq!(Rollover::parse(&record).unwrap().encode(), record);
        assert_eq!(encode_rollovers(&[Rollover::parse(&record).unwrap()]), [&[1][..], &record].concat());
    }

    #[test]
    fn a_rollover_follows_the_commitment_that_names_its_key() {
        let record = Rollover::issue(&key(1), Commitment::to(&public(&key(2))));
        assert!(record.follows(&Commitment::to(&public(&key(1)))));
        assert!(!record.follows(&Commitment::to(&public(&key(2)))));
        let forged = Rollover { next_commitment: Commitment::to(&public(&key(3))), ..record };
        assert!(!forged.follows(&Commitment::to(&public(&key(1)))));
    }

    #[test]
    fn a_commitment_is_what_clients_compute() {
        use sha2::{Digest as _, Sha256};
        let backup = public(&key(9));
        let expected: [u8; 32] =
            Sha256::digest([b"vauchi-ohttp-backup-anchor-v1".as_slice(), backup.as_bytes()].concat()).into();
        assert_eq!(Commitment::to(&backup).as_bytes(), &expected);
    }

    #[test]
    fn of_too_many_rollovers_the_newest_are_told() {
        let records: Vec<_> =
            (1..=18).map(|seed| Rollover::issue(&key(seed), Commitment::from_bytes([seed; 32]))).collect();
        let body = encode_rollovers(&records);
        assert_eq!(body.len(), 1 + 16 * 129);
        assert_eq!(parse_rollovers(&body).unwrap(), records[2..]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(records) = parse_rollovers(&bytes) {
                prop_assert_eq!(encode_rollovers(&records), bytes);
            }
        }

        #[test]
        fn a_changed_bit_of_a_rollover_is_noticed(position in 0_usize..129, bit in 0_u8..8) {
            let commitment = Commitment::to(&public(&key(1)));
            let mut bytes = Rollover::issue(&key(1), Commitment::from_bytes([4; 32])).encode();
            bytes[position] ^= 1 << bit;
            prop_assert!(!Rollover::parse(&bytes).is_ok_and(|record| record.follows(&commitment)));
        }
    }
}
