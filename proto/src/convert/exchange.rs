//! Messages of the exchange service.

use super::{bytes_of, caller, caller_message, identifier};
use crate::exchange::{Claim, Complete, Offer};
use crate::{ExchangeText, Refusal, wire};

fn text(field: &'static str, text: String) -> Result<ExchangeText, Refusal> {
    ExchangeText::try_from(text).map_err(|_| Refusal::invalid(field))
}

impl TryFrom<wire::OfferRequest> for Offer {
    type Error = Refusal;

    fn try_from(message: wire::OfferRequest) -> Result<Self, Refusal> {
        let wire::OfferRequest { caller: payer, request_id, payload, ttl_secs } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            payload: text("payload", payload)?,
            ttl_secs,
        })
    }
}

impl From<Offer> for wire::OfferRequest {
    fn from(offer: Offer) -> Self {
        let Offer { caller, request_id, payload, ttl_secs } = offer;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            payload: payload.into(),
            ttl_secs,
        }
    }
}

impl TryFrom<wire::ClaimRequest> for Claim {
    type Error = Refusal;

    fn try_from(message: wire::ClaimRequest) -> Result<Self, Refusal> {
        let wire::ClaimRequest { caller: payer, request_id, offer, response } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            offer: identifier("offer", &offer)?,
            response: text("response", response)?,
        })
    }
}

impl From<Claim> for wire::ClaimRequest {
    fn from(claim: Claim) -> Self {
        let Claim { caller, request_id, offer, response } = claim;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            offer: bytes_of(offer.as_bytes()),
            response: response.into(),
        }
    }
}

impl TryFrom<wire::CompleteRequest> for Complete {
    type Error = Refusal;

    fn try_from(message: wire::CompleteRequest) -> Result<Self, Refusal> {
        let wire::CompleteRequest { caller: payer, request_id, offer } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            offer: identifier("offer", &offer)?,
        })
    }
}

impl From<Complete> for wire::CompleteRequest {
    fn from(complete: Complete) -> Self {
        let Complete { caller, request_id, offer } = complete;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            offer: bytes_of(offer.as_bytes()),
        }
    }
}

/// Reads the text of an answer.
impl TryFrom<wire::ClaimReply> for ExchangeText {
    type Error = Refusal;

    fn try_from(message: wire::ClaimReply) -> Result<Self, Refusal> {
        text("payload", message.payload)
    }
}

impl TryFrom<wire::CompleteReply> for ExchangeText {
    type Error = Refusal;

    fn try_from(message: wire::CompleteReply) -> Result<Self, Refusal> {
        text("response", message.response)
    }
}
