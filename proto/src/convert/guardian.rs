//! Messages of the guardian service.

use super::{bytes_of, caller, caller_message, identifier, required};
use crate::guardian::{DeleteGuardians, Designation, QueryGuardians, StoreGuardians};
use crate::limits::MAX_GUARDIANS;
use crate::{GuardianEntry, Refusal, UnixSeconds, wire};
use bytes::Bytes;

fn entries(list: Vec<Bytes>) -> Result<Vec<GuardianEntry>, Refusal> {
    if list.len() > MAX_GUARDIANS {
        return Err(Refusal::invalid("entries"));
    }
    list.into_iter()
        .map(|bytes| GuardianEntry::try_from(bytes).map_err(|_| Refusal::invalid("entries")))
        .collect()
}

fn entry_bytes(list: &[GuardianEntry]) -> Vec<Bytes> {
    list.iter().map(|entry| entry.as_bytes().clone()).collect()
}

impl TryFrom<wire::Designation> for Designation {
    type Error = Refusal;

    fn try_from(message: wire::Designation) -> Result<Self, Refusal> {
        let wire::Designation { public_key, timestamp, signature } = message;
        Ok(Self {
            public_key: identifier("public_key", &public_key)?,
            timestamp: UnixSeconds::new(timestamp),
            signature: identifier("signature", &signature)?,
        })
    }
}

impl From<Designation> for wire::Designation {
    fn from(designation: Designation) -> Self {
        let Designation { public_key, timestamp, signature } = designation;
        Self {
            public_key: bytes_of(public_key.as_bytes()),
            timestamp: timestamp.get(),
            signature: bytes_of(signature.as_bytes()),
        }
    }
}

impl TryFrom<wire::GuardianStoreRequest> for StoreGuardians {
    type Error = Refusal;

    fn try_from(message: wire::GuardianStoreRequest) -> Result<Self, Refusal> {
        let wire::GuardianStoreRequest { caller: payer, request_id, designation, entries: list } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            designation: required("designation", designation)?.try_into()?,
            entries: entries(list)?,
        })
    }
}

impl From<StoreGuardians> for wire::GuardianStoreRequest {
    fn from(store: StoreGuardians) -> Self {
        let StoreGuardians { caller, request_id, designation, entries } = store;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            designation: Some(designation.into()),
            entries: entry_bytes(&entries),
        }
    }
}

impl TryFrom<wire::GuardianQueryRequest> for QueryGuardians {
    type Error = Refusal;

    fn try_from(message: wire::GuardianQueryRequest) -> Result<Self, Refusal> {
        let wire::GuardianQueryRequest { caller: payer, set } = message;
        Ok(Self { caller: caller(payer)?, set: identifier("set", &set)? })
    }
}

impl From<QueryGuardians> for wire::GuardianQueryRequest {
    fn from(query: QueryGuardians) -> Self {
        let QueryGuardians { caller, set } = query;
        Self { caller: caller_message(caller), set: bytes_of(set.as_bytes()) }
    }
}

impl From<Vec<GuardianEntry>> for wire::GuardianQueryReply {
    fn from(entries: Vec<GuardianEntry>) -> Self {
        Self { entries: entry_bytes(&entries) }
    }
}

impl TryFrom<wire::GuardianQueryReply> for Vec<GuardianEntry> {
    type Error = Refusal;

    fn try_from(message: wire::GuardianQueryReply) -> Result<Self, Refusal> {
        entries(message.entries)
    }
}

impl TryFrom<wire::GuardianDeleteRequest> for DeleteGuardians {
    type Error = Refusal;

    fn try_from(message: wire::GuardianDeleteRequest) -> Result<Self, Refusal> {
        let wire::GuardianDeleteRequest { caller: payer, request_id, designation } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            designation: required("designation", designation)?.try_into()?,
        })
    }
}

impl From<DeleteGuardians> for wire::GuardianDeleteRequest {
    fn from(delete: DeleteGuardians) -> Self {
        let DeleteGuardians { caller, request_id, designation } = delete;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            designation: Some(designation.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_at_most_ten_entries_of_at_most_256_bytes() {
        let read = |count: usize, length: usize| entries(vec![Bytes::from(vec![1; length]); count]);
        assert_eq!(read(10, 256).unwrap().len(), 10);
        assert_eq!(read(11, 1), Err(Refusal::invalid("entries")));
        assert_eq!(read(1, 257), Err(Refusal::invalid("entries")));
    }
}
