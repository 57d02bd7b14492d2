//! Forwarding hints as clients read them.

use crate::bodies::values;
use relay_proto::field::identifier;
use relay_proto::limits::{MAX_CLIENT_URL, MAX_HINTS};
use relay_proto::messages::{Hint, SignedHints};
use relay_proto::{BlobId, PublicKey, Signature, StorageError};
use schemars::JsonSchema;
use serde::Serialize;

/// The field's name and what stands around it.
const FIELD: usize = r#","forwarding_hints":"#.len();

/// Where mail is that lies with other relays and did not come back in time. Signed over the hints in their order, each
/// as the bytes of `blob_id`, `relay_url`, and `expires_at_secs` as 8 bytes, big-endian.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ForwardingHints {
    #[schemars(length(min = 1, max = 32))]
    hints: Vec<ForwardingHint>,
    #[schemars(with = "values::PublicKey")]
    relay_signing_key: String,
    #[schemars(with = "values::Signature")]
    signature: String,
    #[serde(skip)]
    wire_size: usize,
}

/// Where one blob is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ForwardingHint {
    #[schemars(with = "values::BlobId")]
    blob_id: String,
    /// The relay to fetch it from.
    #[schemars(url, length(max = 200), example = "https://peer.example")]
    relay_url: String,
    #[schemars(with = "values::Timestamp")]
    expires_at_secs: u64,
}

impl ForwardingHints {
    /// Reads what storage signed. Returns `None` when that names nothing.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for more hints or longer addresses than there may be, and for a field of a wrong length.
    pub(super) fn read(signed: SignedHints) -> Result<Option<Self>, StorageError> {
        let SignedHints { hints, signing_key, signature } = signed;
        if hints.is_empty() {
            return Ok(None);
        }
        if hints.len() > MAX_HINTS {
            return Err(StorageError::invalid("hints"));
        }
        let write = |Hint { blob_id, relay_url, expires_at }: Hint| {
            if relay_url.len() > MAX_CLIENT_URL {
                return Err(StorageError::invalid("relay_url"));
            }
            let blob_id = identifier::<BlobId>("blob_id", &blob_id)?.to_hex();
            Ok(ForwardingHint { blob_id, relay_url, expires_at_secs: expires_at })
        };
        let mut hints = Self {
            hints: hints.into_iter().map(write).collect::<Result<_, _>>()?,
            relay_signing_key: hex::encode(identifier::<PublicKey>("signing_key", &signing_key)?.as_bytes()),
            signature: hex::encode(identifier::<Signature>("signature", &signature)?.as_bytes()),
            wire_size: 0,
        };
        hints.wire_size = FIELD + serde_json::to_vec(&hints).map_err(|_| StorageError::Internal)?.len();
        Ok(Some(hints))
    }

    /// Bytes of JSON that it takes.
    pub(super) const fn wire_size(&self) -> usize {
        self.wire_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn hints_are_bounded_and_whole() {
        let hint = Hint {
            blob_id: Bytes::from_static(&[4; 16]),
            relay_url: "https://relay.example".to_owned(),
            expires_at: 258,
        };
        let signed = |hint: &Hint, count| SignedHints {
            hints: vec![hint.clone(); count],
            signing_key: Bytes::from_static(&[5; 32]),
            signature: Bytes::from_static(&[6; 64]),
        };
        assert!(ForwardingHints::read(signed(&hint, MAX_HINTS)).unwrap().is_some());
        assert!(ForwardingHints::read(signed(&hint, 0)).unwrap().is_none());
        let nameless = Hint { blob_id: Bytes::new(), ..hint.clone() };
        let far = Hint { relay_url: "a".repeat(MAX_CLIENT_URL + 1), ..hint.clone() };
        for (wrong, field) in [
            (signed(&hint, MAX_HINTS + 1), "hints"),
            (signed(&nameless, 1), "blob_id"),
            (signed(&far, 1), "relay_url"),
            (SignedHints { signing_key: Bytes::new(), ..signed(&hint, 1) }, "signing_key"),
            (SignedHints { signature: Bytes::new(), ..signed(&hint, 1) }, "signature"),
        ] {
            assert_eq!(ForwardingHints::read(wrong).err(), Some(StorageError::invalid(field)));
        }
    }
}
