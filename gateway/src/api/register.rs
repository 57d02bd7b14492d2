//! `POST /v2/register`: makes mailboxes known to the relay, and binds them to an owner's key if one signs.

use crate::api::openapi::Operation;
use crate::bodies::error::{self, ApiError, ErrorCode};
use crate::bodies::fields::{self, Distinct, Field, List, Spelled};
use crate::bodies::reply::Reply;
use crate::bodies::values::{self, StatusOk};
use crate::bodies::{success, tokens};
use crate::layers::context::RequestContext;
use bytes::Bytes;
use relay_proto::client::StorageClient;
use relay_proto::messages::{self, Ownership};
use relay_proto::{MailboxToken, PublicKey, Signature, StorageError, TokensDigest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Mailboxes that the relay is to know. With `public_key`, `timestamp` and `signature`, all three of them, they belong
/// to the key.
#[derive(Deserialize, JsonSchema)]
struct RegisterRequest<'a> {
    #[serde(borrow)]
    #[schemars(length(min = 1, max = 1900))]
    mailbox_tokens: Field<List<Spelled<'a, MailboxToken>>>,
    public_key: Option<Field<PublicKey>>,
    timestamp: Option<Field<u64>>,
    signature: Option<Field<Signature>>,
}

/// The mailboxes are known.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RegisterReply {
    status: StatusOk,
    #[schemars(with = "values::Count")]
    registered: u32,
    /// How many of the mailboxes a key other than the caller's has or asks for. Without a key, any key is another one.
    /// Registering without a key has just ended what such a key asked for or had for the time being; a mailbox that it
    /// has for good is better given up for a new token.
    #[serde(skip_serializing_if = "is_none")]
    #[schemars(with = "values::AtLeastOne")]
    bound_to_other_key: u32,
    /// How many of the mailboxes were in use without a key, so that the caller's key may purge them after 30 days in
    /// which nobody registers them without one.
    #[serde(skip_serializing_if = "is_none")]
    #[schemars(with = "values::AtLeastOne")]
    waiting_for_objection: u32,
}

pub(crate) const REGISTER: Operation = Operation::json::<RegisterRequest<'_>, RegisterReply>(&[
    ErrorCode::TokenCount,
    ErrorCode::Token,
    ErrorCode::PublicKey,
    ErrorCode::Timestamp,
    ErrorCode::Signature,
    ErrorCode::HalfAnOwner,
    ErrorCode::RegistrationWindow,
    ErrorCode::RegistrationSignature,
    ErrorCode::RegistrationReplay,
    ErrorCode::OwnerQuota,
    ErrorCode::StorageFull,
    ErrorCode::ClockWrong,
]);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
const fn is_none(number: &u32) -> bool {
    *number == 0
}

pub(crate) async fn register(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let (mailboxes, ownership) = parse(&body)?;
    drop(body);
    let (caller, request_id) = (caller.map(Into::into), idempotency.request_id()?.into());
    let request = messages::RegisterRequest { caller, request_id, mailboxes, ownership };
    let register = |client: StorageClient, request| async move { client.mailbox().register(request).await };
    let registered = app.storage.call(retry.deadline(), request, register).await;
    let messages::RegisterReply { registered, bound_elsewhere, waiting } = registered.map_err(refusal)?;
    success::of(&RegisterReply {
        status: StatusOk,
        registered,
        bound_to_other_key: bound_elsewhere,
        waiting_for_objection: waiting,
    })
}

/// What storage refuses, in the words of a registration.
pub(crate) fn refusal(refusal: StorageError) -> ApiError {
    let signed =
        [ErrorCode::RegistrationWindow, ErrorCode::RegistrationSignature, ErrorCode::RegistrationReplay];
    match refusal {
        StorageError::QuotaExceeded => ErrorCode::OwnerQuota.into(),
        other => error::of_signed(other, signed),
    }
}

fn parse(body: &[u8]) -> Result<(Vec<Bytes>, Option<Ownership>), ApiError> {
    let RegisterRequest { mailbox_tokens, public_key, timestamp, signature } = fields::read(body)?;
    let Distinct { values, given, .. } = tokens::read(mailbox_tokens)?;
    let ownership = match (public_key, timestamp, signature) {
        (None, None, None) => None,
        (Some(public_key), Some(timestamp), Some(signature)) => Some(Ownership {
            public_key: public_key.or(ErrorCode::PublicKey)?.into(),
            timestamp: timestamp.or(ErrorCode::Timestamp)?,
            signature: signature.or(ErrorCode::Signature)?.into(),
            tokens_digest: TokensDigest::of(&given).into(),
        }),
        _ => return Err(ErrorCode::HalfAnOwner.into()),
    };
    Ok((tokens::names(&tokens::hashes(&values)), ownership))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Relay;
    use serde_json::json;

    #[test]
    fn an_owner_is_named_whole_or_not_at_all() {
        let whole = json!({
            "mailbox_tokens": ["ab".repeat(32), "AB".repeat(32)],
            "public_key": "01".repeat(32), "timestamp": 5, "signature": "02".repeat(64),
        });
        let (mailboxes, ownership) = parse(whole.to_string().as_bytes()).unwrap();
        assert_eq!(mailboxes.len(), 1);
        let token = MailboxToken::from_bytes([0xab; 32]);
        assert_eq!(
            ownership.unwrap().tokens_digest,
            Bytes::from(TokensDigest::of(&[token, token])),
            "as the client sent them"
        );
        for (field, fault) in [
            ("public_key", ErrorCode::PublicKey),
            ("timestamp", ErrorCode::Timestamp),
            ("signature", ErrorCode::Signature),
        ] {
            let mut wrong = whole.clone();
            wrong[field] = json!("5");
            assert_eq!(parse(wrong.to_string().as_bytes()).unwrap_err().fault, fault);
            wrong[field] = json!(null);
            assert_eq!(parse(wrong.to_string().as_bytes()).unwrap_err().fault, ErrorCode::HalfAnOwner);
        }
        let nobody = json!({ "mailbox_tokens": ["ab".repeat(32)] });
        assert!(parse(nobody.to_string().as_bytes()).unwrap().1.is_none());
    }

    #[tokio::test]
    async fn a_retry_names_the_same_request_and_distinct_tokens_count() {
        let relay = Relay::start().await;
        relay.storage.refuse_calls(&[StorageError::Unavailable]);
        let body = json!({ "mailbox_tokens": ["ab".repeat(32), "AB".repeat(32), "cd".repeat(32)] });
        let reply = relay.post("/v2/register", &body).await;
        assert_eq!(reply.json(200), json!({ "status": "ok", "registered": 2 }));
        assert_eq!(relay.storage.request_ids().len(), 1);
        relay.post("/v2/register", &body).await.json(200);
        assert_eq!(relay.storage.request_ids().len(), 2, "another request has another name");
    }

    #[tokio::test]
    async fn names_of_other_keys_are_told_and_nothing_where_there_are_none() {
        let relay = Relay::start().await;
        let body = json!({ "mailbox_tokens": ["ab".repeat(32)] });
        let told = messages::RegisterReply { registered: 0, bound_elsewhere: 1, waiting: 2 };
        *relay.storage.registered.lock().unwrap() = told;
        assert_eq!(
            relay.post("/v2/register", &body).await.json(200),
            json!({ "status": "ok", "registered": 1, "bound_to_other_key": 1, "waiting_for_objection": 2 })
        );
    }

    #[tokio::test]
    async fn a_key_that_owns_too_many_mailboxes_is_told_so() {
        let relay = Relay::start().await;
        relay.storage.refuse_calls(&[StorageError::QuotaExceeded]);
        let body = json!({ "mailbox_tokens": ["ab".repeat(32)] });
        let reply = relay.post("/v2/register", &body).await;
        assert!(reply.error(429).starts_with("quota exceeded"));
    }

    #[tokio::test]
    async fn a_proof_that_does_not_hold_is_told_apart() {
        let relay = Relay::start().await;
        let body = json!({ "mailbox_tokens": ["ab".repeat(32)] });
        for (refusal, text) in [
            (StorageError::OutsideWindow, "registration timestamp outside acceptable window"),
            (StorageError::BadSignature, "invalid registration signature"),
            (StorageError::Replayed, "registration replay detected"),
        ] {
            relay.storage.refuse_calls(&[refusal]);
            assert_eq!(relay.post("/v2/register", &body).await.error(401), text);
        }
    }
}
