//! The `escrow_gates` and `escrow_slots` tables: two slots behind a gate, each readable by the other once
//! both are filled.
//!
//! A gate's end is kept to the second, other than mail's: gates may live for minutes, and an hour more would
//! be many times what was asked for.

use crate::auth::{idempotency, replays};
use crate::clock::Times;
use crate::db::{
    HEAVY_SWEEP_ROWS, KeyColumn, Load, RowLifetime, Sql as _, Store, StoreError, Table, Total, Write, moment,
    time,
};
use crate::limits::{FairShare, Limits, Payment};
use crate::records::RecordKind;
use bytes::Bytes;
use relay_proto::caller::Caller;
use relay_proto::limits::{ESCROW_SLOTS, MAX_ESCROW_TTL_SECS};
use relay_proto::messages::escrow_get_reply::Outcome;
use relay_proto::messages::{EscrowDeposit, EscrowNotFound, RowKind};
use relay_proto::{EscrowBlob, GateName, RequestId, SlotName, UnixSeconds};
use rusqlite::{Connection, params};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Gates; their slots go with them.
pub(crate) static KIND: RecordKind = RecordKind {
    table: Table {
        name: "escrow_gates",
        key: KeyColumn::Bytes("name"),
        content: "(SELECT coalesce(sum(octet_length(blob)), 0) FROM escrow_slots WHERE gate = name)",
        beside: 350,
        moment: "expires",
        lifetime: RowLifetime::Until(MAX_ESCROW_TTL_SECS as u64),
        total: Some(TOTAL),
        may_go: None,
    },
    total: TOTAL,
    gauge: ("relay_escrow_gates_active", "Escrow gates in the store."),
    shown_as: RowKind::Escrow,
    bytes_each: 64 << 10,
    share: FairShare::rows(TOTAL),
    swept: Some(HEAVY_SWEEP_ROWS),
};

const TOTAL: Total = Total::named("escrow_gates");

/// A slot to be filled.
#[derive(Debug)]
pub(crate) struct NewSlot {
    pub(crate) gate: GateName,
    pub(crate) slot: SlotName,
    pub(crate) blob: EscrowBlob,
    /// For how long the gate is kept, if this is its first slot.
    pub(crate) ttl_secs: u32,
}

/// Fills a slot unless it is filled already or two others are. A retry gets the first answer.
///
/// # Errors
/// When the relay is full, the caller's share is used up, or the disk fails.
pub(crate) async fn put(
    store: &Store,
    caller: Caller,
    request_id: RequestId,
    new: NewSlot,
    now: Times,
    limits: Arc<Limits>,
) -> Result<EscrowDeposit, StoreError> {
    let load = Load { commands: 1, bytes: new.blob.as_bytes().len() };
    let work = move |write: &mut Write<'_>| {
        if let Some(answer) = idempotency::find(write.sql, &request_id)? {
            return remembered(answer);
        }
        // A message that is brought again must not open a gate anew that is over.
        if !replays::is_first(write, caller, &request_id, now)? {
            return Ok(EscrowDeposit::AlreadyExists);
        }
        let deposit = fill(write, &new, now, limits.payment(caller))?;
        idempotency::remember(write.sql, &request_id, number(deposit)?, now.stamp)?;
        Ok(deposit)
    };
    store.writer.run_one_of(load, work).await
}

/// Returns what lies in the other slot. Deletes nothing.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn get(
    store: &Store,
    gate: GateName,
    own: SlotName,
    now: UnixSeconds,
) -> Result<Outcome, StoreError> {
    store.readers.run(move |sql| find(sql, &gate, &own, now)).await
}

/// Returns how many slots behind a gate are filled.
///
/// # Errors
/// When the read takes too long or the disk fails.
pub(crate) async fn count_filled(store: &Store, gate: GateName, now: UnixSeconds) -> Result<u32, StoreError> {
    let work = move |sql: &Connection| {
        let mut statement = sql.prepare_cached(
            "SELECT count(*) FROM escrow_gates JOIN escrow_slots ON gate = name
             WHERE name = ?1 AND expires > ?2",
        )?;
        Ok(statement.query_row(params![gate.as_bytes(), moment(now)], |row| row.get(0))?)
    };
    store.readers.run(work).await
}

/// Fills a slot. The first one behind a gate fixes the gate's end.
fn fill(
    write: &mut Write<'_>,
    new: &NewSlot,
    now: Times,
    payment: Payment<'_>,
) -> Result<EscrowDeposit, StoreError> {
    write.expect_room()?;
    let NewSlot { gate, slot, blob, ttl_secs } = new;
    if !is_live(write, gate, now.now)? {
        open(write, gate, now.stamp.plus(u64::from(*ttl_secs)))?;
    }
    let (filled, is_filled): (u32, bool) = write.sql.only(
        "SELECT count(*), coalesce(max(slot = ?2), 0) FROM escrow_slots WHERE gate = ?1",
        params![gate.as_bytes(), slot.as_bytes()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if is_filled {
        return Ok(EscrowDeposit::AlreadyExists);
    }
    if filled >= ESCROW_SLOTS {
        return Ok(EscrowDeposit::GateFull);
    }
    let space = write.space(TOTAL, KIND.bytes_each);
    payment.row(KIND.share, space, write.gauges, blob.as_bytes().len())?;
    write.sql.run(
        "INSERT INTO escrow_slots (gate, slot, blob) VALUES (?1, ?2, ?3)",
        params![gate.as_bytes(), slot.as_bytes(), blob.as_bytes().as_ref()],
    )?;
    Ok(EscrowDeposit::Stored)
}

/// Whether the gate is there. One whose time has passed is deleted, with its slots, and starts anew.
fn is_live(write: &mut Write<'_>, gate: &GateName, now: UnixSeconds) -> Result<bool, StoreError> {
    let expires = write
        .sql
        .find("SELECT expires FROM escrow_gates WHERE name = ?1", [gate.as_bytes()], |row| row.get(0))?
        .map(time);
    if expires.is_some_and(|expires| expires <= now) {
        write.delete(TOTAL, "DELETE FROM escrow_gates WHERE name = ?1", [gate.as_bytes()])?;
    }
    Ok(expires.is_some_and(|expires| expires > now))
}

fn open(write: &mut Write<'_>, gate: &GateName, expires: UnixSeconds) -> Result<(), StoreError> {
    write.expect_place(TOTAL, KIND.bytes_each)?;
    write.insert(
        TOTAL,
        "INSERT INTO escrow_gates (name, expires) VALUES (?1, ?2)",
        params![gate.as_bytes(), moment(expires)],
    )?;
    Ok(())
}

/// An outcome as it is remembered on disk.
const fn number(deposit: EscrowDeposit) -> Result<u64, StoreError> {
    match deposit {
        EscrowDeposit::Stored => Ok(0),
        EscrowDeposit::AlreadyExists => Ok(1),
        EscrowDeposit::GateFull => Ok(2),
        EscrowDeposit::Unspecified => Err(StoreError::Internal(0)),
    }
}

const fn remembered(number: u64) -> Result<EscrowDeposit, StoreError> {
    match number {
        0 => Ok(EscrowDeposit::Stored),
        1 => Ok(EscrowDeposit::AlreadyExists),
        2 => Ok(EscrowDeposit::GateFull),
        _ => Err(StoreError::Corrupt(0)),
    }
}

fn find(sql: &Connection, gate: &GateName, own: &SlotName, now: UnixSeconds) -> Result<Outcome, StoreError> {
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
        _ if filled == 0 => Ok(Outcome::NotFound(EscrowNotFound {})),
        _ if filled < ESCROW_SLOTS => Ok(Outcome::NotReady(filled)),
        Some(content) if is_behind => {
            let blob = EscrowBlob::try_from(content).map_err(|_| StoreError::Corrupt(0))?;
            Ok(Outcome::Blob(blob.into()))
        }
        _ => Ok(Outcome::NotFound(EscrowNotFound {})),
    }
}
