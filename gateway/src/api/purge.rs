//! `POST /v2/purge`: deletes everything of an owner's. Storage checks the proof; the gateway only reads it.

use super::error::{self, ApiError, ErrorCode};
use super::reply::Reply;
use super::{RequestContext, fields, success};
use relay_proto::caller::Caller;
use relay_proto::client::StorageClient;
use relay_proto::messages::{PurgeReply, PurgeRequest};
use relay_proto::{MailboxToken, PublicKey, PurgeToken, RequestId, Signature};
use serde::Serialize;

#[derive(Serialize)]
struct Purged {
    status: &'static str,
    blobs_deleted: u64,
}

pub(crate) async fn purge(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, patience, name, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let request_id = name.request_id()?;
    let request = parse(&body, caller, request_id)?;
    drop(body);
    let purge = |client: StorageClient, request| async move { client.mailbox().purge(request).await };
    let purged = app.storage.call(patience.deadline(), request, purge).await;
    let PurgeReply { blobs_deleted } = purged.map_err(error::of_purge)?;
    success::of(&Purged { status: "ok", blobs_deleted })
}

fn parse(body: &[u8], caller: Caller, request_id: RequestId) -> Result<PurgeRequest, ApiError> {
    let names = ["recipient_id", "public_key", "purge_token", "signature", "timestamp"];
    let [recipient, public_key, purge_token, signature, timestamp] = fields::read(body, names)?;
    Ok(PurgeRequest {
        caller: caller.map(Into::into),
        request_id: request_id.into(),
        mailbox: recipient.parse(MailboxToken::from_hex, ErrorCode::RecipientId)?.hash().into(),
        public_key: public_key.parse(PublicKey::from_hex, ErrorCode::PublicKey)?.into(),
        purge_token: purge_token.parse(PurgeToken::from_hex, ErrorCode::PurgeToken)?.into(),
        signature: signature.parse(Signature::from_hex, ErrorCode::Signature)?.into(),
        timestamp: timestamp.number(ErrorCode::Timestamp)?,
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
