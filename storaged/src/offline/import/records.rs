//! What people entrusted to the older relay besides mail: recovery proofs and guardian sets, under the hashes that
//! clients name them by, and with the moment at which they expire.

use crate::offline::import::report::Fate;
use crate::offline::import::source::{self, OldTable};
use crate::offline::import::{ImportPart, Target};
use crate::records::{guardian, recovery};
use bytes::Bytes;
use relay_daemon::Failure;
use relay_proto::limits::MAX_GUARDIANS;
use relay_proto::{GuardianEntry, GuardianHash, RecoveryKeyHash, RecoveryProof, UnixSeconds};
use std::path::Path;

const PROOFS: OldTable = OldTable {
    name: "recovery_proofs",
    columns: &["key_hash", "proof_data", "created_at_secs", "expires_at_secs"],
    of: "recovery proof",
    without: "it has no table of recovery proofs that is understood",
};

const GUARDIANS: OldTable = OldTable {
    name: "guardian_sets",
    columns: &["guardian_hash", "entries_data", "created_at_secs", "expires_at_secs"],
    of: "guardian set",
    without: "it has no table of guardian sets that is understood",
};

/// From when to when a row lives here, in full hours.
struct Lifetime {
    created: UnixSeconds,
    expires: UnixSeconds,
}

/// Takes recovery proofs over.
pub(crate) fn take_proofs(
    target: &mut Target,
    file: &Path,
    heard: &mut dyn FnMut(u64, u64),
) -> Result<ImportPart, Failure> {
    let now = target.now;
    source::take(target, file, &PROOFS, heard, |write, row| {
        let name = RecoveryKeyHash::try_from(row.name.as_slice()).ok();
        let proof = RecoveryProof::try_from(Bytes::from(row.content)).ok();
        let (Some(name), Some(proof), Some(life)) =
            (name, proof, Lifetime::of(row.created, row.expires, now))
        else {
            return Ok(Fate::Malformed);
        };
        if life.expires <= now {
            return Ok(Fate::Expired);
        }
        let is_new = recovery::take_over(write, &name.name(), &proof, life.created, life.expires, now)?;
        Ok(if is_new { Fate::Taken } else { Fate::Known })
    })
}

/// Takes guardian sets over. Their entries are base64 in a JSON array.
pub(crate) fn take_guardians(
    target: &mut Target,
    file: &Path,
    heard: &mut dyn FnMut(u64, u64),
) -> Result<ImportPart, Failure> {
    let now = target.now;
    source::take(target, file, &GUARDIANS, heard, |write, row| {
        let name = GuardianHash::try_from(row.name.as_slice()).ok();
        let (Some(name), Some(entries), Some(life)) =
            (name, entries(&row.content), Lifetime::of(row.created, row.expires, now))
        else {
            return Ok(Fate::Malformed);
        };
        if life.expires <= now {
            return Ok(Fate::Expired);
        }
        let is_new = guardian::take_over(write, &name.name(), &entries, life.expires, now)?;
        Ok(if is_new { Fate::Taken } else { Fate::Known })
    })
}

impl Lifetime {
    fn of(created: Option<u64>, expires: Option<u64>, now: UnixSeconds) -> Option<Self> {
        let (created, expires) = (UnixSeconds::new(created?), UnixSeconds::new(expires?));
        Some(Self { created: created.min(now).hour_floor(), expires: expires.hour_ceil() })
    }
}

fn entries(json: &[u8]) -> Option<Vec<GuardianEntry>> {
    let texts: Vec<String> = serde_json::from_slice(json).ok()?;
    if texts.is_empty() || texts.len() > MAX_GUARDIANS {
        return None;
    }
    texts.iter().map(|text| GuardianEntry::from_base64(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_base64_in_an_array_and_nothing_else() {
        let read = entries(br#"["AQI=",""]"#).unwrap();
        assert_eq!((read.len(), read[0].as_bytes().as_ref()), (2, &[1, 2][..]));
        let many = format!("[{}]", ["\"\""; MAX_GUARDIANS + 1].join(","));
        for wrong in ["[]", "{}", "[1]", "[\"?\"]", "", many.as_str()] {
            assert!(entries(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_life_is_told_in_hours_and_does_not_begin_in_the_future() {
        let now = UnixSeconds::new(10_000);
        let life = Lifetime::of(Some(20_000), Some(20_000), now).unwrap();
        assert_eq!((life.created.get(), life.expires.get()), (7200, 21_600));
        assert!(Lifetime::of(None, Some(1), now).is_none() && Lifetime::of(Some(1), None, now).is_none());
    }
}
