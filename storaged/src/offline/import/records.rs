//! What people entrusted to the older relay besides mail: recovery proofs and guardian sets, under the hashes that
//! clients name them by, and with the moment at which they expire.

use crate::db::{StoreError, Write};
use crate::offline::import::report::Fate;
use crate::offline::import::source::{self, Source};
use crate::offline::import::{ImportPart, Target};
use crate::records::{guardian, recovery};
use bytes::Bytes;
use relay_daemon::Failure;
use relay_proto::limits::MAX_GUARDIANS;
use relay_proto::{GuardianEntry, GuardianHash, RecoveryKeyHash, RecoveryProof, UnixSeconds};
use rusqlite::Connection;
use std::path::Path;

/// A row as it was found.
struct Row {
    name: Vec<u8>,
    content: Vec<u8>,
    created: Option<u64>,
    expires: Option<u64>,
}

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
    let columns = ["key_hash", "proof_data", "created_at_secs", "expires_at_secs"];
    let Some(source) = Source::open(file, "recovery_proofs", &columns)? else {
        return Ok(ImportPart::left("it has no table of recovery proofs that is understood"));
    };
    let statement = "SELECT key_hash, proof_data, created_at_secs, expires_at_secs
                     FROM recovery_proofs WHERE rowid = ?1";
    let now = target.now;
    let tally = go_through(target, source, statement, heard, |write, row| {
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
    })?;
    Ok(ImportPart::Read { of: "recovery proof", tally })
}

/// Takes guardian sets over. Their entries are base64 in a JSON array.
pub(crate) fn take_guardians(
    target: &mut Target,
    file: &Path,
    heard: &mut dyn FnMut(u64, u64),
) -> Result<ImportPart, Failure> {
    let columns = ["guardian_hash", "entries_data", "created_at_secs", "expires_at_secs"];
    let Some(source) = Source::open(file, "guardian_sets", &columns)? else {
        return Ok(ImportPart::left("it has no table of guardian sets that is understood"));
    };
    let statement = "SELECT guardian_hash, entries_data, created_at_secs, expires_at_secs
                     FROM guardian_sets WHERE rowid = ?1";
    let now = target.now;
    let tally = go_through(target, source, statement, heard, |write, row| {
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
    })?;
    Ok(ImportPart::Read { of: "guardian set", tally })
}

fn go_through(
    target: &mut Target,
    source: Source,
    statement: &str,
    heard: &mut dyn FnMut(u64, u64),
    store: impl FnMut(&mut Write<'_>, Row) -> Result<Fate, StoreError>,
) -> Result<super::ImportTally, Failure> {
    let Source { sql, rows } = source;
    let all = rows.len() as u64;
    let mut rows = rows.into_iter();
    let next = || {
        let Some(row) = rows.next() else { return Ok(None) };
        let row = read(&sql, statement, row)?;
        let size = row.content.len();
        Ok(Some((row, size)))
    };
    target.write_all(next, store, |done| heard(done, all))
}

fn read(sql: &Connection, statement: &str, row: i64) -> Result<Row, StoreError> {
    let mut statement = sql.prepare_cached(statement)?;
    let read = statement.query_row([row], |row| {
        let bytes = |column| source::bytes(row, column).map(<[u8]>::to_vec).unwrap_or_default();
        Ok(Row {
            name: bytes(0),
            content: bytes(1),
            created: source::seconds(row, 2),
            expires: source::seconds(row, 3),
        })
    });
    Ok(read?)
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
