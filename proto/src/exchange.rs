//! Six-digit exchanges as gateway and storage speak of them: an offer, one claim, one completion.

use crate::caller::Caller;
use crate::{ExchangeText, OfferName, RequestId};

/// Offers something to whoever is told the code.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry gets the same code.
    pub request_id: RequestId,
    /// What is offered.
    pub payload: ExchangeText,
    /// For how long, in seconds; `None` for the operator's default.
    pub ttl_secs: Option<u64>,
}

/// Takes what is offered and leaves an answer.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry gets the payload again.
    pub request_id: RequestId,
    /// Which offer.
    pub offer: OfferName,
    /// The answer.
    pub response: ExchangeText,
}

/// Takes the answer, which ends the exchange.
#[derive(Debug, Clone)]
pub struct Complete {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry gets the response again.
    pub request_id: RequestId,
    /// Which offer.
    pub offer: OfferName,
}
