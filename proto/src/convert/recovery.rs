//! Messages of the recovery service.

use super::{bytes_of, caller, caller_message, identifier};
use crate::limits::MAX_RECOVERY_KEYS;
use crate::recovery::{QueryProofs, StoreProof, StoredProof};
use crate::{RecoveryProof, Refusal, UnixSeconds, wire};
use bytes::Bytes;

fn proof(bytes: Bytes) -> Result<RecoveryProof, Refusal> {
    RecoveryProof::try_from(bytes).map_err(|_| Refusal::invalid("proof"))
}

impl TryFrom<wire::RecoveryStoreRequest> for StoreProof {
    type Error = Refusal;

    fn try_from(message: wire::RecoveryStoreRequest) -> Result<Self, Refusal> {
        let wire::RecoveryStoreRequest { caller: payer, key, proof: bytes, request_id } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            key: identifier("key", &key)?,
            proof: proof(bytes)?,
        })
    }
}

impl From<StoreProof> for wire::RecoveryStoreRequest {
    fn from(store: StoreProof) -> Self {
        let StoreProof { caller, request_id, key, proof } = store;
        Self {
            caller: caller_message(caller),
            key: bytes_of(key.as_bytes()),
            proof: proof.as_bytes().clone(),
            request_id: bytes_of(request_id.as_bytes()),
        }
    }
}

impl TryFrom<wire::RecoveryQueryRequest> for QueryProofs {
    type Error = Refusal;

    fn try_from(message: wire::RecoveryQueryRequest) -> Result<Self, Refusal> {
        let wire::RecoveryQueryRequest { caller: payer, keys } = message;
        if keys.len() > MAX_RECOVERY_KEYS {
            return Err(Refusal::invalid("keys"));
        }
        let keys = keys.iter().map(|key| identifier("keys", key)).collect::<Result<_, _>>()?;
        Ok(Self { caller: caller(payer)?, keys })
    }
}

impl From<QueryProofs> for wire::RecoveryQueryRequest {
    fn from(query: QueryProofs) -> Self {
        let QueryProofs { caller, keys } = query;
        Self {
            caller: caller_message(caller),
            keys: keys.iter().map(|key| bytes_of(key.as_bytes())).collect(),
        }
    }
}

/// Writes the answer to a query.
pub(crate) fn query_reply(proofs: Vec<StoredProof>) -> wire::RecoveryQueryReply {
    let proofs = proofs
        .into_iter()
        .map(|StoredProof { key_index, proof, created_at, expires_at }| wire::StoredProof {
            key_index: u32::try_from(key_index).unwrap_or(u32::MAX),
            proof: proof.as_bytes().clone(),
            created_at: created_at.get(),
            expires_at: expires_at.get(),
        })
        .collect();
    wire::RecoveryQueryReply { proofs }
}

/// Reads the answer to a query of `asked` keys.
pub(crate) fn stored_proofs(
    message: wire::RecoveryQueryReply,
    asked: usize,
) -> Result<Vec<StoredProof>, Refusal> {
    let wire::RecoveryQueryReply { proofs } = message;
    let read = |stored: wire::StoredProof| {
        let wire::StoredProof { key_index, proof: bytes, created_at, expires_at } = stored;
        let key_index = usize::try_from(key_index)
            .ok()
            .filter(|index| *index < asked)
            .ok_or(Refusal::invalid("key_index"))?;
        Ok(StoredProof {
            key_index,
            proof: proof(bytes)?,
            created_at: UnixSeconds::new(created_at),
            expires_at: UnixSeconds::new(expires_at),
        })
    };
    proofs.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_survive_the_wire_and_belong_to_a_key_that_was_asked_for() {
        let stored = StoredProof {
            key_index: 1,
            proof: RecoveryProof::try_from(Bytes::from_static(b"proof")).unwrap(),
            created_at: UnixSeconds::new(3600),
            expires_at: UnixSeconds::new(7200),
        };
        let reply = query_reply(vec![stored.clone()]);
        assert_eq!(stored_proofs(reply.clone(), 2).unwrap(), [stored]);
        assert_eq!(stored_proofs(reply, 1), Err(Refusal::invalid("key_index")));
    }

    #[test]
    fn a_query_has_at_most_fifty_keys() {
        let query =
            |count| wire::RecoveryQueryRequest { caller: None, keys: vec![bytes_of(&[1; 32]); count] };
        assert_eq!(QueryProofs::try_from(query(50)).unwrap().keys.len(), 50);
        assert_eq!(QueryProofs::try_from(query(51)).unwrap_err(), Refusal::invalid("keys"));
    }
}
