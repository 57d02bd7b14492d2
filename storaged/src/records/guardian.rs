//! The `guardian_sets` table: whom people chose to vouch for them, sealed. One row a set, as a set is always
//! replaced and read whole.

use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::sql::{count, moment};
use crate::limits::shares::{Kind, Payment};
use bytes::Bytes;
use relay_proto::{GuardianEntry, GuardianName, Ttl, UnixSeconds};
use rusqlite::{Connection, OptionalExtension as _, params};

/// How long a set is kept.
const LIFE: Ttl = Ttl::from_secs(365 * 86_400);

/// Sets that fit beside the mail: one for each 16 KiB of the database's ceiling. Six times what the largest
/// takes.
const BYTES_EACH: u64 = 16 << 10;

/// Replaces a set. An empty one is the same as none. Only a new name is paid for.
pub(crate) fn store(
    write: &mut Write<'_>,
    name: &GuardianName,
    entries: &[GuardianEntry],
    now: UnixSeconds,
    payment: Payment<'_>,
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return delete(write, name);
    }
    write.expect_room()?;
    let (packed, expires) = (pack(entries), moment(LIFE.expiry(now)));
    let replaced = write
        .sql
        .prepare_cached("UPDATE guardian_sets SET entries = ?2, expires = ?3 WHERE name = ?1")?
        .execute(params![name.as_bytes(), packed, expires])?;
    if replaced > 0 {
        return Ok(());
    }
    let (held, change) = (write.gauges.guardian_sets(), write.change.guardian_sets);
    write.expect_place(held, change, BYTES_EACH)?;
    payment.row(Kind::GuardianSets, write.space(held, change, BYTES_EACH), write.gauges, packed.len())?;
    write
        .sql
        .prepare_cached("INSERT INTO guardian_sets (name, entries, expires) VALUES (?1, ?2, ?3)")?
        .execute(params![name.as_bytes(), packed, expires])?;
    write.change.guardian_sets += 1;
    Ok(())
}

/// Keeps a set that came from another relay, with its own end, unless there is one of its name. Answers whether it is
/// new.
pub(crate) fn take_over(
    write: &mut Write<'_>,
    name: &GuardianName,
    entries: &[GuardianEntry],
    expires: UnixSeconds,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let expires = expires.min(LIFE.expiry(now));
    write.expect_place(write.gauges.guardian_sets(), write.change.guardian_sets, BYTES_EACH)?;
    let fresh = write
        .sql
        .prepare_cached("INSERT OR IGNORE INTO guardian_sets (name, entries, expires) VALUES (?1, ?2, ?3)")?
        .execute(params![name.as_bytes(), pack(entries), moment(expires)])?;
    write.change.guardian_sets += count(fresh as u64);
    Ok(fresh > 0)
}

/// Deletes a set, from the log as well before anybody is told.
pub(crate) fn delete(write: &mut Write<'_>, name: &GuardianName) -> Result<(), StoreError> {
    write.answer_after_erasure();
    remove(write, name)
}

/// Deletes a set. The caller sees to the log.
pub(crate) fn remove(write: &mut Write<'_>, name: &GuardianName) -> Result<(), StoreError> {
    let deleted =
        write.sql.prepare_cached("DELETE FROM guardian_sets WHERE name = ?1")?.execute([name.as_bytes()])?;
    write.change.guardian_sets -= count(deleted as u64);
    Ok(())
}

/// Reads a set. One that is not there is empty.
pub(crate) fn query(
    sql: &Connection,
    name: &GuardianName,
    now: UnixSeconds,
) -> Result<Vec<GuardianEntry>, StoreError> {
    let packed = sql
        .prepare_cached("SELECT entries FROM guardian_sets WHERE name = ?1 AND expires > ?2")?
        .query_row(params![name.as_bytes(), moment(now)], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    unpack(Bytes::from(packed.unwrap_or_default())).ok_or(StoreError::Corrupt(0))
}

/// Deletes up to `limit` sets whose time has passed. Answers how many.
pub(crate) fn expire(write: &mut Write<'_>, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let expired = write
        .sql
        .prepare_cached(
            "DELETE FROM guardian_sets WHERE name IN
                 (SELECT name FROM guardian_sets WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![moment(now), limit])? as u64;
    write.change.guardian_sets -= count(expired);
    Ok(expired)
}

/// Each entry behind its length.
#[expect(clippy::cast_possible_truncation, reason = "an entry has 256 bytes at most")]
fn pack(entries: &[GuardianEntry]) -> Vec<u8> {
    let mut packed = Vec::new();
    for entry in entries {
        packed.extend_from_slice(&(entry.as_bytes().len() as u16).to_be_bytes());
        packed.extend_from_slice(entry.as_bytes());
    }
    packed
}

fn unpack(mut packed: Bytes) -> Option<Vec<GuardianEntry>> {
    let mut entries = Vec::new();
    while let Some(length) = packed.first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let rest = packed.split_off(2);
        if length > rest.len() {
            return None;
        }
        packed = rest;
        entries.push(GuardianEntry::try_from(packed.split_to(length)).ok()?);
    }
    packed.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(contents: &[Vec<u8>]) -> Vec<GuardianEntry> {
        contents
            .iter()
            .map(|content| GuardianEntry::try_from(Bytes::from(content.clone())).unwrap())
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_unpacked(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=256), 0..=10),
        ) {
            let set = entries(&contents);
            prop_assert_eq!(unpack(Bytes::from(pack(&set))), Some(set));
        }

        #[test]
        fn garbage_is_no_set_and_no_panic(content in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(set) = unpack(Bytes::from(content.clone())) {
                prop_assert_eq!(pack(&set), content);
            }
        }
    }

    #[test]
    fn a_set_that_is_cut_short_is_not_read() {
        let packed = pack(&entries(&[vec![1; 10], vec![2; 10]]));
        for length in [1, 2, 11, 13, 14, 23] {
            assert_eq!(unpack(Bytes::copy_from_slice(&packed[..length])), None, "{length}");
        }
        assert_eq!(unpack(Bytes::copy_from_slice(&packed[..12])).map(|set| set.len()), Some(1));
    }
}
