//! `POST /v2/exchange/offer`, `/v2/exchange/claim` and `/v2/exchange/complete`: two people who meet exchange
//! something by a six-digit code. Storage makes the code and tells it once; from then on the gateway names
//! the offer by the code's hash.

use crate::api::openapi::Operation;
use crate::bodies::error::{ApiError, ErrorCode, own_errors};
use crate::bodies::fields::{self, Field};
use crate::bodies::reply::Reply;
use crate::bodies::success;
use crate::bodies::values::{self, StatusOk};
use crate::layers::context::{RequestContext, RetryDeadline};
use relay_proto::client::StorageClient;
use relay_proto::field::sealed;
use relay_proto::limits::{EXCHANGE_TTL_SECS, GUESS_PATIENCE};
use relay_proto::mail::Caller;
use relay_proto::messages::{ClaimRequest, CompleteRequest, OfferRequest};
use relay_proto::page;
use relay_proto::{ExchangeCode, ExchangeText, RequestId, StorageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tokio::time::Instant;

own_errors! {
    PAYLOAD = BAD_REQUEST, "payload must be text", Invalid, None,
        "`payload` is absent or no text.";
    PAYLOAD_TOO_LARGE = BAD_REQUEST, "payload too large", Invalid, None,
        "`payload` is longer than 65536 bytes, or than fits a sealed answer once its characters are escaped.";
    OFFER_TTL = BAD_REQUEST, "TTL must be between 30 and 3600 seconds", Invalid, None,
        "`expires_secs` is malformed or out of range.";
    CODE = BAD_REQUEST, "code must be exactly 6 digits", Invalid, None,
        "`code` is absent or malformed.";
    RESPONSE = BAD_REQUEST, "response must be text", Invalid, None,
        "`response` is absent or no text.";
    RESPONSE_TOO_LARGE = BAD_REQUEST, "response too large", Invalid, None,
        "`response` is longer than 65536 bytes, or than fits a sealed answer once its characters are escaped.";
    UNKNOWN_CODE = BAD_REQUEST, "invalid or expired code", Invalid, None,
        "No live offer has the code.";
    ALREADY_CLAIMED = BAD_REQUEST, "already claimed", Invalid, None,
        "Somebody else claimed the offer.";
    NOT_YET_CLAIMED = BAD_REQUEST, "not yet claimed", Invalid, None,
        "Nobody claimed the offer yet, so there is nothing to complete.";
    TOO_MANY_OFFERS = SERVICE_UNAVAILABLE, "too many offers", Quota, Some(30),
        "As many offers are live as may be (`RELAY_EXCHANGE_MAX_OFFERS`).";
}

/// Something to offer to whoever is told the code.
#[derive(Deserialize, JsonSchema)]
struct ExchangeOfferRequest<'a> {
    #[serde(borrow)]
    payload: Field<Cow<'a, str>>,
    /// Seconds until the offer ends.
    #[schemars(with = "Option<u32>", range(min = 30, max = 3600), example = 300)]
    expires_secs: Option<Field<u64>>,
}

/// The code to tell.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ExchangeOfferReply<'a> {
    status: StatusOk,
    #[schemars(with = "values::ExchangeCode")]
    code: &'a str,
}

pub(crate) const OFFER: Operation = Operation::json::<ExchangeOfferRequest<'_>, ExchangeOfferReply<'_>>(&[
    PAYLOAD,
    PAYLOAD_TOO_LARGE,
    OFFER_TTL,
    TOO_MANY_OFFERS,
    ErrorCode::StorageFull,
    ErrorCode::ClockWrong,
]);

/// A code, and what is left for whoever offered.
#[derive(Deserialize, JsonSchema)]
struct ExchangeClaimRequest<'a> {
    code: Field<ExchangeCode>,
    #[serde(borrow)]
    response: Field<Cow<'a, str>>,
}

/// What was offered.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ExchangeClaimReply<'a> {
    status: StatusOk,
    #[schemars(with = "values::ExchangedText")]
    payload: &'a str,
}

pub(crate) const CLAIM: Operation = Operation::json::<ExchangeClaimRequest<'_>, ExchangeClaimReply<'_>>(&[
    CODE,
    RESPONSE,
    RESPONSE_TOO_LARGE,
    UNKNOWN_CODE,
    ALREADY_CLAIMED,
    ErrorCode::StorageFull,
]);

/// The code of an exchange to be ended.
#[derive(Deserialize, JsonSchema)]
struct ExchangeCompleteRequest {
    code: Field<ExchangeCode>,
}

/// What was left.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ExchangeCompleteReply<'a> {
    status: StatusOk,
    #[schemars(with = "values::ExchangedText")]
    response: &'a str,
}

pub(crate) const COMPLETE: Operation =
    Operation::json::<ExchangeCompleteRequest, ExchangeCompleteReply<'_>>(&[
        CODE,
        UNKNOWN_CODE,
        NOT_YET_CLAIMED,
    ]);

pub(crate) async fn offer(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, _share) = app.intake.read(body).await?;
    let request_id = idempotency.request_id()?;
    let request = parse_offer(&body, caller, request_id)?;
    drop(body);
    let offer = |client: StorageClient, request| async move { client.exchange().offer(request).await };
    let reply = app.storage.call(retry.deadline(), request, offer).await.map_err(refusal)?;
    let code = ExchangeCode::try_from(reply.code).map_err(|_| StorageError::invalid("code"))?;
    success::of(&ExchangeOfferReply { status: StatusOk, code: &code.to_digits() })
}

pub(crate) async fn claim(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, mut share) = app.intake.read(body).await?;
    let request_id = idempotency.request_id()?;
    let request = parse_claim(&body, caller, request_id)?;
    drop(body);
    success::reserve(&mut share).await?;
    let claim = |client: StorageClient, request| async move { client.exchange().claim(request).await };
    let reply = app.storage.call(guess_deadline(retry), request, claim).await.map_err(refusal)?;
    let payload: ExchangeText = sealed("payload", reply.payload)?;
    let claimed = success::written(&ExchangeClaimReply { status: StatusOk, payload: payload.as_str() })?;
    Ok(success::reserved(share, claimed))
}

pub(crate) async fn complete(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, retry, idempotency, body, .. } = call;
    let (body, mut share) = app.intake.read(body).await?;
    let request_id = idempotency.request_id()?.into();
    let ExchangeCompleteRequest { code } = fields::read(&body)?;
    let offer = code.or(CODE)?.offer().into();
    success::reserve(&mut share).await?;
    let request = CompleteRequest { caller: caller.map(Into::into), request_id, offer };
    let complete = |client: StorageClient, request| async move { client.exchange().complete(request).await };
    let reply = app.storage.call(guess_deadline(retry), request, complete).await.map_err(refusal)?;
    let response: ExchangeText = sealed("response", reply.response)?;
    let completed =
        success::written(&ExchangeCompleteReply { status: StatusOk, response: response.as_str() })?;
    Ok(success::reserved(share, completed))
}

/// When a call ends that storage may hold back after too many wrong guesses. It works meanwhile, so that this time
/// comes on top of the patience for a storage that does not.
fn guess_deadline(retry: RetryDeadline) -> Instant {
    retry.deadline() + GUESS_PATIENCE
}

fn parse_offer(body: &[u8], caller: Caller, request_id: RequestId) -> Result<OfferRequest, ApiError> {
    let ExchangeOfferRequest { payload, expires_secs } = fields::read(body)?;
    let payload = text(payload.or(PAYLOAD)?, PAYLOAD_TOO_LARGE)?;
    let ttl_secs = expires_secs.map(|seconds| seconds.or(OFFER_TTL)).transpose()?;
    if ttl_secs.is_some_and(|seconds| !EXCHANGE_TTL_SECS.contains(&seconds)) {
        return Err(OFFER_TTL.into());
    }
    let (caller, request_id) = (caller.map(Into::into), request_id.into());
    Ok(OfferRequest { caller, request_id, payload: payload.into(), ttl_secs })
}

fn parse_claim(body: &[u8], caller: Caller, request_id: RequestId) -> Result<ClaimRequest, ApiError> {
    let ExchangeClaimRequest { code, response } = fields::read(body)?;
    let offer = code.or(CODE)?.offer().into();
    let response = text(response.or(RESPONSE)?, RESPONSE_TOO_LARGE)?;
    let (caller, request_id) = (caller.map(Into::into), request_id.into());
    Ok(ClaimRequest { caller, request_id, offer, response: response.into() })
}

/// Reads a text, unless it is too long, or too long for the sealed reply in which the other one may want to read it.
fn text(text: Cow<'_, str>, too_large: ErrorCode) -> Result<ExchangeText, ApiError> {
    let text = ExchangeText::try_from(text.into_owned()).map_err(|_| too_large)?;
    if success::written(&text.as_str())?.len() > page::BUDGET {
        return Err(too_large.into());
    }
    Ok(text)
}

/// What storage refuses, in the words of an exchange.
pub(crate) fn refusal(refusal: StorageError) -> ApiError {
    match refusal {
        StorageError::UnknownCode => UNKNOWN_CODE.into(),
        StorageError::AlreadyClaimed => ALREADY_CLAIMED.into(),
        StorageError::NotYetClaimed => NOT_YET_CLAIMED.into(),
        StorageError::TooManyOffers => TOO_MANY_OFFERS.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Relay;
    use serde_json::{Value, json};
    use std::time::Duration;

    async fn offered(relay: &Relay, payload: &str) -> Value {
        relay.post("/v2/exchange/offer", &json!({ "payload": payload })).await.json(200)["code"].clone()
    }

    #[tokio::test]
    async fn an_offer_is_claimed_once_and_completed_once() {
        let relay = Relay::start().await;
        for separator in ["/", "_"] {
            let path = |step: &str| format!("/v2/exchange{separator}{step}");
            let payload = "any \u{1f511} \"text\"\n";
            let reply = relay.post(&path("offer"), &json!({ "payload": payload, "expires_secs": 30 })).await;
            let code = reply.json(200)["code"].clone();
            assert!(code.as_str().is_some_and(|code| ExchangeCode::from_digits(code).is_ok()));
            assert_eq!(reply.json(200), json!({ "status": "ok", "code": code }));

            let complete = json!({ "code": code });
            assert_eq!(relay.post(&path("complete"), &complete).await.error(400), "not yet claimed");
            let claim = json!({ "code": code, "response": "back" });
            let reply = relay.post(&path("claim"), &claim).await;
            assert_eq!(reply.json(200), json!({ "status": "ok", "payload": payload }));
            assert_eq!(relay.post(&path("claim"), &claim).await.error(400), "already claimed");
            let reply = relay.post(&path("complete"), &complete).await;
            assert_eq!(reply.json(200), json!({ "status": "ok", "response": "back" }));
            assert_eq!(relay.post(&path("complete"), &complete).await.error(400), "invalid or expired code");
            assert_eq!(relay.post(&path("claim"), &claim).await.error(400), "invalid or expired code");
        }
    }

    #[tokio::test]
    async fn texts_may_be_empty_and_64_kib_and_no_longer() {
        let relay = Relay::start().await;
        for text in [String::new(), "\u{7f}xx\"".repeat(16 << 10), "\u{1}".repeat(page::BUDGET / 6 - 1)] {
            let claim = json!({ "code": offered(&relay, &text).await, "response": text });
            assert_eq!(relay.post("/v2/exchange/claim", &claim).await.json(200)["payload"], text);
            let reply = relay.post("/v2/exchange/complete", &claim).await;
            assert_eq!(reply.json(200)["response"], text);
            assert!(reply.json(200).to_string().len() <= page::BUDGET + 40, "it fits a sealed answer");
        }
        // Bytes count, not letters, and so do those that escaping adds.
        let escaped = ["\"".repeat(49_000), "\u{1}".repeat(page::BUDGET / 6)];
        for text in ["x".repeat(65_537), "\u{e9}".repeat(32_769)].into_iter().chain(escaped) {
            let reply = relay.post("/v2/exchange/offer", &json!({ "payload": text })).await;
            assert_eq!(reply.error(400), "payload too large");
            let reply =
                relay.post("/v2/exchange/claim", &json!({ "code": "000000", "response": text })).await;
            assert_eq!(reply.error(400), "response too large");
        }
    }

    #[tokio::test]
    async fn every_field_has_its_own_text() {
        let relay = Relay::start().await;
        let ttl = "TTL must be between 30 and 3600 seconds";
        for (field, wrong, text) in [
            ("payload", json!(null), "payload must be text"),
            ("payload", json!({ "a": "b" }), "payload must be text"),
            ("expires_secs", json!(29), ttl),
            ("expires_secs", json!(3601), ttl),
            ("expires_secs", json!("30"), ttl),
            ("expires_secs", json!(30.5), ttl),
            ("expires_secs", json!(-30), ttl),
        ] {
            let mut body = json!({ "payload": "p", "expires_secs": 30 });
            body[field] = wrong;
            assert_eq!(relay.post("/v2/exchange/offer", &body).await.error(400), text, "{body}");
        }
        for code in
            [json!(null), json!(123_456), json!("12345"), json!("1234567"), json!("12345a"), json!([])]
        {
            let body = json!({ "code": code, "response": "r" });
            for path in ["/v2/exchange/claim", "/v2/exchange/complete"] {
                assert_eq!(
                    relay.post(path, &body).await.error(400),
                    "code must be exactly 6 digits",
                    "{body}"
                );
            }
        }
        for response in [json!(null), json!(5), json!(["r"])] {
            let body = json!({ "code": "000000", "response": response });
            assert_eq!(relay.post("/v2/exchange/claim", &body).await.error(400), "response must be text");
        }
    }

    #[test]
    fn the_default_life_is_the_operators() {
        let ttl = |expires: Value| {
            let body = json!({ "payload": "p", "expires_secs": expires }).to_string();
            parse_offer(body.as_bytes(), None, RequestId::from_bytes([1; 16])).unwrap().ttl_secs
        };
        assert_eq!([json!(null), json!(30), json!(3600)].map(ttl), [None, Some(30), Some(3600)]);
    }

    #[tokio::test]
    async fn a_retry_names_the_same_request_and_another_request_has_another_name() {
        let relay = Relay::start().await;
        let passing = [StorageError::Unavailable, StorageError::OutcomeUnknown, StorageError::Busy];
        relay.storage.refuse_calls(&passing);
        let code = offered(&relay, "p").await;
        assert_eq!(relay.storage.request_ids().len(), 1);
        relay.storage.refuse_calls(&passing);
        relay.post("/v2/exchange/claim", &json!({ "code": code, "response": "r" })).await.json(200);
        assert_eq!(relay.storage.request_ids().len(), 2);
        relay.storage.refuse_calls(&passing);
        relay.post("/v2/exchange/complete", &json!({ "code": code })).await.json(200);
        assert_eq!(relay.storage.request_ids().len(), 3);
    }

    #[tokio::test]
    async fn a_relay_full_of_offers_and_spent_guesses_say_when_to_come_back() {
        let relay = Relay::start().await;
        relay.storage.refuse_calls(&[StorageError::TooManyOffers]);
        let reply = relay.post("/v2/exchange/offer", &json!({ "payload": "p" })).await;
        assert_eq!(reply.error(503), "too many offers");
        assert_eq!(reply.headers["retry-after"], "30");
        let guess = json!({ "code": "000000", "response": "r" });
        for path in ["/v2/exchange/claim", "/v2/exchange/complete"] {
            relay.storage.refuse_calls(&[StorageError::GuessesSpent { retry_after: Duration::from_secs(8) }]);
            let reply = relay.post(path, &guess).await;
            assert_eq!(reply.error(429), "rate limit exceeded");
            assert_eq!(reply.headers["retry-after"], "8");
        }
    }

    #[tokio::test]
    async fn a_guess_may_be_held_back_longer_than_storage_may_be_away() {
        let relay = Relay::start().await;
        let codes = [offered(&relay, "p").await, offered(&relay, "q").await];
        tokio::time::pause();
        relay.storage.delay_exchanges(Duration::from_millis(9500));
        for code in &codes {
            relay.post("/v2/exchange/claim", &json!({ "code": code, "response": "r" })).await.json(200);
            relay.post("/v2/exchange/complete", &json!({ "code": code })).await.json(200);
        }
        let reply = relay.post("/v2/exchange/offer", &json!({ "payload": "p" })).await;
        assert_eq!(reply.error(503), "storage is not reachable");
        relay.storage.delay_exchanges(Duration::from_millis(10_500));
        let reply = relay.post("/v2/exchange/complete", &json!({ "code": "000000" })).await;
        assert_eq!(reply.error(503), "storage is not reachable");
    }
}
