//! `POST /v2/guardian/store`, `/v2/guardian/query` and `/v2/guardian/delete`: whom somebody trusts to help
//! after a loss. Storage checks the designator's proof; the gateway, that it is about the set that is named.

use crate::api::openapi::Operation;
use crate::bodies::error::{self, ApiError, ErrorCode, own_errors};
use crate::bodies::fields::{self, Described, Field, List, Value};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::success::Done;
use crate::bodies::values::{self, StatusOk};
use crate::layers::context::RequestContext;
use bytes::Bytes;
use relay_proto::client::StorageClient;
use relay_proto::field::sealed_list;
use relay_proto::limits::MAX_GUARDIANS;
use relay_proto::messages::{self, Designation};
use relay_proto::{GuardianEntry, GuardianHash, PublicKey, Signature, StorageError};
use schemars::JsonSchema;
use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

own_errors! {
    GUARDIAN_HASH = BAD_REQUEST, "guardian_hash must be 64 hex characters", Invalid, None,
        "`guardian_hash` is absent or malformed.";
    DESIGNATOR_KEY = BAD_REQUEST, "designator_pk must be 64 hex characters", Invalid, None,
        "`designator_pk` is absent or malformed.";
    GUARDIAN_MISMATCH = BAD_REQUEST, "guardian_hash does not match designator_pk", Invalid, None,
        "The named guardian set is not the one of the key.";
    GUARDIAN_ENTRIES = BAD_REQUEST, "entries must be a list of objects with base64 data", Invalid, None,
        "`entries` is absent or no list.";
    GUARDIAN_ENTRY_COUNT = BAD_REQUEST, "too many entries (max 10)", Invalid, None,
        "`entries` is too long.";
    GUARDIAN_ENTRY = BAD_REQUEST, "entries must hold base64 of at most 256 bytes each", Invalid, None,
        "An entry of `entries` is no object, or its `data` is absent, too long, or malformed.";
    GUARDIAN_WINDOW = UNAUTHORIZED, "guardian request timestamp outside acceptable window", Unauthorized, None,
        "A guardian set was signed for more than 60 seconds from the relay's time.";
    GUARDIAN_SIGNATURE = UNAUTHORIZED, "invalid guardian signature", Unauthorized, None,
        "The signature does not hold.";
    GUARDIAN_REPLAY = UNAUTHORIZED, "guardian signature replay detected", Unauthorized, None,
        "The signature was used before.";
}

/// A guardian set, signed by its designator, in place of the one before.
#[derive(Deserialize, JsonSchema)]
struct GuardianStoreRequest {
    guardian_hash: Field<GuardianHash>,
    designator_pk: Field<PublicKey>,
    timestamp: Field<u64>,
    signature: Field<Signature>,
    #[schemars(length(max = 10))]
    entries: Field<List<Entry>>,
}

/// One entry of a guardian set.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Guardian")]
struct Entry {
    data: Field<GuardianEntry>,
}

impl Described for Entry {
    type Schema = Self;
}

impl<'de> Value<'de> for Entry {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        fields::object(object)
    }
}

/// A guardian set to be deleted, signed by its designator.
#[derive(Deserialize, JsonSchema)]
struct GuardianDeleteRequest {
    guardian_hash: Field<GuardianHash>,
    designator_pk: Field<PublicKey>,
    timestamp: Field<u64>,
    signature: Field<Signature>,
}

/// A guardian set to be read.
#[derive(Deserialize, JsonSchema)]
struct GuardianQueryRequest {
    guardian_hash: Field<GuardianHash>,
}

/// A guardian set; an unknown one is empty.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct GuardianQueryReply {
    status: StatusOk,
    #[schemars(length(max = 10))]
    guardians: Vec<Guardian>,
}

/// One entry of a guardian set.
#[derive(Serialize, JsonSchema)]
struct Guardian {
    #[schemars(with = "values::Sealed")]
    data: String,
}

/// What a designator may be told.
const OF_DESIGNATORS: &[ErrorCode] = &[
    GUARDIAN_HASH,
    DESIGNATOR_KEY,
    GUARDIAN_MISMATCH,
    ErrorCode::Timestamp,
    ErrorCode::Signature,
    GUARDIAN_ENTRIES,
    GUARDIAN_ENTRY_COUNT,
    GUARDIAN_ENTRY,
    GUARDIAN_WINDOW,
    GUARDIAN_SIGNATURE,
    GUARDIAN_REPLAY,
    ErrorCode::StorageFull,
    ErrorCode::ClockWrong,
];

pub(crate) const STORE: Operation = Operation::json::<GuardianStoreRequest, Done>(OF_DESIGNATORS);
pub(crate) const DELETE: Operation = Operation::json::<GuardianDeleteRequest, Done>(OF_DESIGNATORS);
pub(crate) const QUERY: Operation =
    Operation::json::<GuardianQueryRequest, GuardianQueryReply>(&[GUARDIAN_HASH]);

pub(crate) async fn store(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let request_id = idempotency.request_id()?.into();
    let (designation, entries) = parse_store(&body)?;
    let caller = caller.map(Into::into);
    let request =
        messages::GuardianStoreRequest { caller, request_id, designation: Some(designation), entries };
    drop(body);
    let store = |client: StorageClient, request| async move { client.guardian().store(request).await };
    app.storage.call(retry.deadline(), request, store).await.map_err(refusal)?;
    success::done()
}

pub(crate) async fn query(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let GuardianQueryRequest { guardian_hash } = fields::read(&body)?;
    let set = guardian_hash.or(GUARDIAN_HASH)?.name();
    let request = messages::GuardianQueryRequest { caller: caller.map(Into::into), set: set.into() };
    let query = |client: StorageClient, request| async move { client.guardian().query(request).await };
    let messages::GuardianQueryReply { entries } = app.storage.call(retry.deadline(), request, query).await?;
    let entries: Vec<GuardianEntry> = sealed_list("entries", entries, MAX_GUARDIANS)?;
    let guardians = entries.iter().map(|entry| Guardian { data: entry.to_base64() }).collect();
    success::of(&GuardianQueryReply { status: StatusOk, guardians })
}

pub(crate) async fn delete(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let request_id = idempotency.request_id()?.into();
    let designation = Some(designation(fields::read(&body)?)?);
    let request = messages::GuardianDeleteRequest { caller: caller.map(Into::into), request_id, designation };
    let delete = |client: StorageClient, request| async move { client.guardian().delete(request).await };
    app.storage.call(retry.deadline(), request, delete).await.map_err(refusal)?;
    success::done()
}

/// By what a designator names and proves a set.
fn designation(fields: GuardianDeleteRequest) -> Result<Designation, ApiError> {
    let GuardianDeleteRequest { guardian_hash, designator_pk, timestamp, signature } = fields;
    let named = guardian_hash.or(GUARDIAN_HASH)?;
    let public_key = designator_pk.or(DESIGNATOR_KEY)?;
    let designation = Designation {
        public_key: public_key.into(),
        timestamp: timestamp.or(ErrorCode::Timestamp)?,
        signature: signature.or(ErrorCode::Signature)?.into(),
    };
    if named != GuardianHash::of_public_key(&public_key) {
        return Err(GUARDIAN_MISMATCH.into());
    }
    Ok(designation)
}

/// Reads a set and its proof. It may be empty.
fn parse_store(body: &[u8]) -> Result<(Designation, Vec<Bytes>), ApiError> {
    let GuardianStoreRequest { guardian_hash, designator_pk, timestamp, signature, entries } =
        fields::read(body)?;
    let designation =
        designation(GuardianDeleteRequest { guardian_hash, designator_pk, timestamp, signature })?;
    let List(entries) = entries.or(GUARDIAN_ENTRIES)?;
    if entries.len() > MAX_GUARDIANS {
        return Err(GUARDIAN_ENTRY_COUNT.into());
    }
    let data = |entry: Field<Entry>| entry.or(GUARDIAN_ENTRY)?.data.or(GUARDIAN_ENTRY);
    let entries = entries.into_iter().map(|entry| data(entry).map(Into::into)).collect::<Result<_, _>>()?;
    Ok((designation, entries))
}

/// What storage refuses, in the words of guardian sets.
pub(crate) fn refusal(refusal: StorageError) -> ApiError {
    let signed = [GUARDIAN_WINDOW, GUARDIAN_SIGNATURE, GUARDIAN_REPLAY];
    error::of_signed(refusal, signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Relay, base64_of};
    use serde_json::{Value, json};

    const KEY: PublicKey = PublicKey::from_bytes([1; 32]);

    fn hash() -> String {
        hex::encode(GuardianHash::of_public_key(&KEY).as_bytes())
    }

    fn designation_with(entries: Value) -> Value {
        json!({
            "guardian_hash": hash(), "designator_pk": "01".repeat(32), "timestamp": 1_700_000_000_u64,
            "signature": "03".repeat(64), "entries": entries,
        })
    }

    #[tokio::test]
    async fn a_set_is_stored_whole_replaced_and_deleted() {
        let relay = Relay::start().await;
        let longest = base64_of(256);
        for separator in ["/", "_"] {
            let path = |step: &str| format!("/v2/guardian{separator}{step}");
            for entries in [
                json!([{ "data": "AAAA" }, { "data": longest, "unknown": 5 }, { "data": "" }]),
                json!(vec![json!({ "data": "BBBB" }); 10]),
                json!([]),
                json!([{ "data": "CCCC" }]),
            ] {
                let reply = relay.post(&path("store"), &designation_with(entries.clone())).await;
                assert_eq!(reply.json(200), json!({ "status": "ok" }));
                let reply =
                    relay.post(&path("query"), &json!({ "guardian_hash": hash().to_uppercase() })).await;
                let data = |entry: &Value| json!({ "data": entry["data"] });
                let expected: Vec<_> = entries.as_array().unwrap().iter().map(data).collect();
                assert_eq!(reply.json(200), json!({ "status": "ok", "guardians": expected }));
            }
            let reply = relay.post(&path("delete"), &designation_with(json!(null))).await;
            assert_eq!(reply.json(200), json!({ "status": "ok" }));
            let reply = relay.post(&path("query"), &json!({ "guardian_hash": hash() })).await;
            assert_eq!(reply.json(200), json!({ "status": "ok", "guardians": [] }), "as of an unknown set");
        }
    }

    #[tokio::test]
    async fn every_field_has_its_own_text() {
        let relay = Relay::start().await;
        for (field, text) in [
            ("guardian_hash", "guardian_hash must be 64 hex characters"),
            ("designator_pk", "designator_pk must be 64 hex characters"),
            ("timestamp", "timestamp must be a whole number of seconds"),
            ("signature", "signature must be 128 hex characters"),
        ] {
            for wrong in [json!(null), json!("12"), json!([]), json!(-1), json!({})] {
                let mut body = designation_with(json!([]));
                body[field] = wrong;
                for path in ["/v2/guardian/store", "/v2/guardian/delete"] {
                    assert_eq!(relay.post(path, &body).await.error(400), text, "{body}");
                }
            }
        }
        for wrong in [json!(null), json!("12"), json!([hash()])] {
            let reply = relay.post("/v2/guardian/query", &json!({ "guardian_hash": wrong })).await;
            assert_eq!(reply.error(400), "guardian_hash must be 64 hex characters");
        }
    }

    #[tokio::test]
    async fn entries_are_a_list_of_at_most_ten_objects_with_bounded_data() {
        let relay = Relay::start().await;
        let list = "entries must be a list of objects with base64 data";
        let entry = "entries must hold base64 of at most 256 bytes each";
        for (entries, text) in [
            (json!(null), list),
            (json!("AAAA"), list),
            (json!({ "data": "AAAA" }), list),
            (json!(vec![json!({ "data": "AAAA" }); 11]), "too many entries (max 10)"),
            (json!(vec![5; 11]), "too many entries (max 10)"),
            (json!(["AAAA"]), entry),
            (json!([{ "data": "AAAA" }, {}]), entry),
            (json!([null]), entry),
            (json!([{ "data": null }]), entry),
            (json!([{ "data": "AAA" }]), entry),
            (json!([{ "data": base64_of(257) }]), entry),
            (json!([[{ "data": "AAAA" }]]), entry),
        ] {
            let reply = relay.post("/v2/guardian/store", &designation_with(entries.clone())).await;
            assert_eq!(reply.error(400), text, "{entries}");
        }
    }

    #[tokio::test]
    async fn the_set_must_be_the_one_of_the_key() {
        let relay = Relay::start().await;
        let mut body = designation_with(json!([]));
        body["designator_pk"] = json!("02".repeat(32));
        for path in ["/v2/guardian/store", "/v2/guardian/delete"] {
            let reply = relay.post(path, &body).await;
            assert_eq!(reply.error(400), "guardian_hash does not match designator_pk");
        }
        assert!(relay.storage.request_ids().is_empty(), "storage is not asked");
    }

    #[tokio::test]
    async fn a_proof_that_does_not_hold_is_told_apart() {
        let relay = Relay::start().await;
        for path in ["/v2/guardian/store", "/v2/guardian/delete"] {
            for (refusal, text) in [
                (StorageError::OutsideWindow, "guardian request timestamp outside acceptable window"),
                (StorageError::BadSignature, "invalid guardian signature"),
                (StorageError::Replayed, "guardian signature replay detected"),
            ] {
                relay.storage.refuse_calls(&[refusal]);
                assert_eq!(relay.post(path, &designation_with(json!([]))).await.error(401), text);
            }
        }
    }

    #[tokio::test]
    async fn a_retry_names_the_same_request_and_another_request_has_another_name() {
        let relay = Relay::start().await;
        for (count, path) in [(1, "/v2/guardian/store"), (2, "/v2/guardian/delete")] {
            relay.storage.refuse_calls(&[StorageError::Unavailable, StorageError::OutcomeUnknown]);
            relay.post(path, &designation_with(json!([]))).await.json(200);
            assert_eq!(relay.storage.request_ids().len(), count);
        }
        relay.storage.refuse_calls(&[StorageError::Busy]);
        relay.post("/v2/guardian/query", &json!({ "guardian_hash": hash() })).await.json(200);
    }
}
