//! The JSON of requests, and values that nobody used before. Signed requests are made by an
//! [`Owner`](crate::owner::Owner).

pub use relay_client::fields::*;

/// A mailbox that nobody used before.
pub fn random_mailbox() -> String {
    random_name()
}

/// A name of 32 bytes in hex that nobody used before: of a mailbox, a recovery key, a gate, a slot.
pub fn random_name() -> String {
    hex::encode(random_bytes(32))
}

/// Bytes as good as a ciphertext.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}
