//! Forwarding hints as clients read them.

use relay_proto::mail::{Hint, SignedHints};
use serde::Serialize;

/// The field's name and what stands around it.
const FIELD: usize = r#","forwarding_hints":"#.len();

/// Where blobs are that are not in the page, and the relay's word for it.
#[derive(Debug, Serialize)]
pub(super) struct ForwardingHints {
    hints: Vec<ForwardingHint>,
    relay_signing_key: String,
    signature: String,
    #[serde(skip)]
    wire_size: usize,
}

#[derive(Debug, Serialize)]
struct ForwardingHint {
    blob_id: String,
    relay_url: String,
    expires_at_secs: u64,
}

impl ForwardingHints {
    /// Of what storage signed; `None` when that names nothing.
    pub(super) fn of(signed: SignedHints) -> Option<Self> {
        let SignedHints { hints, signing_key, signature } = signed;
        if hints.is_empty() {
            return None;
        }
        let write = |Hint { blob_id, relay_url, expires_at }: Hint| ForwardingHint {
            blob_id: blob_id.to_hex(),
            relay_url,
            expires_at_secs: expires_at.get(),
        };
        let mut hints = Self {
            hints: hints.into_iter().map(write).collect(),
            relay_signing_key: hex::encode(signing_key.as_bytes()),
            signature: hex::encode(signature.as_bytes()),
            wire_size: 0,
        };
        hints.wire_size = FIELD + serde_json::to_vec(&hints).ok()?.len();
        Some(hints)
    }

    /// Bytes of JSON that it takes.
    pub(super) const fn wire_size(&self) -> usize {
        self.wire_size
    }
}
