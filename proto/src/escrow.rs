//! Escrow as gateway and storage speak of it: two slots behind a gate, each readable by the other once both are
//! filled.

use crate::caller::Caller;
use crate::{EscrowBlob, GateName, RequestId, SlotName};

/// Slots behind a gate.
pub const SLOTS: u32 = 2;

/// Fills a slot.
#[derive(Debug, Clone)]
pub struct PutEscrow {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry gets the first answer.
    pub request_id: RequestId,
    /// Which gate.
    pub gate: GateName,
    /// Which slot.
    pub slot: SlotName,
    /// What goes in.
    pub blob: EscrowBlob,
    /// For how long the gate is kept, if this is its first slot; at most [`crate::limits::MAX_ESCROW_TTL_SECS`].
    pub ttl_secs: u32,
}

/// What became of a [`PutEscrow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deposit {
    /// The slot is filled.
    Stored,
    /// The slot was filled before and is left as it was.
    AlreadyExists,
    /// Both slots are somebody else's.
    GateFull,
}

/// Asks for what lies in the other slot.
#[derive(Debug, Clone)]
pub struct GetEscrow {
    /// Who is charged.
    pub caller: Caller,
    /// Which gate.
    pub gate: GateName,
    /// The asker's own slot.
    pub slot: SlotName,
}

/// What became of a [`GetEscrow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// What the other slot holds.
    Blob(EscrowBlob),
    /// So many slots are filled, and that is not all.
    NotReady(u32),
    /// There is no such gate, or the slot is not behind it.
    NotFound,
}

/// Asks how many slots are filled.
#[derive(Debug, Clone)]
pub struct CountEscrow {
    /// Who is charged.
    pub caller: Caller,
    /// Which gate.
    pub gate: GateName,
}
