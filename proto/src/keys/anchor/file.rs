//! The public file of an offline anchor, `anchor.json`: what the operator's offline machine writes and the relay
//! reads. It holds nothing secret; the keys lie beside it in files of their own.

use super::{Certificate, Rollover};
use crate::{Commitment, PublicKey, Signature, UnixSeconds};
use serde::{Deserialize, Serialize};

/// Name of the public file.
pub const PUBLIC_FILE: &str = "anchor.json";
/// Name of the file with the intermediate key's seed. The only secret that a relay needs.
pub const INTERMEDIATE_FILE: &str = "intermediate.key";

/// An anchor and what it signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorFile {
    /// The anchor that clients pin.
    pub anchor: PublicKey,
    /// To its backup.
    pub commitment: Commitment,
    /// For intermediate keys.
    pub certificates: Vec<Certificate>,
    /// How this anchor came to be one, oldest first.
    pub rollovers: Vec<Rollover>,
}

/// Why the file cannot be used. Its content is public, so the reason may be told.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not the JSON it should be.
    #[error("it is not an anchor file: {0}")]
    Json(#[from] serde_json::Error),
    /// A key, commitment, signature or record is not hex of the right length.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// Somebody else signed a certificate in it.
    #[error("a certificate in it is not signed by the anchor in it")]
    ForeignCertificate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorJson {
    anchor: String,
    commitment: String,
    certificates: Vec<WrittenCertificate>,
    rollovers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCertificate {
    intermediate: String,
    not_before: u64,
    not_after: u64,
    signature: String,
}

impl AnchorFile {
    /// Reads the file's text and checks its signatures.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn read(text: &str) -> Result<Self, Unusable> {
        let AnchorJson { anchor, commitment, certificates, rollovers } = serde_json::from_str(text)?;
        let anchor = PublicKey::from_hex(&anchor).map_err(|_| Unusable::Malformed("anchor"))?;
        let certificates = certificates
            .into_iter()
            .map(|written| {
                let malformed = |field| move |_| Unusable::Malformed(field);
                let certificate = Certificate {
                    intermediate: PublicKey::from_hex(&written.intermediate)
                        .map_err(malformed("intermediate"))?,
                    not_before: UnixSeconds::new(written.not_before),
                    not_after: UnixSeconds::new(written.not_after),
                    signature: Signature::from_hex(&written.signature).map_err(malformed("signature"))?,
                };
                if certificate.is_by(&anchor) { Ok(certificate) } else { Err(Unusable::ForeignCertificate) }
            })
            .collect::<Result<_, _>>()?;
        let rollovers = rollovers
            .iter()
            .map(|record| {
                let bytes = hex::decode(record).map_err(|_| Unusable::Malformed("rollovers"))?;
                Rollover::parse(&bytes).map_err(|_| Unusable::Malformed("rollovers"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            anchor,
            commitment: Commitment::from_hex(&commitment).map_err(|_| Unusable::Malformed("commitment"))?,
            certificates,
            rollovers,
        })
    }

    /// Writes the file's text.
    ///
    /// # Errors
    /// Never: nothing in it can fail to be JSON. The library says so, not we.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        let written = AnchorJson {
            anchor: hex::encode(self.anchor.as_bytes()),
            commitment: hex::encode(self.commitment.as_bytes()),
            certificates: self
                .certificates
                .iter()
                .map(|certificate| WrittenCertificate {
                    intermediate: hex::encode(certificate.intermediate.as_bytes()),
                    not_before: certificate.not_before.get(),
                    not_after: certificate.not_after.get(),
                    signature: hex::encode(certificate.signature.as_bytes()),
                })
                .collect(),
            rollovers: self.rollovers.iter().map(|record| hex::encode(record.encode())).collect(),
        };
        Ok(serde_json::to_string_pretty(&written)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::public;
    use ed25519_dalek::SigningKey;

    fn file() -> AnchorFile {
        let [anchor, backup, intermediate] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let commitment = Commitment::to(&public(&backup));
        let certificate = Certificate::issue(
            &anchor,
            &public(&intermediate),
            UnixSeconds::new(5),
            UnixSeconds::new(u64::MAX),
        );
        AnchorFile {
            anchor: public(&anchor),
            commitment,
            certificates: vec![certificate],
            rollovers: vec![Rollover::issue(&anchor, commitment)],
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        assert_eq!(AnchorFile::read(&file().write().unwrap()).unwrap(), file());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let text = file().write().unwrap();
        let read = |text: &str| AnchorFile::read(text).unwrap_err().to_string();
        assert!(read("{}").contains("missing field"));
        assert!(
            read(&text.replacen("\"anchor\": \"", "\"anchor\": \"00", 1)).contains("anchor is malformed")
        );
        assert!(read(&text.replace("\"not_before\": 5", "\"not_before\": 6")).contains("not signed by"));
    }
}
