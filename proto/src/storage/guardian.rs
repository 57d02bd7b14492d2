//! What the designator of a guardian set signs.

use crate::{GuardianHash, PublicKey, UnixSeconds};

/// What a designator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Designating {
    /// Replace the set.
    Store,
    /// Delete the set.
    Delete,
}

impl Designating {
    /// Returns the bytes that the designator with this key signs: a label, the key, its hash and the time.
    pub fn message(self, public_key: &PublicKey, timestamp: UnixSeconds) -> Vec<u8> {
        let label: &[u8] = match self {
            Self::Store => b"guardian-store",
            Self::Delete => b"guardian-delete",
        };
        let hash = GuardianHash::of_public_key(public_key);
        [label, public_key.as_bytes(), hash.as_bytes(), &timestamp.get().to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_designator_signs_label_key_hash_and_time() {
        let key = PublicKey::from_bytes([1; 32]);
        let hash = GuardianHash::of_public_key(&key);
        let rest = [&[1; 32][..], hash.as_bytes(), &[0, 0, 0, 0, 0, 0, 1, 2]].concat();
        for (what, label) in
            [(Designating::Store, "guardian-store"), (Designating::Delete, "guardian-delete")]
        {
            let message = what.message(&key, UnixSeconds::new(0x102));
            assert_eq!(message, [label.as_bytes(), &rest].concat());
        }
    }
}
