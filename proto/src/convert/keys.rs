//! Messages of the keys service, and what the operator may know of keys.

use super::{bytes_of, identifier};
use crate::admin::{CertificateTimes, KeyStatus, WindowStatus};
use crate::keys::{KeySet, KeyWindow, SignedRecord};
use crate::{Refusal, UnixSeconds, key_record, wire};

impl TryFrom<wire::KeySet> for KeySet {
    type Error = Refusal;

    fn try_from(message: wire::KeySet) -> Result<Self, Refusal> {
        let wire::KeySet { window_secs, refresh_secs, windows, records, rollovers } = message;
        if window_secs == 0 {
            return Err(Refusal::invalid("window_secs"));
        }
        if refresh_secs == 0 {
            return Err(Refusal::invalid("refresh_secs"));
        }
        let windows = windows.into_iter().map(|wire::KeyWindow { number, seed }| {
            Ok(KeyWindow { number, seed: identifier("seed", &seed)? })
        });
        let records =
            records.into_iter().map(|wire::SignedRecord { day, window, record, certified_until }| {
                if record.len() > key_record::LONGEST {
                    return Err(Refusal::invalid("record"));
                }
                Ok(SignedRecord { day, window, record, certified_until: UnixSeconds::new(certified_until) })
            });
        Ok(Self {
            window_secs,
            refresh_secs,
            windows: windows.collect::<Result<_, Refusal>>()?,
            records: records.collect::<Result<_, Refusal>>()?,
            rollovers,
        })
    }
}

impl From<KeySet> for wire::KeySet {
    fn from(set: KeySet) -> Self {
        let KeySet { window_secs, refresh_secs, windows, records, rollovers } = set;
        Self {
            window_secs,
            refresh_secs,
            windows: windows
                .into_iter()
                .map(|KeyWindow { number, seed }| wire::KeyWindow { number, seed: bytes_of(seed.as_bytes()) })
                .collect(),
            records: records
                .into_iter()
                .map(|SignedRecord { day, window, record, certified_until }| wire::SignedRecord {
                    day,
                    window,
                    record,
                    certified_until: certified_until.get(),
                })
                .collect(),
            rollovers,
        }
    }
}

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
    use crate::{PublicKey, WindowSeed};
    use bytes::Bytes;

    #[test]
    fn keys_survive_the_wire_and_a_window_has_a_length() {
        let set = KeySet {
            window_secs: 10,
            refresh_secs: 1,
            windows: vec![KeyWindow { number: 7, seed: WindowSeed::from_bytes([7; 32]) }],
            records: vec![SignedRecord {
                day: 1,
                window: 7,
                record: Bytes::from_static(b"record"),
                certified_until: UnixSeconds::new(9),
            }],
            rollovers: Bytes::from_static(b"rollovers"),
        };
        let message = wire::KeySet::from(set.clone());
        assert_eq!(KeySet::try_from(message.clone()), Ok(set));
        let timeless = wire::KeySet { window_secs: 0, ..message };
        assert_eq!(KeySet::try_from(timeless), Err(Refusal::invalid("window_secs")));
    }

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
