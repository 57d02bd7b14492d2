//! The `escrow_gates` and `escrow_slots` tables: two slots behind a gate, each readable by the other once
//! both are filled.
//!
//! A gate's end is kept to the second, other than mail's: gates may live for minutes, and an hour more would
//! be many times what was asked for.

use crate::clock::trusted_time::Times;
use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::sql::{count, moment, time};
use crate::limits::shares::{Kind, Payment};
use bytes::Bytes;
use relay_proto::escrow::{Deposit, PutEscrow, SLOTS, Withdrawal};
use relay_proto::{EscrowBlob, GateName, SlotName, UnixSeconds};
use rusqlite::{Connection, OptionalExtension as _, params};
use subtle::ConstantTimeEq as _;

/// Gates that fit beside the mail: one for each 64 KiB of the database's ceiling.
const BYTES_EACH: u64 = 64 << 10;

/// Fills a slot. The first one behind a gate fixes the gate's end.
pub(crate) fn put(
    write: &mut Write<'_>,
    put: &PutEscrow,
    now: Times,
    payment: Payment<'_>,
) -> Result<Deposit, StoreError> {
    write.expect_room()?;
    let PutEscrow { gate, slot, blob, ttl_secs, .. } = put;
    if !is_live(write, gate, now.now)? {
        open(write, gate, now.stamp.plus(u64::from(*ttl_secs)))?;
    }
    let (filled, is_filled): (u32, bool) = write
        .sql
        .prepare_cached("SELECT count(*), coalesce(max(slot = ?2), 0) FROM escrow_slots WHERE gate = ?1")?
        .query_row(params![gate.as_bytes(), slot.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if is_filled {
        return Ok(Deposit::AlreadyExists);
    }
    if filled >= SLOTS {
        return Ok(Deposit::GateFull);
    }
    let space = write.space(write.gauges.escrow_gates(), write.change.escrow_gates, BYTES_EACH);
    payment.row(Kind::EscrowGates, space, write.gauges, blob.as_bytes().len())?;
    write
        .sql
        .prepare_cached("INSERT INTO escrow_slots (gate, slot, blob) VALUES (?1, ?2, ?3)")?
        .execute(params![gate.as_bytes(), slot.as_bytes(), blob.as_bytes().as_ref()])?;
    Ok(Deposit::Stored)
}

/// Whether the gate is there. One whose time has passed is deleted, with its slots, and starts anew.
fn is_live(write: &mut Write<'_>, gate: &GateName, now: UnixSeconds) -> Result<bool, StoreError> {
    let expires = write
        .sql
        .prepare_cached("SELECT expires FROM escrow_gates WHERE name = ?1")?
        .query_row([gate.as_bytes()], |row| row.get(0))
        .optional()?
        .map(time);
    if expires.is_some_and(|expires| expires <= now) {
        write.sql.prepare_cached("DELETE FROM escrow_gates WHERE name = ?1")?.execute([gate.as_bytes()])?;
        write.change.escrow_gates -= 1;
    }
    Ok(expires.is_some_and(|expires| expires > now))
}

fn open(write: &mut Write<'_>, gate: &GateName, expires: UnixSeconds) -> Result<(), StoreError> {
    write.expect_place(write.gauges.escrow_gates(), write.change.escrow_gates, BYTES_EACH)?;
    write
        .sql
        .prepare_cached("INSERT INTO escrow_gates (name, expires) VALUES (?1, ?2)")?
        .execute(params![gate.as_bytes(), moment(expires)])?;
    write.change.escrow_gates += 1;
    Ok(())
}

/// Reads what lies in the other slot. Deletes nothing.
pub(crate) fn get(
    sql: &Connection,
    gate: &GateName,
    own: &SlotName,
    now: UnixSeconds,
) -> Result<Withdrawal, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT slot, blob FROM escrow_gates JOIN escrow_slots ON gate = name
         WHERE name = ?1 AND expires > ?2",
    )?;
    let mut rows = statement.query(params![gate.as_bytes(), moment(now)])?;
    let (mut filled, mut is_behind, mut other) = (0, false, None);
    while let Some(row) = rows.next()? {
        filled += 1;
        let slot = row.get_ref(0)?.as_blob().unwrap_or_default();
        if slot.ct_eq(own.as_bytes()).into() {
            is_behind = true;
        } else {
            other = Some(Bytes::copy_from_slice(row.get_ref(1)?.as_blob().unwrap_or_default()));
        }
    }
    match other {
        _ if filled == 0 => Ok(Withdrawal::NotFound),
        _ if filled < SLOTS => Ok(Withdrawal::NotReady(filled)),
        Some(content) if is_behind => {
            Ok(Withdrawal::Blob(EscrowBlob::try_from(content).map_err(|_| StoreError::Corrupt(0))?))
        }
        _ => Ok(Withdrawal::NotFound),
    }
}

/// Counts the filled slots behind a gate.
pub(crate) fn count_filled(sql: &Connection, gate: &GateName, now: UnixSeconds) -> Result<u32, StoreError> {
    Ok(sql
        .prepare_cached(
            "SELECT count(*) FROM escrow_gates JOIN escrow_slots ON gate = name
             WHERE name = ?1 AND expires > ?2",
        )?
        .query_row(params![gate.as_bytes(), moment(now)], |row| row.get(0))?)
}

/// Deletes up to `limit` gates whose time has passed, with their slots. Answers how many.
pub(crate) fn expire(write: &mut Write<'_>, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let expired = write
        .sql
        .prepare_cached(
            "DELETE FROM escrow_gates WHERE name IN
                 (SELECT name FROM escrow_gates WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![moment(now), limit])? as u64;
    write.change.escrow_gates -= count(expired);
    Ok(expired)
}
