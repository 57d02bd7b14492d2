//! Recovery proofs as gateway and storage speak of them.

use crate::caller::Caller;
use crate::{RecoveryName, RecoveryProof, RequestId, UnixSeconds};

/// Stores a proof, in place of the one before.
#[derive(Debug, Clone)]
pub struct StoreProof {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a message that is brought again replaces nothing.
    pub request_id: RequestId,
    /// Where it goes.
    pub key: RecoveryName,
    /// What it is.
    pub proof: RecoveryProof,
}

/// Asks for the proofs under some keys.
#[derive(Debug, Clone)]
pub struct QueryProofs {
    /// Who is charged.
    pub caller: Caller,
    /// Which keys, at most [`crate::limits::MAX_RECOVERY_KEYS`].
    pub keys: Vec<RecoveryName>,
}

/// A proof as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProof {
    /// Which of the keys that were asked for: a position in [`QueryProofs::keys`].
    pub key_index: usize,
    /// The proof.
    pub proof: RecoveryProof,
    /// The hour in which it was stored.
    pub created_at: UnixSeconds,
    /// The hour in which it goes.
    pub expires_at: UnixSeconds,
}
