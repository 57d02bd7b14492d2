//! `POST /v2/escrow`: two people each leave a blob behind a gate, and each reads the other's once both are
//! there. What became of a request is its `status`, also where that is not what the client hoped for.

use crate::api::openapi::Operation;
use crate::bodies::error::{ApiError, ErrorCode, own_errors};
use crate::bodies::fields::{self, Described, Field, Value};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::values;
use crate::layers::context::RequestContext;
use relay_proto::client::StorageClient;
use relay_proto::field::{required, sealed};
use relay_proto::limits::{ESCROW_SLOTS, MAX_ESCROW_TTL_SECS};
use relay_proto::messages::escrow_get_reply::Outcome as Found;
use relay_proto::messages::{
    EscrowCountReply, EscrowCountRequest, EscrowDeposit, EscrowGetReply, EscrowGetRequest, EscrowNotFound,
    EscrowPutReply, EscrowPutRequest,
};
use relay_proto::{EscrowBlob, GateHash, GateName, SlotHash, SlotName, StorageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

own_errors! {
    ESCROW_ACTION = BAD_REQUEST, "escrow_action must be Put, Get or Count", Invalid, None,
        "`escrow_action` is absent or none of the three.";
    GATE_HASH = BAD_REQUEST, "gate_hash must be 64 hex characters", Invalid, None,
        "`gate_hash` is absent or malformed.";
    SLOT_HASH = BAD_REQUEST, "slot_hash must be 64 hex characters", Invalid, None,
        "`slot_hash` is absent or malformed.";
    ESCROW_BLOB = BAD_REQUEST, "blob must be base64url without padding", Invalid, None,
        "`blob` is absent or malformed. One that is merely too long is answered `BlobTooLarge`.";
    ESCROW_TTL = BAD_REQUEST, "ttl_seconds must be between 1 and 604800", Invalid, None,
        "`ttl_seconds` is absent, malformed or out of range.";
}

/// What to do with an escrow gate: fill a slot, read the other one, or count those that are filled.
#[derive(Deserialize, JsonSchema)]
struct EscrowRequest {
    escrow_action: Field<EscrowAction>,
    gate_hash: Field<GateHash>,
    /// For `Put` and `Get`.
    slot_hash: Option<Field<SlotHash>>,
    /// For `Put`.
    blob: Option<Field<Option<EscrowBlob>>>,
    /// Seconds until the gate ends, for `Put`.
    #[schemars(with = "Option<u32>", range(min = 1, max = 604_800), example = 86_400)]
    ttl_seconds: Option<Field<u64>>,
}

/// What to do with an escrow gate.
#[derive(Clone, Copy, JsonSchema)]
enum EscrowAction {
    Put,
    Get,
    Count,
}

impl Described for EscrowAction {
    type Schema = Self;
}

impl Value<'_> for EscrowAction {
    fn of_text(text: Cow<'_, str>) -> Option<Self> {
        match text.as_ref() {
            "Put" => Some(Self::Put),
            "Get" => Some(Self::Get),
            "Count" => Some(Self::Count),
            _ => None,
        }
    }
}

/// How an escrow gate stands.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "status")]
#[schemars(rename = "EscrowReply")]
enum Outcome {
    /// The slot is filled.
    Stored,
    /// The slot was filled before.
    AlreadyExists,
    /// Both slots are filled by others.
    GateFull,
    /// The blob is too large.
    BlobTooLarge,
    /// What the other slot holds.
    Blob {
        #[schemars(with = "values::SealedUrlSafe")]
        blob: String,
    },
    /// Not both slots are filled yet.
    NotReady {
        #[schemars(with = "values::Count")]
        count: u32,
    },
    /// How many slots are filled.
    Count {
        #[schemars(with = "values::Count")]
        count: u32,
    },
    /// No such gate, or no such slot behind it.
    NotFound,
}

pub(crate) const ESCROW: Operation = Operation::json::<EscrowRequest, Outcome>(&[
    ESCROW_ACTION,
    GATE_HASH,
    SLOT_HASH,
    ESCROW_BLOB,
    ESCROW_TTL,
    ErrorCode::StorageFull,
    ErrorCode::ClockWrong,
]);

/// A request, checked.
enum Action {
    Put {
        gate: GateName,
        slot: SlotName,
        /// `None` is one that is too long.
        blob: Option<EscrowBlob>,
        ttl_secs: u32,
    },
    Get {
        gate: GateName,
        slot: SlotName,
    },
    Count {
        gate: GateName,
    },
}

pub(crate) async fn escrow(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let caller = caller.map(Into::into);
    let (body, share) = app.intake.read(body).await?;
    let action = parse(&body)?;
    drop(body);
    let deadline = retry.deadline();
    let outcome = match action {
        Action::Put { blob: None, .. } => Outcome::BlobTooLarge,
        Action::Put { gate, slot, blob: Some(blob), ttl_secs } => {
            let request = EscrowPutRequest {
                caller,
                request_id: idempotency.request_id()?.into(),
                gate: gate.into(),
                slot: slot.into(),
                blob: blob.into(),
                ttl_secs,
            };
            let put = |client: StorageClient, request| async move { client.escrow().put(request).await };
            app.storage.call(deadline, request, put).await?.try_into()?
        }
        Action::Get { gate, slot } => {
            let request = EscrowGetRequest { caller, gate: gate.into(), slot: slot.into() };
            let get = |client: StorageClient, request| async move { client.escrow().get(request).await };
            app.storage.call(deadline, request, get).await?.try_into()?
        }
        Action::Count { gate } => {
            let request = EscrowCountRequest { caller, gate: gate.into() };
            let count = |client: StorageClient, request| async move { client.escrow().count(request).await };
            match app.storage.call(deadline, request, count).await? {
                EscrowCountReply { count: 0 } => Outcome::NotFound,
                EscrowCountReply { count } => Outcome::Count { count },
            }
        }
    };
    let outcome = success::written(&outcome)?;
    success::large(share, outcome).await
}

impl TryFrom<EscrowPutReply> for Outcome {
    type Error = StorageError;

    fn try_from(EscrowPutReply { deposit }: EscrowPutReply) -> Result<Self, StorageError> {
        match EscrowDeposit::try_from(deposit) {
            Ok(EscrowDeposit::Stored) => Ok(Self::Stored),
            Ok(EscrowDeposit::AlreadyExists) => Ok(Self::AlreadyExists),
            Ok(EscrowDeposit::GateFull) => Ok(Self::GateFull),
            Ok(EscrowDeposit::Unspecified) | Err(_) => Err(StorageError::invalid("deposit")),
        }
    }
}

impl TryFrom<EscrowGetReply> for Outcome {
    type Error = StorageError;

    fn try_from(EscrowGetReply { outcome }: EscrowGetReply) -> Result<Self, StorageError> {
        match required("outcome", outcome)? {
            Found::Blob(blob) => {
                let blob: EscrowBlob = sealed("blob", blob)?;
                Ok(Self::Blob { blob: blob.to_base64url() })
            }
            Found::NotReady(count) if count < ESCROW_SLOTS => Ok(Self::NotReady { count }),
            Found::NotReady(_) => Err(StorageError::invalid("not_ready")),
            Found::NotFound(EscrowNotFound {}) => Ok(Self::NotFound),
        }
    }
}

fn parse(body: &[u8]) -> Result<Action, ApiError> {
    let EscrowRequest { escrow_action, gate_hash, slot_hash, blob, ttl_seconds } = fields::read(body)?;
    let action = escrow_action.or(ESCROW_ACTION)?;
    let gate = gate_hash.or(GATE_HASH)?.name();
    let slot = || slot_hash.unwrap_or_default().or(SLOT_HASH).map(|slot| slot.name());
    match action {
        EscrowAction::Put => Ok(Action::Put {
            gate,
            slot: slot()?,
            blob: blob.unwrap_or_default().or(ESCROW_BLOB)?,
            ttl_secs: seconds(ttl_seconds.unwrap_or_default())?,
        }),
        EscrowAction::Get => Ok(Action::Get { gate, slot: slot()? }),
        EscrowAction::Count => Ok(Action::Count { gate }),
    }
}

fn seconds(field: Field<u64>) -> Result<u32, ApiError> {
    u32::try_from(field.or(ESCROW_TTL)?)
        .ok()
        .filter(|seconds| (1..=MAX_ESCROW_TTL_SECS).contains(seconds))
        .ok_or(ESCROW_TTL.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Relay;
    use bytes::Bytes;
    use serde_json::{Value, json};

    fn put(slot: &str, blob: &str) -> Value {
        json!({
            "escrow_action": "Put", "gate_hash": "aa".repeat(32), "slot_hash": slot.repeat(32), "blob": blob,
            "ttl_seconds": 604_800,
        })
    }

    fn get(slot: &str) -> Value {
        json!({ "escrow_action": "Get", "gate_hash": "aa".repeat(32), "slot_hash": slot.repeat(32) })
    }

    fn count() -> Value {
        json!({ "escrow_action": "Count", "gate_hash": "AA".repeat(32) })
    }

    async fn ask(relay: &Relay, body: &Value) -> Value {
        relay.post("/v2/escrow", body).await.json(200)
    }

    #[test]
    fn a_reply_that_means_nothing_is_refused() {
        let put = |deposit| Outcome::try_from(EscrowPutReply { deposit }).err();
        for deposit in [EscrowDeposit::Stored, EscrowDeposit::AlreadyExists, EscrowDeposit::GateFull] {
            assert_eq!(put(deposit.into()), None);
        }
        let get = |outcome| Outcome::try_from(EscrowGetReply { outcome }).err();
        for outcome in [
            Found::Blob(Bytes::from_static(&[0; 65_536])),
            Found::NotReady(1),
            Found::NotFound(EscrowNotFound {}),
        ] {
            assert_eq!(get(Some(outcome)), None);
        }
        for deposit in [0, 4] {
            assert_eq!(put(deposit), Some(StorageError::invalid("deposit")));
        }
        assert_eq!(get(None), Some(StorageError::invalid("outcome")));
        assert_eq!(get(Some(Found::NotReady(2))), Some(StorageError::invalid("not_ready")));
        let too_long = Found::Blob(Bytes::from_static(&[0; 65_537]));
        assert_eq!(get(Some(too_long)), Some(StorageError::invalid("blob")));
    }

    #[tokio::test]
    async fn each_reads_the_others_blob_once_both_are_there() {
        let relay = Relay::start().await;
        assert_eq!(ask(&relay, &count()).await, json!({ "status": "NotFound" }));
        assert_eq!(ask(&relay, &get("01")).await, json!({ "status": "NotFound" }));
        assert_eq!(ask(&relay, &put("01", "-_8")).await, json!({ "status": "Stored" }));
        assert_eq!(ask(&relay, &put("01", "AAAA")).await, json!({ "status": "AlreadyExists" }));
        assert_eq!(ask(&relay, &get("01")).await, json!({ "status": "NotReady", "count": 1 }));
        assert_eq!(ask(&relay, &count()).await, json!({ "status": "Count", "count": 1 }));
        assert_eq!(ask(&relay, &put("02", "")).await, json!({ "status": "Stored" }));
        assert_eq!(ask(&relay, &put("03", "AAAA")).await, json!({ "status": "GateFull" }));
        assert_eq!(ask(&relay, &count()).await, json!({ "status": "Count", "count": 2 }));
        for _ in 0..2 {
            assert_eq!(ask(&relay, &get("01")).await, json!({ "status": "Blob", "blob": "" }));
            assert_eq!(ask(&relay, &get("02")).await, json!({ "status": "Blob", "blob": "-_8" }));
        }
        assert_eq!(ask(&relay, &get("03")).await, json!({ "status": "NotFound" }));
    }

    #[tokio::test]
    async fn a_blob_of_64_kib_arrives_whole_and_a_longer_one_is_told_so() {
        let relay = Relay::start().await;
        let longest = format!("{}AA", "A".repeat(65_535 / 3 * 4));
        assert_eq!(ask(&relay, &put("01", &longest)).await, json!({ "status": "Stored" }));
        assert_eq!(ask(&relay, &put("02", "AAAA")).await, json!({ "status": "Stored" }));
        assert_eq!(ask(&relay, &get("02")).await, json!({ "status": "Blob", "blob": longest }));
        let asked = relay.storage.request_ids().len();
        let too_long = format!("{longest}A");
        assert_eq!(ask(&relay, &put("01", &too_long)).await, json!({ "status": "BlobTooLarge" }));
        assert_eq!(relay.storage.request_ids().len(), asked, "storage is not asked");
    }

    #[tokio::test]
    async fn every_field_has_its_own_text_where_the_action_needs_it() {
        let relay = Relay::start().await;
        let blob = "blob must be base64url without padding";
        let ttl = "ttl_seconds must be between 1 and 604800";
        let cases = [
            ("escrow_action", json!(null), "escrow_action must be Put, Get or Count", 0),
            ("escrow_action", json!("put"), "escrow_action must be Put, Get or Count", 0),
            ("escrow_action", json!(["Put"]), "escrow_action must be Put, Get or Count", 0),
            ("gate_hash", json!(null), "gate_hash must be 64 hex characters", 3),
            ("gate_hash", json!("aa"), "gate_hash must be 64 hex characters", 3),
            ("slot_hash", json!(null), "slot_hash must be 64 hex characters", 2),
            ("slot_hash", json!("zz".repeat(32)), "slot_hash must be 64 hex characters", 2),
            ("blob", json!(null), blob, 1),
            ("blob", json!("+/8"), blob, 1),
            ("blob", json!("-_8="), blob, 1),
            ("blob", json!(5), blob, 1),
            ("ttl_seconds", json!(null), ttl, 1),
            ("ttl_seconds", json!(0), ttl, 1),
            ("ttl_seconds", json!(604_801), ttl, 1),
            ("ttl_seconds", json!(u64::from(u32::MAX) + 2), ttl, 1),
            ("ttl_seconds", json!("60"), ttl, 1),
            ("ttl_seconds", json!(1.5), ttl, 1),
        ];
        for (field, wrong, text, needed) in cases {
            for action in ["Put", "Get", "Count"].into_iter().take(needed.max(1)) {
                let mut body = put("01", "AAAA");
                body["escrow_action"] = json!(action);
                body[field] = wrong.clone();
                assert_eq!(relay.post("/v2/escrow", &body).await.error(400), text, "{body}");
            }
        }
        let mut body = put("01", "AAAA");
        body["ttl_seconds"] = json!(1);
        assert_eq!(ask(&relay, &body).await, json!({ "status": "Stored" }));
    }

    #[tokio::test]
    async fn a_retry_names_the_same_request_and_refusals_are_errors() {
        let relay = Relay::start().await;
        for body in [put("01", "AAAA"), get("01"), count()] {
            relay.storage.refuse_calls(&[StorageError::Unavailable, StorageError::OutcomeUnknown]);
            ask(&relay, &body).await;
            relay.storage.refuse_calls(&[StorageError::StorageFull]);
            let reply = relay.post("/v2/escrow", &body).await;
            assert_eq!(reply.error(507), "quota exceeded: relay storage is full");
        }
        assert_eq!(relay.storage.request_ids().len(), 2, "one of each put");
    }
}
