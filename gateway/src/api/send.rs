//! `POST /v2/send`: leaves a blob in a mailbox. The reply says that it is durable.

use crate::api::openapi::Operation;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::fields::{self, Field};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::values::{self, StatusOk};
use crate::layers::context::RequestContext;
use bytes::Bytes;
use relay_proto::field::identifier;
use relay_proto::messages::write_command::Command;
use relay_proto::messages::write_outcome::Outcome;
use relay_proto::messages::{Send, WriteCommand};
use relay_proto::{BlobId, Ciphertext, MailboxHash, MailboxToken, OriginHint, StorageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A blob for a mailbox.
#[derive(Deserialize, JsonSchema)]
struct SendRequest {
    recipient_id: Field<MailboxToken>,
    ciphertext: Field<Ciphertext>,
    /// 74 bytes that the sender sealed, by which the receiver learns who sent it.
    origin_hint: Option<Field<OriginHint>>,
}

/// The blob is on disk under this id.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SendReply {
    status: StatusOk,
    #[schemars(with = "values::BlobId")]
    blob_id: String,
}

pub(crate) const SEND: Operation = Operation::json::<SendRequest, SendReply>(&[
    ErrorCode::RecipientId,
    ErrorCode::Ciphertext,
    ErrorCode::OriginHint,
    ErrorCode::NotRegistered,
    ErrorCode::BlobTooLarge,
    ErrorCode::QuotaExceeded,
    ErrorCode::StorageFull,
    ErrorCode::ClockWrong,
]);

pub(crate) async fn send(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let (mailbox, ciphertext, origin_hint) = parse(&body, app.max_message_size)?;
    drop(body);
    if let Some(wait) = app.limits.refused_mailbox(&mailbox) {
        return Err(ApiError::rate_limited(wait));
    }
    let command = || {
        let (ciphertext, origin_hint) = (ciphertext.clone(), origin_hint.clone());
        let send = Send { mailbox: mailbox.into(), ciphertext, origin_hint };
        WriteCommand { caller: caller.map(Into::into), command: Some(Command::Send(send)) }
    };
    match app.storage.write(retry.deadline(), command).await {
        Ok(Outcome::Stored(id)) => {
            let id: BlobId = identifier("stored", &id)?;
            success::of(&SendReply { status: StatusOk, blob_id: id.to_hex() })
        }
        Ok(Outcome::Acknowledged(_) | Outcome::Refused(_)) => Err(ErrorCode::Internal.into()),
        Err(refusal) => {
            if let StorageError::MailboxRateLimited { retry_after } = refusal {
                app.limits.remember_refusal(&mailbox, retry_after);
            }
            Err(refusal.into())
        }
    }
}

/// Reads the mailbox, the ciphertext and the origin hint, if there is one.
fn parse(body: &[u8], max_message_size: usize) -> Result<(MailboxHash, Bytes, Option<Bytes>), ApiError> {
    let SendRequest { recipient_id, ciphertext, origin_hint } = fields::read(body)?;
    let mailbox = recipient_id.or(ErrorCode::RecipientId)?.hash();
    let ciphertext = ciphertext.or(ErrorCode::Ciphertext)?;
    if ciphertext.as_bytes().len() > max_message_size {
        return Err(ErrorCode::BlobTooLarge.into());
    }
    let origin_hint = origin_hint.map(|hint| hint.or(ErrorCode::OriginHint)).transpose()?;
    Ok((mailbox, ciphertext.into(), origin_hint.map(Into::into)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Relay;
    use serde_json::json;
    use std::time::Duration;

    fn token() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn every_field_has_its_own_text_whatever_is_wrong_with_it() {
        let good = json!({ "recipient_id": token(), "ciphertext": "AAAA", "unknown": { "is": ["ignored"] } });
        assert!(parse(good.to_string().as_bytes(), 3).is_ok());
        let hint = |bytes| json!(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, vec![0; bytes]));
        for (field, value, fault) in [
            ("recipient_id", json!(null), ErrorCode::RecipientId),
            ("recipient_id", json!(7), ErrorCode::RecipientId),
            ("recipient_id", json!([token()]), ErrorCode::RecipientId),
            ("recipient_id", json!("ab".repeat(31)), ErrorCode::RecipientId),
            ("recipient_id", json!("zz".repeat(32)), ErrorCode::RecipientId),
            ("ciphertext", json!(null), ErrorCode::Ciphertext),
            ("ciphertext", json!(""), ErrorCode::Ciphertext),
            ("ciphertext", json!("AAA"), ErrorCode::Ciphertext),
            ("ciphertext", json!(true), ErrorCode::Ciphertext),
            ("ciphertext", json!("AAAAAAAA"), ErrorCode::BlobTooLarge),
            ("origin_hint", json!(""), ErrorCode::OriginHint),
            ("origin_hint", hint(73), ErrorCode::OriginHint),
            ("origin_hint", json!({}), ErrorCode::OriginHint),
        ] {
            let mut body = good.clone();
            body[field] = value;
            assert_eq!(parse(body.to_string().as_bytes(), 3).unwrap_err().fault, fault, "{body}");
        }
        for hint in [json!(null), hint(74)] {
            let mut body = good.clone();
            body["origin_hint"] = hint;
            assert!(parse(body.to_string().as_bytes(), 3).is_ok(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_sent_blob_is_answered_with_its_id() {
        let relay = Relay::start().await;
        let reply = relay.post("/v2/send", &json!({ "recipient_id": token(), "ciphertext": "AAAA" })).await;
        let mailbox = MailboxToken::from_hex(&token()).unwrap().hash();
        let id = relay_proto::BlobId::derive(&mailbox, &[0, 0, 0]).to_hex();
        assert_eq!(reply.json(200), json!({ "status": "ok", "blob_id": id }));
    }

    #[tokio::test]
    async fn a_refused_mailbox_is_refused_here_until_its_time_and_others_are_not() {
        let relay = Relay::start().await;
        relay
            .storage
            .refuse_writes(&[StorageError::MailboxRateLimited { retry_after: Duration::from_secs(9) }]);
        let body = json!({ "recipient_id": token(), "ciphertext": "AAAA" });
        for _ in 0..2 {
            let reply = relay.post("/v2/send", &body).await;
            assert_eq!(reply.error(429), "rate limit exceeded");
            assert_eq!(reply.headers["retry-after"], "9");
        }
        assert_eq!(relay.storage.writes(), 1, "the second refusal came from the gateway itself");
        let other = json!({ "recipient_id": "cd".repeat(32), "ciphertext": "AAAA" });
        relay.post("/v2/send", &other).await.json(200);
        relay.clock.advance(Duration::from_secs(9));
        relay.post("/v2/send", &body).await.json(200);
    }

    #[tokio::test]
    async fn refusals_keep_their_status_and_text() {
        let relay = Relay::start().await;
        let body = json!({ "recipient_id": token(), "ciphertext": "AAAA" });
        for (refusal, status, text) in [
            (StorageError::QuotaExceeded, 429, "quota exceeded for recipient"),
            (StorageError::StorageFull, 507, "quota exceeded: relay storage is full"),
            (StorageError::NotRegistered, 403, "recipient is not registered with this relay"),
            (StorageError::TooLarge, 413, "blob too large"),
            (StorageError::Internal, 500, "internal error"),
        ] {
            relay.storage.refuse_writes(&[refusal]);
            assert_eq!(relay.post("/v2/send", &body).await.error(status), text);
        }
    }

    #[tokio::test]
    async fn a_storage_that_hesitates_is_asked_again() {
        let relay = Relay::start().await;
        relay.storage.refuse_writes(&[
            StorageError::Busy,
            StorageError::OutcomeUnknown,
            StorageError::Unavailable,
        ]);
        let body = json!({ "recipient_id": token(), "ciphertext": "AAAA" });
        relay.post("/v2/send", &body).await.json(200);
        assert_eq!(relay.storage.writes(), 4);
    }
}
