//! Messages of the escrow service.

use super::{bytes_of, caller, caller_message, identifier, required};
use crate::escrow::{CountEscrow, Deposit, GetEscrow, PutEscrow, SLOTS, Withdrawal};
use crate::limits::MAX_ESCROW_TTL_SECS;
use crate::{EscrowBlob, Refusal, wire};
use bytes::Bytes;

fn blob(bytes: Bytes) -> Result<EscrowBlob, Refusal> {
    EscrowBlob::try_from(bytes).map_err(|_| Refusal::invalid("blob"))
}

impl TryFrom<wire::EscrowPutRequest> for PutEscrow {
    type Error = Refusal;

    fn try_from(message: wire::EscrowPutRequest) -> Result<Self, Refusal> {
        let wire::EscrowPutRequest { caller: payer, request_id, gate, slot, blob: bytes, ttl_secs } = message;
        if ttl_secs > MAX_ESCROW_TTL_SECS {
            return Err(Refusal::invalid("ttl_secs"));
        }
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            gate: identifier("gate", &gate)?,
            slot: identifier("slot", &slot)?,
            blob: blob(bytes)?,
            ttl_secs,
        })
    }
}

impl From<PutEscrow> for wire::EscrowPutRequest {
    fn from(put: PutEscrow) -> Self {
        let PutEscrow { caller, request_id, gate, slot, blob, ttl_secs } = put;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            gate: bytes_of(gate.as_bytes()),
            slot: bytes_of(slot.as_bytes()),
            blob: blob.as_bytes().clone(),
            ttl_secs,
        }
    }
}

impl From<Deposit> for wire::EscrowPutReply {
    fn from(deposit: Deposit) -> Self {
        let deposit = match deposit {
            Deposit::Stored => wire::EscrowDeposit::Stored,
            Deposit::AlreadyExists => wire::EscrowDeposit::AlreadyExists,
            Deposit::GateFull => wire::EscrowDeposit::GateFull,
        };
        Self { deposit: deposit.into() }
    }
}

impl TryFrom<wire::EscrowPutReply> for Deposit {
    type Error = Refusal;

    fn try_from(message: wire::EscrowPutReply) -> Result<Self, Refusal> {
        match wire::EscrowDeposit::try_from(message.deposit) {
            Ok(wire::EscrowDeposit::Stored) => Ok(Self::Stored),
            Ok(wire::EscrowDeposit::AlreadyExists) => Ok(Self::AlreadyExists),
            Ok(wire::EscrowDeposit::GateFull) => Ok(Self::GateFull),
            Ok(wire::EscrowDeposit::Unspecified) | Err(_) => Err(Refusal::invalid("deposit")),
        }
    }
}

impl TryFrom<wire::EscrowGetRequest> for GetEscrow {
    type Error = Refusal;

    fn try_from(message: wire::EscrowGetRequest) -> Result<Self, Refusal> {
        let wire::EscrowGetRequest { caller: payer, gate, slot } = message;
        Ok(Self {
            caller: caller(payer)?,
            gate: identifier("gate", &gate)?,
            slot: identifier("slot", &slot)?,
        })
    }
}

impl From<GetEscrow> for wire::EscrowGetRequest {
    fn from(get: GetEscrow) -> Self {
        let GetEscrow { caller, gate, slot } = get;
        Self {
            caller: caller_message(caller),
            gate: bytes_of(gate.as_bytes()),
            slot: bytes_of(slot.as_bytes()),
        }
    }
}

impl From<Withdrawal> for wire::EscrowGetReply {
    fn from(withdrawal: Withdrawal) -> Self {
        use wire::escrow_get_reply::Outcome;
        let outcome = match withdrawal {
            Withdrawal::Blob(blob) => Outcome::Blob(blob.as_bytes().clone()),
            Withdrawal::NotReady(count) => Outcome::NotReady(count),
            Withdrawal::NotFound => Outcome::NotFound(wire::EscrowNotFound {}),
        };
        Self { outcome: Some(outcome) }
    }
}

impl TryFrom<wire::EscrowGetReply> for Withdrawal {
    type Error = Refusal;

    fn try_from(message: wire::EscrowGetReply) -> Result<Self, Refusal> {
        use wire::escrow_get_reply::Outcome;
        match required("outcome", message.outcome)? {
            Outcome::Blob(bytes) => Ok(Self::Blob(blob(bytes)?)),
            Outcome::NotReady(count) if count < SLOTS => Ok(Self::NotReady(count)),
            Outcome::NotReady(_) => Err(Refusal::invalid("not_ready")),
            Outcome::NotFound(wire::EscrowNotFound {}) => Ok(Self::NotFound),
        }
    }
}

impl TryFrom<wire::EscrowCountRequest> for CountEscrow {
    type Error = Refusal;

    fn try_from(message: wire::EscrowCountRequest) -> Result<Self, Refusal> {
        let wire::EscrowCountRequest { caller: payer, gate } = message;
        Ok(Self { caller: caller(payer)?, gate: identifier("gate", &gate)? })
    }
}

impl From<CountEscrow> for wire::EscrowCountRequest {
    fn from(count: CountEscrow) -> Self {
        let CountEscrow { caller, gate } = count;
        Self { caller: caller_message(caller), gate: bytes_of(gate.as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_wire_and_nonsense_does_not() {
        for deposit in [Deposit::Stored, Deposit::AlreadyExists, Deposit::GateFull] {
            assert_eq!(Deposit::try_from(wire::EscrowPutReply::from(deposit)), Ok(deposit));
        }
        let blob = EscrowBlob::try_from(Bytes::from_static(b"sealed")).unwrap();
        for withdrawal in [Withdrawal::Blob(blob), Withdrawal::NotReady(1), Withdrawal::NotFound] {
            let message = wire::EscrowGetReply::from(withdrawal.clone());
            assert_eq!(Withdrawal::try_from(message), Ok(withdrawal));
        }
        assert!(Deposit::try_from(wire::EscrowPutReply { deposit: 0 }).is_err());
        assert!(Withdrawal::try_from(wire::EscrowGetReply { outcome: None }).is_err());
    }
}
