//! Keys of this relay, and the windows in which those for Oblivious HTTP are valid.

pub(crate) mod keyring;
pub(crate) mod keys;
pub(crate) mod signer;
mod turn;
