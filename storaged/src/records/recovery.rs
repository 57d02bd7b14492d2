//! The `recovery_proofs` table: what people leave behind for the day they lose their device.

use crate::auth::replays;
use crate::clock::Times;
use crate::db::{
    KeyColumn, RowLifetime, SWEEP_ROWS, Sql as _, Store, StoreError, Table, Total, Write, moment, time,
};
use crate::limits::{FairShare, Limits, Payment};
use crate::records::RecordKind;
use bytes::Bytes;
use relay_proto::caller::Caller;
use relay_proto::field::position;
use relay_proto::messages::{RowKind, StoredProof};
use relay_proto::{RecoveryName, RecoveryProof, RequestId, Ttl, UnixSeconds};
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// How long a proof is kept.
const LIFE: Ttl = Ttl::from_secs(90 * 86_400);

/// Of the database's ceiling each may take four times what the largest takes.
pub(crate) static KIND: RecordKind = RecordKind {
    table: Table {
        name: "recovery_proofs",
        key: KeyColumn::Bytes("name"),
        content: "octet_length(proof)",
        beside: 140,
        moment: "created",
        lifetime: RowLifetime::Since,
        total: Some(TOTAL),
        may_go: None,
    },
    total: TOTAL,
    gauge: ("relay_recovery_proofs_active", "Recovery proofs in the store."),
    shown_as: RowKind::Proofs,
    bytes_each: 16 << 10,
    share: FairShare::rows(TOTAL),
    swept: Some(SWEEP_ROWS),
};

const TOTAL: Total = Total::named("recovery_proofs");

/// Stores a proof in place of the one before, once for each request that came sealed.
///
/// # Errors
/// When the relay is full, the caller's share is used up, or the disk fails.
pub(crate) async fn store(
    store: &Store,
    caller: Caller,
    request_id: RequestId,
    name: RecoveryName,
    proof: RecoveryProof,
    now: Times,
    limits: Arc<Limits>,
) -> Result<(), StoreError> {
    let work = move |write: &mut Write<'_>| {
        // A message that is brought again must not put an older proof in place of a newer one.
        if replays::is_first(write, caller, &request_id, now)? {
            replace(write, &name, &proof, now.stamp, limits.payment(caller))?;
        }
        Ok(())
    };
    store.writer.run_one(work).await
}

/// Returns the proofs that are there, in the order of the names.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn query(
    store: &Store,
    names: Vec<RecoveryName>,
    now: UnixSeconds,
) -> Result<Vec<StoredProof>, StoreError> {
    store.readers.run(move |sql| find(sql, &names, now)).await
}

/// Only a new name is paid for.
fn replace(
    write: &mut Write<'_>,
    name: &RecoveryName,
    proof: &RecoveryProof,
    now: UnixSeconds,
    payment: Payment<'_>,
) -> Result<(), StoreError> {
    write.expect_room()?;
    let (created, expires) = (moment(now.hour_floor()), moment(LIFE.expiry(now)));
    let replaced = write.sql.run(
        "UPDATE recovery_proofs SET proof = ?2, created = ?3, expires = ?4 WHERE name = ?1",
        params![name.as_bytes(), proof.as_bytes().as_ref(), created, expires],
    )?;
    if replaced > 0 {
        return Ok(());
    }
    KIND.charge(write, payment, proof.as_bytes().len())?;
    write.insert(
        TOTAL,
        "INSERT INTO recovery_proofs (name, proof, created, expires) VALUES (?1, ?2, ?3, ?4)",
        params![name.as_bytes(), proof.as_bytes().as_ref(), created, expires],
    )?;
    Ok(())
}

/// Keeps a proof that came from another relay, with its own times, unless there is one of its name. Answers whether it
/// is new.
pub(crate) fn take_over(
    write: &mut Write<'_>,
    name: &RecoveryName,
    proof: &RecoveryProof,
    created: UnixSeconds,
    expires: UnixSeconds,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    let expires = expires.min(LIFE.expiry(now));
    write.expect_place(TOTAL, KIND.bytes_each)?;
    let fresh = write.insert(
        TOTAL,
        "INSERT OR IGNORE INTO recovery_proofs (name, proof, created, expires) VALUES (?1, ?2, ?3, ?4)",
        params![name.as_bytes(), proof.as_bytes().as_ref(), moment(created), moment(expires)],
    )?;
    Ok(fresh > 0)
}

fn find(sql: &Connection, names: &[RecoveryName], now: UnixSeconds) -> Result<Vec<StoredProof>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT proof, created, expires FROM recovery_proofs WHERE name = ?1 AND expires > ?2",
    )?;
    let mut found = Vec::new();
    for (key_index, name) in names.iter().enumerate() {
        let mut rows = statement.query(params![name.as_bytes(), moment(now)])?;
        if let Some(row) = rows.next()? {
            found.push(read(row, key_index)?);
        }
    }
    Ok(found)
}

fn read(row: &Row<'_>, key_index: usize) -> Result<StoredProof, StoreError> {
    let content = Bytes::copy_from_slice(row.get_ref(0)?.as_blob().unwrap_or_default());
    let proof = RecoveryProof::try_from(content).map_err(|_| StoreError::Corrupt(0))?;
    Ok(StoredProof {
        key_index: position(key_index),
        proof: proof.into(),
        created_at: time(row.get(1)?).get(),
        expires_at: time(row.get(2)?).get(),
    })
}
