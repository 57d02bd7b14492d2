//! Who vouches for the relay's keys: the relay itself, or an operator's anchor that is kept offline.

use crate::db::StoreError;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use relay_proto::anchor::file::{AnchorFile, INTERMEDIATE_FILE, PUBLIC_FILE};
use relay_proto::anchor::{Certificate, encode_rollovers, public};
use relay_proto::key_record::KeyRecord;
use relay_proto::messages::SignedRecord;
use relay_proto::{Commitment, PublicKey, UnixSeconds};
use std::path::Path;

/// How long the relay certifies itself for.
const OWN_DAYS: u64 = 90;
/// How long before its end a certificate of the relay's own is renewed.
const RENEW_DAYS: u64 = 30;
const DAY: u64 = 86_400;
/// How far into the past a fresh certificate reaches, for clients whose clocks are behind.
const TOLERANCE_SECS: u64 = 3600;

/// What signs key records, and what clients know it by.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    /// Whether the relay is its own anchor.
    pub(crate) self_anchored: bool,
    /// What clients pin.
    pub(crate) anchor: PublicKey,
    /// To the anchor's backup.
    pub(crate) commitment: Option<Commitment>,
    /// For the intermediate key, in the order of their end.
    pub(crate) certificates: Vec<Certificate>,
    /// The body of the rollover endpoint; empty when there was no rollover.
    pub(crate) rollovers: Bytes,
    /// The intermediate key. Its `Debug` shows the public half only.
    pub(crate) intermediate: SigningKey,
}

/// Returns the certificate that the relay issues to itself at a moment, if none of the known ones holds for long enough.
pub(crate) fn due(
    certificates: &[Certificate],
    anchor: &SigningKey,
    intermediate: &SigningKey,
    now: UnixSeconds,
) -> Option<Certificate> {
    let lasting = now.plus(RENEW_DAYS * DAY);
    if certificates.iter().any(|known| known.not_after > lasting && known.holds_at(now)) {
        return None;
    }
    let not_before = now.hour_floor().minus(TOLERANCE_SECS);
    let not_after = now.hour_floor().plus(OWN_DAYS * DAY);
    Some(Certificate::issue(anchor, &public(intermediate), not_before, not_after))
}

impl Signer {
    /// The relay as its own anchor.
    pub(crate) fn own(anchor: &SigningKey, intermediate: SigningKey, certificates: Vec<Certificate>) -> Self {
        Self {
            self_anchored: true,
            anchor: public(anchor),
            commitment: None,
            certificates,
            rollovers: Bytes::new(),
            intermediate,
        }
    }

    /// An offline anchor, from the files that its operator copied here.
    ///
    /// # Errors
    /// With the path, what is wrong and what mends it.
    pub(crate) fn offline(directory: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).map(|text| (path.clone(), text)).map_err(|error| {
                format!(
                    "cannot read {}: {error}; copy anchor.json and intermediate.key from the anchor's machine, or \
                     unset RELAY_ANCHOR_DIR",
                    path.display()
                )
            })
        };
        let (path, text) = read(PUBLIC_FILE)?;
        let file = AnchorFile::read(&text)
            .map_err(|problem| format!("{} cannot be used: {problem}", path.display()))?;
        let (path, text) = read(INTERMEDIATE_FILE)?;
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim(), &mut seed)
            .map_err(|_| format!("{} cannot be used: it must hold 64 hexadecimal digits", path.display()))?;
        let intermediate = SigningKey::from_bytes(&seed);
        let AnchorFile { anchor, commitment, certificates, rollovers } = file;
        let ours = public(&intermediate);
        let mut certificates: Vec<_> =
            certificates.into_iter().filter(|certificate| certificate.intermediate == ours).collect();
        if certificates.is_empty() {
            return Err(format!(
                "{} certifies another key than the one in {}; copy both files of one `relay anchor certify`",
                directory.join(PUBLIC_FILE).display(),
                path.display()
            ));
        }
        certificates.sort_by_key(|certificate| certificate.not_after);
        let rollovers = if rollovers.is_empty() { Bytes::new() } else { encode_rollovers(&rollovers) };
        Ok(Self {
            self_anchored: false,
            anchor,
            commitment: Some(commitment),
            certificates,
            rollovers,
            intermediate,
        })
    }

    /// Signs the record of a window's key configuration for a day, if a certificate holds when it is shown first.
    ///
    /// # Errors
    /// When the configuration has not this window's id: a fault of the relay.
    pub(crate) fn sign(
        &self,
        day: u64,
        window: u64,
        config: Bytes,
        begins: UnixSeconds,
    ) -> Result<Option<SignedRecord>, StoreError> {
        let Some(certificate) = self.certificate_at(begins) else { return Ok(None) };
        // With windows of a day, this is the day. A key's id is its window modulo 256, and clients hold the record to it.
        let signed = KeyRecord::sign(window, config, &self.intermediate, *certificate);
        let record = signed.ok_or(StoreError::Internal(0))?.encode();
        Ok(Some(SignedRecord { day, window, record, certified_until: certificate.not_after.get() }))
    }

    /// The certificate to show at a moment: of those that hold, the one that ends last.
    fn certificate_at(&self, moment: UnixSeconds) -> Option<&Certificate> {
        self.certificates.iter().rev().find(|certificate| certificate.holds_at(moment))
    }
}
