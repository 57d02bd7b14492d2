//! Names of mail, and blobs as pages count them.

use crate::field::identifier;
use crate::{BlobId, MailboxHash, StorageError, messages, page, peer_messages};

pub use crate::caller::Caller;

/// A blob by its mailbox and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName {
    /// Where it lies.
    pub mailbox: MailboxHash,
    /// Its name.
    pub blob_id: BlobId,
}

impl BlobName {
    /// Reads the two fields by which every message names a blob.
    fn read(mailbox: &[u8], blob_id: &[u8]) -> Result<Self, StorageError> {
        Ok(Self { mailbox: identifier("mailbox", mailbox)?, blob_id: identifier("blob_id", blob_id)? })
    }
}

/// Every message that is the name of a blob.
macro_rules! named {
    ($($message:path),*) => {$(
        impl TryFrom<$message> for BlobName {
            type Error = StorageError;

            fn try_from(message: $message) -> Result<Self, StorageError> {
                let $message { mailbox, blob_id } = message;
                Self::read(&mailbox, &blob_id)
            }
        }

        impl From<BlobName> for $message {
            fn from(BlobName { mailbox, blob_id }: BlobName) -> Self {
                Self { mailbox: mailbox.into(), blob_id: blob_id.into() }
            }
        }
    )*};
}

named!(messages::MailboxBlob, messages::BlobName, peer_messages::BlobName);

impl messages::Blob {
    /// Whether it fits a page of mail.
    #[must_use]
    pub fn fits_page(&self) -> bool {
        page::fits(self.ciphertext.len() + self.origin_hint.as_ref().map_or(0, bytes::Bytes::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_name_survives_the_wire_and_must_be_whole() {
        let name =
            BlobName { mailbox: MailboxHash::from_bytes([2; 32]), blob_id: BlobId::from_bytes([4; 16]) };
        let message = messages::MailboxBlob::from(name);
        assert_eq!(BlobName::try_from(message.clone()), Ok(name));
        let wrong = messages::MailboxBlob { blob_id: Bytes::from_static(&[4; 15]), ..message };
        assert_eq!(BlobName::try_from(wrong), Err(StorageError::invalid("blob_id")));
    }

    #[test]
    fn a_blob_fits_a_page_with_its_hint_or_not_at_all() {
        let sized = |ciphertext, hint: Option<usize>| messages::Blob {
            ciphertext: Bytes::from(vec![0; ciphertext]),
            origin_hint: hint.map(|bytes| Bytes::from(vec![0; bytes])),
            ..Default::default()
        };
        assert!(sized(page::LARGEST, None).fits_page() && sized(page::LARGEST - 74, Some(74)).fits_page());
        assert!(
            !sized(page::LARGEST + 1, None).fits_page() && !sized(page::LARGEST - 73, Some(74)).fits_page()
        );
    }
}
