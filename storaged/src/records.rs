//! What clients entrust to the relay besides mail: recovery proofs, exchanges, guardian sets, escrow.

pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod guardian;
pub(crate) mod guess;
pub(crate) mod guess_limiter;
pub(crate) mod recovery;
