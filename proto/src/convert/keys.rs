//! What the operator may know of keys.

use super::{bytes_of, identifier};
use crate::admin::{CertificateTimes, KeyStatus, WindowStatus};
use crate::{Refusal, UnixSeconds, wire};

impl TryFrom<wire::KeyStatus> for KeyStatus {
    type Error = Refusal;

    fn try_from(message: wire::KeyStatus) -> Result<Self, Refusal> {
        let wire::KeyStatus {
            window_secs,
            windows,
            self_anchored,
            anchor,
            commitment,
            certificates,
            problem,
        } = message;
        let windows = windows.into_iter().map(|wire::WindowStatus { number, fingerprint }| {
            let fingerprint = fingerprint.as_ref().try_into().map_err(|_| Refusal::invalid("fingerprint"))?;
            Ok(WindowStatus { number, fingerprint })
        });
        Ok(Self {
            window_secs,
            windows: windows.collect::<Result<_, Refusal>>()?,
            self_anchored,
            anchor: if anchor.is_empty() { None } else { Some(identifier("anchor", &anchor)?) },
            commitment: if commitment.is_empty() {
                None
            } else {
                Some(identifier("commitment", &commitment)?)
            },
            certificates: certificates
                .into_iter()
                .map(|wire::CertificateStatus { not_before, not_after }| CertificateTimes {
                    not_before: UnixSeconds::new(not_before),
                    not_after: UnixSeconds::new(not_after),
                })
                .collect(),
            problem: if problem.is_empty() { None } else { Some(problem) },
        })
    }
}

impl From<KeyStatus> for wire::KeyStatus {
    fn from(status: KeyStatus) -> Self {
        let KeyStatus { window_secs, windows, self_anchored, anchor, commitment, certificates, problem } =
            status;
        Self {
            window_secs,
            windows: windows
                .into_iter()
                .map(|WindowStatus { number, fingerprint }| wire::WindowStatus {
                    number,
                    fingerprint: bytes_of(&fingerprint),
                })
                .collect(),
            self_anchored,
            anchor: anchor.map(|key| bytes_of(key.as_bytes())).unwrap_or_default(),
            commitment: commitment.map(|hash| bytes_of(hash.as_bytes())).unwrap_or_default(),
            certificates: certificates
                .into_iter()
                .map(|CertificateTimes { not_before, not_after }| wire::CertificateStatus {
                    not_before: not_before.get(),
                    not_after: not_after.get(),
                })
                .collect(),
            problem: problem.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PublicKey;

    #[test]
    fn a_status_survives_the_wire() {
        let status = KeyStatus {
            window_secs: 86_400,
            windows: vec![WindowStatus { number: 3, fingerprint: [1; 32] }],
            self_anchored: true,
            anchor: Some(PublicKey::from_bytes([2; 32])),
            commitment: None,
            certificates: vec![CertificateTimes {
                not_before: UnixSeconds::new(1),
                not_after: UnixSeconds::new(2),
            }],
            problem: Some("why".to_owned()),
        };
        assert_eq!(KeyStatus::try_from(wire::KeyStatus::from(status.clone())), Ok(status));
    }
}
