//! `POST /v2/purge`: deletes everything of an owner's. Storage checks the proof; the gateway only reads it.

use crate::api::openapi::Operation;
use crate::bodies::error::{self, ApiError, ErrorCode};
use crate::bodies::fields::{self, Field};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::values::{self, StatusOk};
use crate::layers::context::RequestContext;
use relay_proto::caller::Caller;
use relay_proto::client::StorageClient;
use relay_proto::messages;
use relay_proto::{MailboxToken, PublicKey, PurgeToken, RequestId, Signature, StorageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Proof that the owner of a key wants everything deleted that belongs to it.
#[derive(Deserialize, JsonSchema)]
struct PurgeRequest {
    recipient_id: Field<MailboxToken>,
    public_key: Field<PublicKey>,
    purge_token: Field<PurgeToken>,
    signature: Field<Signature>,
    timestamp: Field<u64>,
}

/// Everything is deleted.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PurgeReply {
    status: StatusOk,
    #[schemars(with = "values::Count")]
    blobs_deleted: u64,
}

pub(crate) const PURGE: Operation = Operation::json::<PurgeRequest, PurgeReply>(&[
    ErrorCode::RecipientId,
    ErrorCode::PublicKey,
    ErrorCode::PurgeToken,
    ErrorCode::Signature,
    ErrorCode::Timestamp,
    ErrorCode::PurgeWindow,
    ErrorCode::PurgeSignature,
    ErrorCode::PurgeReplay,
]);

pub(crate) async fn purge(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let request_id = idempotency.request_id()?;
    let request = parse(&body, caller, request_id)?;
    drop(body);
    let purge = |client: StorageClient, request| async move { client.mailbox().purge(request).await };
    let purged = app.storage.call(retry.deadline(), request, purge).await;
    let messages::PurgeReply { blobs_deleted } = purged.map_err(refusal)?;
    success::of(&PurgeReply { status: StatusOk, blobs_deleted })
}

/// What storage refuses, in the words of a purge.
pub(crate) fn refusal(refusal: StorageError) -> ApiError {
    error::of_signed(refusal, [ErrorCode::PurgeWindow, ErrorCode::PurgeSignature, ErrorCode::PurgeReplay])
}

fn parse(body: &[u8], caller: Caller, request_id: RequestId) -> Result<messages::PurgeRequest, ApiError> {
    let PurgeRequest { recipient_id, public_key, purge_token, signature, timestamp } = fields::read(body)?;
    Ok(messages::PurgeRequest {
        caller: caller.map(Into::into),
        request_id: request_id.into(),
        mailbox: recipient_id.or(ErrorCode::RecipientId)?.hash().into(),
        public_key: public_key.or(ErrorCode::PublicKey)?.into(),
        purge_token: purge_token.or(ErrorCode::PurgeToken)?.into(),
        signature: signature.or(ErrorCode::Signature)?.into(),
        timestamp: timestamp.or(ErrorCode::Timestamp)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::fixture::Relay;
    use relay_proto::StorageError;
    use serde_json::{Value, json};

    fn purge() -> Value {
        json!({
            "recipient_id": "01".repeat(32), "public_key": "01".repeat(32), "purge_token": "02".repeat(32),
            "signature": "03".repeat(64), "timestamp": 1_700_000_000_u64,
        })
    }

    #[tokio::test]
    async fn a_purge_answers_how_much_it_deleted_and_a_retry_names_the_same_request() {
        let relay = Relay::start().await;
        relay.storage.refuse_calls(&[StorageError::OutcomeUnknown]);
        let reply = relay.post("/v2/purge", &purge()).await;
        assert_eq!(reply.json(200), json!({ "status": "ok", "blobs_deleted": 0 }));
        assert_eq!(relay.storage.request_ids().len(), 1);
    }

    #[tokio::test]
    async fn every_field_has_its_own_text() {
        let relay = Relay::start().await;
        for (field, text) in [
            ("recipient_id", "recipient_id must be 64 hex characters"),
            ("public_key", "public_key must be 64 hex characters"),
            ("purge_token", "purge_token must be 64 hex characters"),
            ("signature", "signature must be 128 hex characters"),
            ("timestamp", "timestamp must be a whole number of seconds"),
        ] {
            for wrong in [json!(null), json!("12"), json!([]), json!(-1)] {
                let mut body = purge();
                body[field] = wrong;
                assert_eq!(relay.post("/v2/purge", &body).await.error(400), text);
            }
        }
    }

    #[tokio::test]
    async fn a_proof_that_does_not_hold_is_told_apart() {
        let relay = Relay::start().await;
        for (refusal, text) in [
            (StorageError::OutsideWindow, "purge timestamp outside acceptable window"),
            (StorageError::BadSignature, "invalid purge signature"),
            (StorageError::Replayed, "purge token replay detected"),
        ] {
            relay.storage.refuse_calls(&[refusal]);
            assert_eq!(relay.post("/v2/purge", &purge()).await.error(401), text);
        }
    }
}
