//! Guardian sets as gateway and storage speak of them.

use crate::caller::Caller;
use crate::{GuardianEntry, GuardianHash, GuardianName, PublicKey, RequestId, Signature, UnixSeconds};

/// Proof that the designator of a set asks. The set's name follows from the key.
#[derive(Debug, Clone)]
pub struct Designation {
    /// The designator's key.
    pub public_key: PublicKey,
    /// When it was signed.
    pub timestamp: UnixSeconds,
    /// Over [`Designation::message`]; used once.
    pub signature: Signature,
}

/// What a designator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Designating {
    /// Replace the set.
    Store,
    /// Delete the set.
    Delete,
}

impl Designation {
    /// The bytes that the designator signs.
    pub fn message(&self, what: Designating) -> Vec<u8> {
        let label: &[u8] = match what {
            Designating::Store => b"guardian-store",
            Designating::Delete => b"guardian-delete",
        };
        let mut message = label.to_vec();
        message.extend_from_slice(self.public_key.as_bytes());
        message.extend_from_slice(GuardianHash::of_public_key(&self.public_key).as_bytes());
        message.extend_from_slice(&self.timestamp.get().to_be_bytes());
        message
    }

    /// The set's name.
    pub fn set(&self) -> GuardianName {
        GuardianHash::of_public_key(&self.public_key).name()
    }
}

/// Replaces a set.
#[derive(Debug, Clone)]
pub struct StoreGuardians {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry finds it done.
    pub request_id: RequestId,
    /// The designator's proof.
    pub designation: Designation,
    /// The whole set, at most [`crate::limits::MAX_GUARDIANS`].
    pub entries: Vec<GuardianEntry>,
}

/// Asks for a set.
#[derive(Debug, Clone)]
pub struct QueryGuardians {
    /// Who is charged.
    pub caller: Caller,
    /// Which set.
    pub set: GuardianName,
}

/// Deletes a set.
#[derive(Debug, Clone)]
pub struct DeleteGuardians {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry finds it done.
    pub request_id: RequestId,
    /// The designator's proof.
    pub designation: Designation,
}
