//! The `guardian_sets` table: whom people chose to vouch for them, sealed. One row a set, as a set is always
//! replaced and read whole.

use crate::auth::nonces::{self, Nonce};
use crate::auth::{idempotency, signatures};
use crate::db::{
    KeyColumn, RowLifetime, SWEEP_ROWS, Sql as _, Store, StoreError, Table, Total, Write, moment,
};
use crate::limits::{FairShare, Limits, Payment};
use crate::records::RecordKind;
use bytes::Bytes;
use relay_proto::caller::Caller;
use relay_proto::guardian::Designating;
use relay_proto::messages::RowKind;
use relay_proto::{
    GuardianEntry, GuardianHash, GuardianName, PublicKey, RequestId, Signature, StorageError, Ttl,
    UnixSeconds,
};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// How long a set is kept.
const LIFE: Ttl = Ttl::from_secs(365 * 86_400);

/// Of the database's ceiling each may take six times what the largest takes.
pub(crate) static KIND: RecordKind = RecordKind {
    table: Table {
        name: "guardian_sets",
        key: KeyColumn::Bytes("name"),
        content: "octet_length(entries)",
        beside: 140,
        moment: "expires",
        lifetime: RowLifetime::Until(LIFE.as_secs()),
        total: Some(TOTAL),
        may_go: None,
    },
    total: TOTAL,
    gauge: ("relay_guardian_sets_active", "Guardian sets in the store."),
    shown_as: RowKind::Guardians,
    bytes_each: 16 << 10,
    share: FairShare::rows(TOTAL),
    swept: Some(SWEEP_ROWS),
};

const TOTAL: Total = Total::named("guardian_sets");

/// What is remembered of a request that was carried out.
const DONE: u64 = 1;

/// A designator's signature, checked. It counts only where the request is carried out for the first time.
#[derive(Debug)]
pub(crate) struct Proof {
    set: GuardianName,
    timestamp: UnixSeconds,
    nonce: Nonce,
    holds: Result<(), StorageError>,
}

impl Proof {
    /// Checks the signature over what is asked, and that it is of now.
    pub(crate) fn check(
        what: Designating,
        public_key: &PublicKey,
        timestamp: UnixSeconds,
        signature: &Signature,
        now: UnixSeconds,
    ) -> Self {
        let message = what.message(public_key, timestamp);
        Self {
            set: GuardianHash::of_public_key(public_key).name(),
            timestamp,
            nonce: Nonce::of("guardian", signature.as_bytes()),
            holds: signatures::check(public_key, &message, signature, timestamp, now),
        }
    }
}

/// Replaces a set. An empty one is the same as none.
///
/// # Errors
/// When the proof does not hold or was used, the relay is full, the caller's share is used up, or the disk fails.
pub(crate) async fn store(
    store: &Store,
    caller: Caller,
    request_id: RequestId,
    proof: Proof,
    entries: Vec<GuardianEntry>,
    now: UnixSeconds,
    limits: Arc<Limits>,
) -> Result<(), StoreError> {
    let set = proof.set;
    let effect = move |write: &mut Write<'_>| replace(write, &set, &entries, now, limits.payment(caller));
    once(store, request_id, proof, now, effect).await
}

/// Returns the entries of a set. One that is not there is empty.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn query(
    store: &Store,
    set: GuardianName,
    now: UnixSeconds,
) -> Result<Vec<Bytes>, StoreError> {
    let entries = store.readers.run(move |sql| find(sql, &set, now)).await?;
    Ok(entries.into_iter().map(Bytes::from).collect())
}

/// Deletes a set, from every file before it returns.
///
/// # Errors
/// When the proof does not hold or was used, or the disk fails.
pub(crate) async fn delete(
    store: &Store,
    request_id: RequestId,
    proof: Proof,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let set = proof.set;
    once(store, request_id, proof, now, move |write| erase(write, &set)).await
}

/// Carries out what a designator asks for, once: the signature is used up with the effect, and a retry finds it done.
async fn once(
    store: &Store,
    request_id: RequestId,
    proof: Proof,
    now: UnixSeconds,
    effect: impl FnOnce(&mut Write<'_>) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let Proof { timestamp, nonce, holds, set: _ } = proof;
    let work = move |write: &mut Write<'_>| {
        if idempotency::find(write.sql, &request_id)?.is_some() {
            // The first answer may have been lost while the log still held what was deleted.
            write.answer_after_erasure();
            return Ok(());
        }
        holds?;
        nonces::take(write.sql, nonce, timestamp)?;
        effect(write)?;
        idempotency::remember(write.sql, &request_id, DONE, now)
    };
    store.writer.run_one(work).await
}

/// Only a new name is paid for.
fn replace(
    write: &mut Write<'_>,
    name: &GuardianName,
    entries: &[GuardianEntry],
    now: UnixSeconds,
    payment: Payment<'_>,
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return erase(write, name);
    }
    write.expect_room()?;
    let (packed, expires) = (pack(entries), moment(LIFE.expiry(now)));
    let replaced = write.sql.run(
        "UPDATE guardian_sets SET entries = ?2, expires = ?3 WHERE name = ?1",
        params![name.as_bytes(), packed, expires],
    )?;
    if replaced > 0 {
        return Ok(());
    }
    KIND.charge(write, payment, packed.len())?;
    write.insert(
        TOTAL,
        "INSERT INTO guardian_sets (name, entries, expires) VALUES (?1, ?2, ?3)",
        params![name.as_bytes(), packed, expires],
    )?;
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
    write.expect_place(TOTAL, KIND.bytes_each)?;
    let fresh = write.insert(
        TOTAL,
        "INSERT OR IGNORE INTO guardian_sets (name, entries, expires) VALUES (?1, ?2, ?3)",
        params![name.as_bytes(), pack(entries), moment(expires)],
    )?;
    Ok(fresh > 0)
}

/// Deletes a set, from the log as well before the request is answered.
fn erase(write: &mut Write<'_>, name: &GuardianName) -> Result<(), StoreError> {
    write.answer_after_erasure();
    remove(write, name)
}

/// Deletes a set. The caller sees to the log.
pub(crate) fn remove(write: &mut Write<'_>, name: &GuardianName) -> Result<(), StoreError> {
    write.delete(TOTAL, "DELETE FROM guardian_sets WHERE name = ?1", [name.as_bytes()])?;
    Ok(())
}

fn find(sql: &Connection, name: &GuardianName, now: UnixSeconds) -> Result<Vec<GuardianEntry>, StoreError> {
    let packed = sql.find(
        "SELECT entries FROM guardian_sets WHERE name = ?1 AND expires > ?2",
        params![name.as_bytes(), moment(now)],
        |row| row.get::<_, Vec<u8>>(0),
    )?;
    unpack(Bytes::from(packed.unwrap_or_default())).ok_or(StoreError::Corrupt(0))
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
