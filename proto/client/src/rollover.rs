//! Records of changed anchors.

use crate::key_record::{KeyRecordError, is_signed, take};
use ed25519_dalek::Signature;
use sha2::{Digest as _, Sha256};

/// Path of the list.
pub const ROLLOVER_PATH: &str = "/v2/ohttp-anchor-rollover";
/// Its content type.
pub const ROLLOVER_TYPE: &str = "application/vnd.vauchi.ohttp-anchor-rollover";

const MOST: u8 = 16;
const LENGTH: usize = 129;

/// A change of anchor: version 1, new anchor 32, commitment to the next anchor 32, signature 64.
#[derive(Debug, Clone)]
pub struct AnchorRollover {
    /// The new anchor.
    pub anchor: [u8; 32],
    /// What it commits to for the next change.
    pub commitment: [u8; 32],
    signature: Signature,
}

impl AnchorRollover {
    /// Reads a list of records to its last byte.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_list(list: &[u8]) -> Result<Vec<Self>, KeyRecordError> {
        let (count, rest) = list.split_first().ok_or(KeyRecordError::Malformed)?;
        if *count > MOST || rest.len() != usize::from(*count) * LENGTH {
            return Err(KeyRecordError::Malformed);
        }
        rest.chunks_exact(LENGTH).map(Self::parse).collect()
    }

    fn parse(mut record: &[u8]) -> Result<Self, KeyRecordError> {
        if take(&mut record)? != [1] {
            return Err(KeyRecordError::Malformed);
        }
        let [anchor, commitment] = [take(&mut record)?, take(&mut record)?];
        Ok(Self { anchor, commitment, signature: Signature::from_bytes(&take(&mut record)?) })
    }

    /// Returns true if the new anchor is the one that was committed to, and signed this record itself.
    pub fn follows(&self, commitment: &[u8; 32]) -> bool {
        let message =
            [b"vauchi-ohttp-anchor-rollover-v1".as_slice(), &self.anchor, &self.commitment].concat();
        commitment_to(&self.anchor) == *commitment && is_signed(&self.anchor, &message, &self.signature)
    }

    /// Returns true if every record follows from the one before it. The first one is taken at its word.
    pub fn is_chain(records: &[Self]) -> bool {
        let Some(first) = records.first() else { return true };
        let mut commitment = commitment_to(&first.anchor);
        records.iter().all(|record| record.follows(&std::mem::replace(&mut commitment, record.commitment)))
    }
}

fn commitment_to(anchor: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix("vauchi-ohttp-backup-anchor-v1").chain_update(anchor).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use relay_proto::Commitment;
    use relay_proto::anchor::{Rollover as Issued, encode_rollovers, public};

    fn list(records: &[Issued]) -> Vec<AnchorRollover> {
        AnchorRollover::parse_list(&encode_rollovers(records)).unwrap()
    }

    #[test]
    fn rollovers_are_a_chain_or_not() {
        let [first, second, third] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let to = |key: &SigningKey| Commitment::to(&public(key));
        let records = [Issued::issue(&first, to(&second)), Issued::issue(&second, to(&third))];
        assert!(AnchorRollover::is_chain(&list(&records)));
        assert!(!AnchorRollover::is_chain(&list(&[records[0], Issued::issue(&third, to(&second))])));
        assert!(!AnchorRollover::is_chain(&list(&[Issued { next_commitment: to(&third), ..records[0] }])));
    }

    #[test]
    fn a_broken_list_is_refused() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let good = encode_rollovers(&[Issued::issue(&key, Commitment::to(&public(&key)))]);
        let mut other = good.to_vec();
        other[1] = 2;
        for broken in [&[][..], &[1], &good[..good.len() - 1], &[&good[..], &[0]].concat(), &other] {
            assert!(AnchorRollover::parse_list(broken).is_err(), "{} bytes", broken.len());
        }
    }
}
