//! `POST /v2/fetch`: a page of what waits in some mailboxes. Nothing is removed.

mod cut;
mod hints;
mod moved;

use crate::api::openapi::Operation;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::fields::{self, Distinct, Field, List, Spelled};
use crate::bodies::reply::Reply;
use crate::bodies::values::{self, StatusOk};
use crate::bodies::{success, tokens};
use crate::layers::context::RequestContext;
use cut::Found;
use hints::ForwardingHints;
use relay_proto::client::StorageClient;
use relay_proto::field::{identifier, index, sealed as sealed_field};
use relay_proto::limits::MAX_MOVED_BLOBS;
use relay_proto::messages::{self, Blob, FetchReply, LargerBlob, LargerReply, LargerRequest};
use relay_proto::{BlobId, Ciphertext, MailboxToken, OriginHint, PeerId, StorageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// The part of a request's patience that peers may not use up: storage is to be asked for hints after them.
const HINT_PATIENCE: Duration = Duration::from_millis(500);

/// Mailboxes to look into.
#[derive(Deserialize, JsonSchema)]
struct FetchRequest<'a> {
    #[serde(borrow)]
    #[schemars(length(min = 1, max = 1900))]
    mailbox_tokens: Field<List<Spelled<'a, MailboxToken>>>,
}

pub(crate) const FETCH: Operation =
    Operation::json::<FetchRequest<'_>, WrittenPage<'_>>(&[ErrorCode::TokenCount, ErrorCode::Token]);

/// A page, whole.
#[derive(Debug)]
struct Page {
    blobs: Vec<Blob>,
    truncated: bool,
    /// How many blobs wait that no sealed reply has room for.
    oversized: u64,
    hints: Option<ForwardingHints>,
}

/// What waits in the mailboxes, oldest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FetchReply", deny_unknown_fields)]
struct WrittenPage<'a> {
    status: StatusOk,
    #[schemars(length(max = 1024))]
    blobs: Vec<WrittenBlob<'a>>,
    /// Whether more is there once these blobs are acknowledged.
    truncated: bool,
    /// Only in replies to sealed requests: how many blobs wait that are too large for one, which ends at 96 KiB. They
    /// are not among the blobs and do not make the page truncated; a direct request shows each alone, after the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "values::AtLeastOne")]
    oversized: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ForwardingHints")]
    forwarding_hints: Option<ForwardingHints>,
}

/// A blob that waits.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Blob", deny_unknown_fields)]
struct WrittenBlob<'a> {
    #[schemars(with = "values::BlobId")]
    blob_id: String,
    #[schemars(with = "values::Sealed")]
    ciphertext: String,
    /// The hour of its arrival.
    #[schemars(with = "values::Timestamp")]
    created_at: u64,
    #[schemars(with = "values::MailboxToken")]
    mailbox_token: &'a str,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "values::Sealed")]
    origin_hint: Option<String>,
}

pub(crate) async fn fetch(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, sealed, body, .. } = call;
    let (body, mut share) = app.intake.read(body).await?;
    let FetchRequest { mailbox_tokens } = fields::read(&body)?;
    let Distinct { values, spellings, .. } = tokens::read(mailbox_tokens)?;
    let (mailboxes, deadline) = (tokens::hashes(&values), retry.deadline());
    // Tokens are not kept while storage is asked.
    drop(values);
    let (caller, names) = (caller.map(Into::into), tokens::names(&mailboxes));
    let request = messages::FetchRequest { caller, mailboxes: names, sealed };
    // A page is in memory before it is known how large it is.
    success::reserve(&mut share).await?;
    let fetch = |client: StorageClient, request| async move { client.mailbox().fetch(request).await };
    let mut page = app.storage.call(deadline, request, fetch).await?;
    check(&page, mailboxes.len())?;
    if let Some(LargerBlob { mailbox_index, place, bytes }) = page.larger.take() {
        success::reserve_blob(&mut share, bytes).await?;
        let position = index("mailbox_index", mailbox_index, mailboxes.len())?;
        let mailbox = mailboxes.get(position).copied().ok_or(ErrorCode::Internal)?.into();
        let larger = |client: StorageClient, request| async move { client.mailbox().larger(request).await };
        let LargerReply { blob } =
            app.storage.call(deadline, LargerRequest { mailbox, place }, larger).await?;
        page.blobs.extend(blob.map(|blob| Blob { mailbox_index, ..blob }));
    }
    let (found, hints) = if page.moved.is_empty() {
        (Found::here(page), None)
    } else {
        moved::complete(&app, &mailboxes, page, deadline).await
    };
    let page = cut::cut(found, hints, sealed);
    let page = write(page, &spellings)?;
    success::large(share, page).await
}

/// Checks that a page tells of the mailboxes that were `asked` for, and names what moved. Blobs are checked when they are
/// written.
fn check(page: &FetchReply, asked: usize) -> Result<(), StorageError> {
    let FetchReply { blobs, moved, larger, truncated: _, oversized: _ } = page;
    if moved.len() > MAX_MOVED_BLOBS {
        return Err(StorageError::invalid("moved"));
    }
    for moved in moved {
        identifier::<BlobId>("blob_id", &moved.blob_id)?;
        identifier::<PeerId>("peer", &moved.peer)?;
    }
    let moved = moved.iter().map(|moved| moved.mailbox_index);
    let larger = larger.iter().map(|larger| larger.mailbox_index);
    let mut all = blobs.iter().map(|blob| blob.mailbox_index).chain(moved).chain(larger);
    all.try_for_each(|position| index("mailbox_index", position, asked).map(drop))
}

/// Writes a page; `spellings` are the tokens behind the mailboxes that were asked for.
fn write(page: Page, spellings: &[Cow<'_, str>]) -> Result<Vec<u8>, ApiError> {
    let Page { blobs, truncated, oversized, hints: forwarding_hints } = page;
    let blobs = blobs
        .into_iter()
        .map(|Blob { mailbox_index, blob_id, ciphertext, created_at, origin_hint, place: _ }| {
            let position = index("mailbox_index", mailbox_index, spellings.len())?;
            let hint = origin_hint.map(|hint| sealed_field::<OriginHint, _>("origin_hint", hint));
            Ok(WrittenBlob {
                blob_id: identifier::<BlobId>("blob_id", &blob_id)?.to_hex(),
                ciphertext: sealed_field::<Ciphertext, _>("ciphertext", ciphertext)?.to_base64(),
                created_at,
                mailbox_token: spellings.get(position).ok_or(ErrorCode::Internal)?,
                origin_hint: hint.transpose()?.map(|hint| hint.to_base64()),
            })
        })
        .collect::<Result<_, ApiError>>()?;
    let oversized = (oversized > 0).then_some(oversized);
    success::written(&WrittenPage { status: StatusOk, blobs, truncated, oversized, forwarding_hints })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::budget::BodyBudget;
    use crate::fixture::Relay;
    use crate::limits::memory::Size;
    use bytes::Bytes;
    use prometheus::IntCounter;
    use proptest::prelude::*;
    use relay_proto::messages::MovedBlob;
    use relay_proto::page::{PageRoom, RUNG};
    use serde_json::json;

    pub(super) fn stored(size: usize, hint: bool) -> Blob {
        Blob {
            mailbox_index: 0,
            blob_id: Bytes::from_static(&[255; 16]),
            ciphertext: Bytes::from(vec![255; size]),
            created_at: u64::MAX,
            origin_hint: hint.then(|| Bytes::from_static(&[255; 74])),
            place: 0,
        }
    }

    #[test]
    fn a_page_of_a_mailbox_that_was_not_asked_for_is_refused() {
        let moved = MovedBlob {
            mailbox_index: 1,
            blob_id: Bytes::from_static(&[5; 16]),
            created_at: 7200,
            place: 4,
            peer: Bytes::from_static(&[6; 32]),
            reachable: true,
        };
        let blobs = vec![Blob { mailbox_index: 1, ..stored(1, false) }];
        let of_blobs = FetchReply { blobs, ..FetchReply::default() };
        let of_moved = FetchReply { moved: vec![moved.clone()], ..FetchReply::default() };
        let larger = Some(LargerBlob { mailbox_index: 1, place: 5, bytes: 1 << 20 });
        let of_larger = FetchReply { larger, ..FetchReply::default() };
        for page in [of_blobs, of_moved, of_larger] {
            assert_eq!(check(&page, 2), Ok(()));
            assert_eq!(check(&page, 1), Err(StorageError::invalid("mailbox_index")));
        }
        let wrong = |moved, count| FetchReply { moved: vec![moved; count], ..FetchReply::default() };
        let nobody = MovedBlob { peer: Bytes::new(), ..moved.clone() };
        let nameless = MovedBlob { blob_id: Bytes::new(), ..moved.clone() };
        assert_eq!(check(&wrong(nobody, 1), 2), Err(StorageError::invalid("peer")));
        assert_eq!(check(&wrong(nameless, 1), 2), Err(StorageError::invalid("blob_id")));
        assert_eq!(check(&wrong(moved, MAX_MOVED_BLOBS + 1), 2), Err(StorageError::invalid("moved")));
    }

    #[test]
    fn a_blob_that_is_not_whole_is_not_written() {
        let good = stored(1, true);
        for (blob, written) in [
            (good.clone(), true),
            (Blob { blob_id: Bytes::new(), ..good.clone() }, false),
            (Blob { ciphertext: Bytes::new(), ..good.clone() }, false),
            (Blob { origin_hint: Some(Bytes::new()), ..good.clone() }, false),
            (Blob { mailbox_index: 1, ..good }, false),
        ] {
            let page = Page { blobs: vec![blob], truncated: false, oversized: 0, hints: None };
            assert_eq!(write(page, &["f".repeat(64).into()]).is_ok(), written);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_page_that_storage_may_cut_fits_its_rung(
            sizes in prop_oneof![
                prop::collection::vec((1_usize..20_000, any::<bool>()), 1..60),
                prop::collection::vec((1_usize..40, any::<bool>()), 300..900),
            ]
        ) {
            let mut room = PageRoom::default();
            let blobs: Vec<_> =
                sizes.into_iter().take_while(|(size, hint)| room.take(*size, *hint)).map(|(size, hint)| stored(size, hint)).collect();
            let page = write(Page { blobs, truncated: false, oversized: 0, hints: None }, &["f".repeat(64).into()]).unwrap();
            prop_assert!(page.len() <= RUNG - 4, "{} bytes", page.len());
        }
    }

    #[test]
    fn a_token_longer_than_it_may_be_cannot_be_written() {
        let page = Page { blobs: vec![stored(1, false)], truncated: false, oversized: 0, hints: None };
        assert!(write(page, &[]).is_err());
    }

    #[tokio::test]
    async fn a_page_shows_blobs_under_the_token_as_the_client_wrote_it() {
        let relay = Relay::start().await;
        let hint = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [7; 74]);
        let send = json!({ "recipient_id": "ab".repeat(32), "ciphertext": "AAAA", "origin_hint": hint });
        let first = relay.post("/v2/send", &send).await.json(200)["blob_id"].clone();
        let send = json!({ "recipient_id": "cd".repeat(32), "ciphertext": "BBBB" });
        let second = relay.post("/v2/send", &send).await.json(200)["blob_id"].clone();
        let tokens =
            json!({ "mailbox_tokens": ["00".repeat(32), "CD".repeat(32), "Ab".repeat(32), "cd".repeat(32)] });
        let reply = relay.post("/v2/fetch", &tokens).await;
        let page = json!({
            "status": "ok",
            "blobs": [
                { "blob_id": first, "ciphertext": "AAAA", "created_at": 3600, "mailbox_token": "Ab".repeat(32), "origin_hint": hint },
                { "blob_id": second, "ciphertext": "BBBB", "created_at": 3600, "mailbox_token": "CD".repeat(32) },
            ],
            "truncated": false,
        });
        assert_eq!(reply.json(200), page);
    }

    #[tokio::test]
    async fn a_blob_larger_than_a_page_comes_alone_when_there_is_room_for_it() {
        let relay = Relay::start().await;
        let ciphertext = "A".repeat(1_000_000);
        let send = json!({ "recipient_id": "ab".repeat(32), "ciphertext": ciphertext });
        let sent = relay.post("/v2/send", &send).await.json(200);
        let tokens = json!({ "mailbox_tokens": ["00".repeat(32), "Ab".repeat(32)] });
        let page = relay.post("/v2/fetch", &tokens).await.json(200);
        assert_eq!(page["blobs"].as_array().unwrap().len(), 1);
        assert_eq!(page["blobs"][0]["ciphertext"], ciphertext);
        assert_eq!(page["blobs"][0]["blob_id"], sent["blob_id"]);
        assert_eq!(page["blobs"][0]["mailbox_token"], "Ab".repeat(32));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blob_is_not_asked_for_before_there_is_room_for_it() {
        let intake = BodyBudget::new(1 << 20, IntCounter::new("refused", "Refused.").unwrap());
        let account = intake.account([192, 0, 2, 1].into(), false);
        let mut share = account.take(0, Size::Small).await.unwrap();
        let held = [
            account.take(4 << 20, Size::Large).await.unwrap(),
            account.take(1 << 20, Size::Small).await.unwrap(),
        ];
        assert!(success::reserve_blob(&mut share, 1 << 20).await.is_err());
        assert!(success::reserve_blob(&mut share, u64::MAX).await.is_err());
        drop(held);
        assert!(success::reserve_blob(&mut share, 1 << 20).await.is_ok());
        assert!(account.take(4 << 20, Size::Large).await.is_err(), "it holds what it took");
    }
}
