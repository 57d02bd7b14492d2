//! Blobs as relays pass them on.

use super::message::{Blob, BlobName};
use crate::deadline::unix_now;
use crate::fields::random_bytes;
use sha2::{Digest as _, Sha256};

/// Seconds that a blob of a test lives.
const LIFETIME: u64 = 86_400;

/// The id of a ciphertext in a mailbox: 16 bytes.
pub fn id(mailbox: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let hash =
        Sha256::new_with_prefix("vauchi-relay/blob/v1\0").chain_update(mailbox).chain_update(ciphertext);
    hash.finalize()[..16].to_vec()
}

/// The name under which relays know a client's mailbox, which is 32 bytes in hex.
///
/// # Panics
/// When it is not hex.
pub fn mailbox_name(mailbox: &str) -> Vec<u8> {
    let token = hex::decode(mailbox).expect("a mailbox in hex");
    Sha256::new_with_prefix("vauchi-relay/mailbox/v1\0").chain_update(token).finalize().to_vec()
}

impl Blob {
    /// A blob that was created this hour and makes its first move.
    pub fn new(mailbox: &[u8], ciphertext: &[u8]) -> Self {
        // Relays remember whole hours.
        let hour = unix_now() / 3600 * 3600;
        Self {
            mailbox: mailbox.to_vec(),
            blob_id: id(mailbox, ciphertext),
            ciphertext: ciphertext.to_vec(),
            origin_hint: None,
            created_at: hour,
            expires_at: hour + LIFETIME,
            owner: None,
            content_hash: Sha256::digest(ciphertext).to_vec(),
            hop_count: 1,
        }
    }

    /// A blob of so many bytes in a mailbox of its own.
    pub fn random(bytes: usize) -> Self {
        Self::new(&random_bytes(32), &random_bytes(bytes))
    }

    /// Its name.
    pub fn name(&self) -> BlobName {
        BlobName { mailbox: self.mailbox.clone(), blob_id: self.blob_id.clone() }
    }

    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        if self.mailbox.len() != 32 {
            return Some("a mailbox that is not 32 bytes");
        }
        if self.blob_id != id(&self.mailbox, &self.ciphertext) {
            return Some("an id that does not fit the ciphertext");
        }
        if self.content_hash != Sha256::digest(&self.ciphertext).as_slice() {
            return Some("a hash that does not fit the ciphertext");
        }
        if self.expires_at < self.created_at {
            return Some("an end before the beginning");
        }
        None
    }
}
