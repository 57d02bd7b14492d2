//! The `recovery_proofs` table: what people leave behind for the day they lose their device.

use crate::auth::replays;
use crate::clock::trusted_time::Times;
use crate::db::Store;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::sql::{count, moment, time};
use crate::db::steps::{SWEEP_ROWS, delete_expired};
use crate::limits::Limits;
use crate::limits::shares::{Kind, Payment};
use bytes::Bytes;
use relay_proto::caller::Caller;
use relay_proto::field::position;
use relay_proto::messages::StoredProof;
use relay_proto::{RecoveryName, RecoveryProof, RequestId, Ttl, UnixSeconds};
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// How long a proof is kept.
const LIFE: Ttl = Ttl::from_secs(90 * 86_400);

/// Proofs that fit beside the mail: one for each 16 KiB of the database's ceiling. Four times what the
/// largest takes.
const BYTES_EACH: u64 = 16 << 10;

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
    let replaced = write
        .sql
        .prepare_cached("UPDATE recovery_proofs SET proof = ?2, created = ?3, expires = ?4 WHERE name = ?1")?
        .execute(params![name.as_bytes(), proof.as_bytes().as_ref(), created, expires])?;
    if replaced > 0 {
        return Ok(());
    }
    let (held, change) = (write.gauges.recovery_proofs(), write.change.recovery_proofs);
    write.expect_place(held, change, BYTES_EACH)?;
    let space = write.space(held, change, BYTES_EACH);
    payment.row(Kind::Proofs, space, write.gauges, proof.as_bytes().len())?;
    write
        .sql
        .prepare_cached(
            "INSERT INTO recovery_proofs (name, proof, created, expires) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![name.as_bytes(), proof.as_bytes().as_ref(), created, expires])?;
    write.change.recovery_proofs += 1;
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
    write.expect_place(write.gauges.recovery_proofs(), write.change.recovery_proofs, BYTES_EACH)?;
    let fresh = write
        .sql
        .prepare_cached(
            "INSERT OR IGNORE INTO recovery_proofs (name, proof, created, expires) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![name.as_bytes(), proof.as_bytes().as_ref(), moment(created), moment(expires)])?;
    write.change.recovery_proofs += count(fresh as u64);
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

/// Deletes the proofs whose time has passed.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds) -> Result<u64, StoreError> {
    store.in_batches(SWEEP_ROWS, move |write, limit| expire(write, now, limit)).await
}

/// Deletes up to `limit` proofs whose time has passed. Returns how many.
fn expire(write: &mut Write<'_>, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let expired = delete_expired(write.sql, "recovery_proofs", "name", now, limit)?;
    write.change.recovery_proofs -= count(expired);
    Ok(expired)
}
