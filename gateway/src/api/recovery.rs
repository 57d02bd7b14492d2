//! `POST /v2/recovery/store` and `/v2/recovery/query`: proofs by which people come back after a loss.
//!
//! A sealed reply to a query is a page: the proofs come in the order in which their keys were asked for, and it ends
//! before the first one that does not fit, with `truncated`. Keys before the last proof that came and without one
//! are unknown; the client asks again for those behind it. Each such reply holds a proof, so this ends.

use crate::api::openapi::Operation;
use crate::bodies::error::{ApiError, ErrorCode, own_errors};
use crate::bodies::fields::{self, Distinct, Field, List, Spelled};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::success::Done;
use crate::bodies::values::{self, StatusOk};
use crate::layers::context::RequestContext;
use bytes::Bytes;
use relay_proto::client::StorageClient;
use relay_proto::field::{index, sealed as sealed_field};
use relay_proto::limits::MAX_RECOVERY_KEYS;
use relay_proto::messages::{self, StoredProof};
use relay_proto::page;
use relay_proto::{RecoveryKeyHash, RecoveryProof};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Not;

own_errors! {
    KEY_HASH = BAD_REQUEST, "key_hash must be 64 hex characters", Invalid, None,
        "`key_hash` is absent or malformed.";
    PROOF_DATA = BAD_REQUEST, "proof_data must be base64 of 1-4096 bytes", Invalid, None,
        "`proof_data` is absent, empty, too long, or not standard base64 with padding.";
    KEY_HASH_COUNT = BAD_REQUEST, "key_hashes must contain 1-50 entries", Invalid, None,
        "`key_hashes` is absent, no list, empty or too long.";
    KEY_HASHES = BAD_REQUEST, "key_hashes must be 64 hex characters each", Invalid, None,
        "An entry of `key_hashes` is malformed.";
}

/// A recovery proof to be kept for 90 days, in place of the one before.
#[derive(Deserialize, JsonSchema)]
struct RecoveryStoreRequest {
    key_hash: Field<RecoveryKeyHash>,
    /// 1 to 4,096 bytes.
    proof_data: Field<RecoveryProof>,
}

/// Keys whose proofs are wanted.
#[derive(Deserialize, JsonSchema)]
struct RecoveryQueryRequest<'a> {
    #[serde(borrow)]
    #[schemars(length(min = 1, max = 50))]
    key_hashes: Field<List<Spelled<'a, RecoveryKeyHash>>>,
}

/// The proofs that are there, in the order of their keys.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RecoveryQueryReply<'a> {
    status: StatusOk,
    #[schemars(length(max = 50))]
    proofs: Vec<Proof<'a>>,
    /// Only in replies to sealed requests, and only where it is true: the proofs did not all fit. The keys behind that
    /// of the last proof are to be asked for again; those before it without a proof are unknown.
    #[serde(skip_serializing_if = "Not::not")]
    #[schemars(extend("const" = true))]
    truncated: bool,
}

/// A proof and its times.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RecoveryProof", deny_unknown_fields)]
struct Proof<'a> {
    #[schemars(with = "values::KeyHash")]
    key_hash: &'a str,
    #[schemars(with = "values::Sealed")]
    proof_data: String,
    #[schemars(with = "values::Timestamp")]
    created_at: u64,
    #[schemars(with = "values::Timestamp")]
    expires_at: u64,
}

pub(crate) const STORE: Operation = Operation::json::<RecoveryStoreRequest, Done>(&[
    KEY_HASH,
    PROOF_DATA,
    ErrorCode::ClockWrong,
    ErrorCode::StorageFull,
]);

pub(crate) const QUERY: Operation =
    Operation::json::<RecoveryQueryRequest<'_>, RecoveryQueryReply<'_>>(&[KEY_HASH_COUNT, KEY_HASHES]);

pub(crate) async fn store(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let RecoveryStoreRequest { key_hash, proof_data } = fields::read(&body)?;
    let request = messages::RecoveryStoreRequest {
        caller: caller.map(Into::into),
        key: key_hash.or(KEY_HASH)?.name().into(),
        proof: proof_data.or(PROOF_DATA)?.into(),
        request_id: idempotency.request_id()?.into(),
    };
    drop(body);
    let store = |client: StorageClient, request| async move { client.recovery().store(request).await };
    app.storage.call(retry.deadline(), request, store).await?;
    success::done()
}

pub(crate) async fn query(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, sealed, body, .. } = call;
    let (body, share) = app.intake.read(body).await?;
    let RecoveryQueryRequest { key_hashes } = fields::read(&body)?;
    let errors = [KEY_HASH_COUNT, KEY_HASHES];
    let Distinct { values, spellings, .. } = key_hashes.distinct(MAX_RECOVERY_KEYS, errors)?;
    let keys = values.iter().map(|key| Bytes::from(key.name())).collect();
    let request = messages::RecoveryQueryRequest { caller: caller.map(Into::into), keys };
    let query = |client: StorageClient, request| async move { client.recovery().query(request).await };
    let messages::RecoveryQueryReply { proofs } = app.storage.call(retry.deadline(), request, query).await?;
    let proofs = write(proofs, &spellings, sealed)?;
    success::large(share, proofs).await
}

/// What a proof adds besides its base64: names, quotes, the key, two times of at most 20 digits, a comma.
const PROOF_FRAME: usize = 170;

/// Writes the proofs in the order of their keys; `spellings` are the keys that were asked for.
fn write(
    mut proofs: Vec<StoredProof>,
    spellings: &[Cow<'_, str>],
    sealed: bool,
) -> Result<Vec<u8>, ApiError> {
    proofs.sort_by_key(|stored| stored.key_index);
    let found = proofs.len();
    let mut room = page::BUDGET;
    let mut fitting = Vec::with_capacity(found);
    for StoredProof { key_index, proof, created_at, expires_at } in proofs {
        let key_hash =
            spellings.get(index("key_index", key_index, spellings.len())?).ok_or(ErrorCode::Internal)?;
        let proof_data = sealed_field::<RecoveryProof, _>("proof", proof)?.to_base64();
        if sealed {
            match room.checked_sub(PROOF_FRAME + proof_data.len()) {
                Some(rest) => room = rest,
                None => break,
            }
        }
        fitting.push(Proof { key_hash, proof_data, created_at, expires_at });
    }
    let proofs = fitting;
    let truncated = proofs.len() < found;
    success::written(&RecoveryQueryReply { status: StatusOk, proofs, truncated })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{PROOF_EXPIRES_AT, PROOF_STORED_AT, Relay, base64_of};
    use bytes::Bytes;
    use proptest::prelude::*;
    use relay_proto::StorageError;
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test]
    async fn a_stored_proof_is_found_and_storing_again_replaces_it() {
        let relay = Relay::start().await;
        for (path, proof) in [("/v2/recovery/store", "AAAA"), ("/v2/recovery_store", "BBBB")] {
            let store = json!({ "key_hash": "ab".repeat(32), "proof_data": proof });
            assert_eq!(relay.post(path, &store).await.json(200), json!({ "status": "ok" }));
            let query = json!({ "key_hashes": ["AB".repeat(32)] });
            let expected = json!({ "status": "ok", "proofs": [{
                "key_hash": "AB".repeat(32), "proof_data": proof,
                "created_at": PROOF_STORED_AT, "expires_at": PROOF_EXPIRES_AT,
            }] });
            assert_eq!(relay.post("/v2/recovery/query", &query).await.json(200), expected);
        }
    }

    #[tokio::test]
    async fn proofs_come_in_the_order_asked_each_key_once_as_the_client_wrote_it() {
        let relay = Relay::start().await;
        for (key, proof) in [("ab", "AAAA"), ("cd", "BBBB")] {
            let store = json!({ "key_hash": key.repeat(32), "proof_data": proof });
            relay.post("/v2/recovery/store", &store).await.json(200);
        }
        let keys = ["00", "CD", "aB", "cd", "ab"].map(|key| key.repeat(32));
        let found = relay.post("/v2/recovery_query", &json!({ "key_hashes": keys })).await.json(200);
        let found: Vec<_> =
            found["proofs"].as_array().unwrap().iter().map(|proof| proof["key_hash"].clone()).collect();
        assert_eq!(found, ["CD".repeat(32), "aB".repeat(32)]);
    }

    #[test]
    fn proofs_are_put_in_order_and_belong_to_a_key_that_was_asked_for() {
        let stored = |key_index| StoredProof {
            key_index,
            proof: Bytes::from_static(&[0; 3]),
            created_at: 0,
            expires_at: 0,
        };
        let written = write(vec![stored(1), stored(0)], &["a".into(), "b".into()], false).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!([&written["proofs"][0]["key_hash"], &written["proofs"][1]["key_hash"]], ["a", "b"]);
        assert_eq!(write(vec![stored(1)], &["a".into()], false).unwrap_err().fault, ErrorCode::Internal);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn sealed_answers_fit_their_rung_and_asking_for_the_rest_ends(
            lengths in prop::collection::vec(prop::option::of(1_usize..=4096), 1..=50),
        ) {
            let spellings: Vec<Cow<'_, str>> = (0..50).map(|key| Cow::from(format!("{key:064x}"))).collect();
            let (mut from, mut rounds, mut found) = (0, 0, 0);
            loop {
                let proofs = (0..).zip(&lengths[from..]).filter_map(|(key_index, length)| {
                    let (proof, at) = (Bytes::from(vec![255; (*length)?]), u64::MAX);
                    Some(StoredProof { key_index, proof, created_at: at, expires_at: at })
                });
                let written = write(proofs.collect(), &spellings[from..], true).unwrap();
                prop_assert!(written.len() <= page::RUNG - 300, "{} bytes", written.len());
                let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
                let proofs = written["proofs"].as_array().unwrap();
                (rounds, found) = (rounds + 1, found + proofs.len());
                if written.get("truncated").is_none() {
                    break;
                }
                let last = proofs.last().unwrap()["key_hash"].as_str().unwrap();
                from = spellings.iter().position(|key| key == last).unwrap() + 1;
            }
            prop_assert_eq!(found, lengths.iter().flatten().count());
            prop_assert!(rounds <= 4, "{} rounds", rounds);
        }
    }

    #[tokio::test]
    async fn fifty_of_the_longest_proofs_arrive_whole() {
        let relay = Relay::start().await;
        let keys: Vec<_> = (0..50).map(|number| format!("{number:064x}")).collect();
        let proof = base64_of(4096);
        for key in &keys {
            let store = json!({ "key_hash": key, "proof_data": proof });
            relay.post("/v2/recovery/store", &store).await.json(200);
        }
        let found = relay.post("/v2/recovery/query", &json!({ "key_hashes": keys })).await.json(200);
        let found = found["proofs"].as_array().unwrap();
        assert_eq!(found.len(), 50);
        assert!(found.iter().all(|stored| stored["proof_data"] == proof));
    }

    #[tokio::test]
    async fn every_field_has_its_own_text() {
        let relay = Relay::start().await;
        let good = json!({ "key_hash": "ab".repeat(32), "proof_data": "AAAA" });
        for (field, wrong, text) in [
            ("key_hash", json!(null), "key_hash must be 64 hex characters"),
            ("key_hash", json!("ab".repeat(31)), "key_hash must be 64 hex characters"),
            ("key_hash", json!(5), "key_hash must be 64 hex characters"),
            ("proof_data", json!(null), "proof_data must be base64 of 1-4096 bytes"),
            ("proof_data", json!(""), "proof_data must be base64 of 1-4096 bytes"),
            ("proof_data", json!("AAA"), "proof_data must be base64 of 1-4096 bytes"),
            ("proof_data", json!(base64_of(4097)), "proof_data must be base64 of 1-4096 bytes"),
            ("proof_data", json!(["AAAA"]), "proof_data must be base64 of 1-4096 bytes"),
        ] {
            let mut body = good.clone();
            body[field] = wrong;
            assert_eq!(relay.post("/v2/recovery/store", &body).await.error(400), text, "{body}");
        }
        let key = json!("ab".repeat(32));
        for (keys, text) in [
            (json!(null), "key_hashes must contain 1-50 entries"),
            (key.clone(), "key_hashes must contain 1-50 entries"),
            (json!([]), "key_hashes must contain 1-50 entries"),
            (json!(vec![key.clone(); 51]), "key_hashes must contain 1-50 entries"),
            (json!([key, 5]), "key_hashes must be 64 hex characters each"),
            (json!([key, "ab"]), "key_hashes must be 64 hex characters each"),
        ] {
            let body = json!({ "key_hashes": keys });
            assert_eq!(relay.post("/v2/recovery/query", &body).await.error(400), text, "{body}");
        }
        let body = json!({ "key_hashes": vec![key; 50] });
        relay.post("/v2/recovery/query", &body).await.json(200);
    }

    #[tokio::test]
    async fn a_limit_is_told_with_its_time_and_a_pause_is_waited_out() {
        let relay = Relay::start().await;
        let store = json!({ "key_hash": "ab".repeat(32), "proof_data": "AAAA" });
        let query = json!({ "key_hashes": ["ab".repeat(32)] });
        for (path, body) in [("/v2/recovery/store", &store), ("/v2/recovery/query", &query)] {
            let retry_after = Duration::from_secs(6);
            relay.storage.refuse_calls(&[StorageError::AddressRateLimited { retry_after }]);
            let reply = relay.post(path, body).await;
            assert_eq!(reply.error(429), "rate limit exceeded");
            assert_eq!(reply.headers["retry-after"], "6");
            relay.storage.refuse_calls(&[StorageError::Unavailable, StorageError::OutcomeUnknown]);
            relay.post(path, body).await.json(200);
            assert!(relay.storage.last_caller().is_some());
        }
        relay.storage.refuse_calls(&[StorageError::StorageFull]);
        let reply = relay.post("/v2/recovery/store", &store).await;
        assert_eq!(reply.error(507), "quota exceeded: relay storage is full");
    }
}
