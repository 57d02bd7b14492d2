//! `POST /v2/ack`: removes a blob that its recipient has.

use crate::api::openapi::Operation;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::fields::{self, Field};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::values::StatusOk;
use crate::layers::context::RequestContext;
use relay_proto::messages::write_command::Command;
use relay_proto::messages::write_outcome::Outcome;
use relay_proto::messages::{Ack, WriteCommand};
use relay_proto::{BlobId, MailboxHash, MailboxToken};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A blob that was received and is to be removed.
#[derive(Deserialize, JsonSchema)]
struct AckRequest {
    recipient_id: Field<MailboxToken>,
    blob_id: Field<BlobId>,
}

/// The blob is not there any more.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AckReply {
    status: StatusOk,
    /// Whether this request removed it; false where it was not there.
    acknowledged: bool,
}

pub(crate) const ACK: Operation =
    Operation::json::<AckRequest, AckReply>(&[ErrorCode::RecipientId, ErrorCode::BlobId]);

pub(crate) async fn ack(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let (mailbox, blob_id) = parse(&body)?;
    drop(body);
    let command = || {
        let ack = Ack { mailbox: mailbox.into(), blob_id: blob_id.into() };
        WriteCommand { caller: caller.map(Into::into), command: Some(Command::Ack(ack)) }
    };
    match app.storage.write(retry.deadline(), command).await? {
        Outcome::Acknowledged(acknowledged) => success::of(&AckReply { status: StatusOk, acknowledged }),
        Outcome::Stored(_) | Outcome::Refused(_) => Err(ErrorCode::Internal.into()),
    }
}

fn parse(body: &[u8]) -> Result<(MailboxHash, BlobId), ApiError> {
    let AckRequest { recipient_id, blob_id } = fields::read(body)?;
    let mailbox = recipient_id.or(ErrorCode::RecipientId)?.hash();
    Ok((mailbox, blob_id.or(ErrorCode::BlobId)?))
}

#[cfg(test)]
mod tests {
    use crate::fixture::Relay;
    use serde_json::json;

    #[tokio::test]
    async fn an_ack_says_whether_it_removed_something() {
        let relay = Relay::start().await;
        let mailbox = "ab".repeat(32);
        let sent = relay.post("/v2/send", &json!({ "recipient_id": mailbox, "ciphertext": "AAAA" })).await;
        let ack = json!({ "recipient_id": mailbox, "blob_id": sent.json(200)["blob_id"] });
        for acknowledged in [true, false] {
            let reply = relay.post("/v2/ack", &ack).await;
            assert_eq!(reply.json(200), json!({ "status": "ok", "acknowledged": acknowledged }));
        }
    }

    #[tokio::test]
    async fn a_malformed_id_is_an_error() {
        let relay = Relay::start().await;
        for blob_id in [json!(null), json!("ab".repeat(15)), json!("zz".repeat(16)), json!(5)] {
            let ack = json!({ "recipient_id": "ab".repeat(32), "blob_id": blob_id });
            assert_eq!(relay.post("/v2/ack", &ack).await.error(400), "blob_id must be 32 hex characters");
        }
        let ack = json!({ "recipient_id": "", "blob_id": "ab".repeat(16) });
        assert_eq!(relay.post("/v2/ack", &ack).await.error(400), "recipient_id must be 64 hex characters");
    }
}
