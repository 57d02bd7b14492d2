//! The endpoints of the main port, in one table. Each has a file of its own here: its bodies, its handler, its tests, and
//! the errors that no other has. A new one is such a file, its `mod` and its entry in the table.

pub(crate) mod ack;
pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod federation;
pub(crate) mod fetch;
pub(crate) mod guardian;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod openapi;
pub(crate) mod purge;
pub(crate) mod recovery;
pub(crate) mod register;
pub(crate) mod router;
pub(crate) mod send;

use crate::app::App;
use crate::bodies::error::ErrorCode;
use crate::ohttp;
use axum::routing::{MethodFilter, MethodRouter, on};
use hyper::Method;
use openapi::Operation;
use std::sync::Arc;

/// Whom an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Anybody, without storage.
    Anybody,
    /// Clients of the API, by themselves or inside a sealed request.
    Clients,
    /// Those who come by an oblivious relay, which strips headers, and ask in the open: for keys, and to have sealed
    /// requests answered. Who has not said a version there has not said an old one.
    ObliviousRelays,
    /// Other relays, which come by themselves: never inside a sealed request.
    Peers,
}

/// An endpoint.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) audience: Audience,
    pub(crate) about: &'static str,
    /// What goes in and out of it, for the description of the API.
    pub(crate) operation: &'static Operation,
    handler: fn() -> MethodRouter<Arc<App>>,
}

macro_rules! routes {
    ($($method:ident $path:literal for $audience:ident => $($handler:ident)::+ as $($operation:ident)::+, $about:literal;)*) => {
        /// Every endpoint of the main port.
        pub(crate) static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            audience: Audience::$audience,
            about: $about,
            operation: &$($operation)::+,
            handler: || on(MethodFilter::$method, $($handler)::+),
        },)*];
    };
}

routes! {
    POST "/v2/send" for Clients => send::send as send::SEND, "Leaves a blob in a mailbox.";
    POST "/v2/fetch" for Clients => fetch::fetch as fetch::FETCH, "Shows what waits in up to 1900 mailboxes, oldest first. Removes nothing.";
    POST "/v2/ack" for Clients => ack::ack as ack::ACK, "Removes a blob that was received.";
    POST "/v2/register" for Clients => register::register as register::REGISTER, "Makes mailboxes known to the relay, and binds them to an owner's key if one signs.";
    POST "/v2/purge" for Clients => purge::purge as purge::PURGE, "Deletes everything that belongs to the signing key.";
    POST "/v2/recovery/store" for Clients => recovery::store as recovery::STORE, "Stores a recovery proof for 90 days, in place of the one before.";
    POST "/v2/recovery/query" for Clients => recovery::query as recovery::QUERY, "Shows the recovery proofs under up to 50 keys.";
    POST "/v2/exchange/offer" for Clients => exchange::offer as exchange::OFFER, "Offers something to whoever is told the six-digit code.";
    POST "/v2/exchange/claim" for Clients => exchange::claim as exchange::CLAIM, "Takes what is offered under a code, once, and leaves a response.";
    POST "/v2/exchange/complete" for Clients => exchange::complete as exchange::COMPLETE, "Takes the response, which ends the exchange.";
    POST "/v2/guardian/store" for Clients => guardian::store as guardian::STORE, "Replaces the guardian set of the signing key, for a year.";
    POST "/v2/guardian/query" for Clients => guardian::query as guardian::QUERY, "Shows a guardian set; an unknown one is empty.";
    POST "/v2/guardian/delete" for Clients => guardian::delete as guardian::DELETE, "Deletes the guardian set of the signing key.";
    POST "/v2/escrow" for Clients => escrow::escrow as escrow::ESCROW, "Fills a slot behind a gate of two, reads the other once both are filled, or counts them.";
    GET "/v2/ohttp-key" for ObliviousRelays => keys::bare as keys::KEY, "The key for Oblivious HTTP: one key configuration, without a length in front.";
    GET "/v2/ohttp-key-signed" for ObliviousRelays => keys::signed as keys::SIGNED, "The same key for today, signed by the relay's anchor.";
    GET "/v2/ohttp-anchor-rollover" for ObliviousRelays => keys::rollovers as keys::ROLLOVERS, "How the anchor changed, as signed records.";
    POST "/v2/ohttp" for ObliviousRelays => ohttp::serve as ohttp::SEALED, "An oblivious request (RFC 9458): any of the others, sealed.";
    GET "/.well-known/ohttp-gateway" for ObliviousRelays => keys::listed as keys::KEY, "The key for Oblivious HTTP as a list (RFC 9540).";
    POST "/.well-known/ohttp-gateway" for ObliviousRelays => ohttp::serve as ohttp::SEALED, "An oblivious request, at the address of RFC 9540.";
    GET "/health" for Anybody => health::health as health::HEALTH, "Whether the gateway lives.";
    GET "/v2/health" for Anybody => health::health as health::HEALTH, "The same, under the path of the API.";
    GET "/federation" for Peers => federation::tunnel as federation::TUNNEL, "A WebSocket upgrade: the connection of another relay.";
    GET "/federation/key" for Peers => federation::key as federation::KEY, "The key by which other relays know this one.";
}

/// Where RFC 9540 looks for an oblivious gateway.
pub(crate) const GATEWAY: &str = "/.well-known/ohttp-gateway";

/// An endpoint, for the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// HTTP method.
    pub method: &'static str,
    /// Path on the main port.
    pub path: &'static str,
    /// One sentence.
    pub about: &'static str,
}

/// Every endpoint of the main port.
pub fn endpoints() -> Vec<Endpoint> {
    let of = |route: &'static Route| Endpoint {
        method: route.method.as_str(),
        path: route.path,
        about: route.about,
    };
    ROUTES.iter().map(of).collect()
}

/// An error that clients may get, for the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRow {
    /// HTTP status.
    pub status: u16,
    /// The text in the body.
    pub text: &'static str,
    /// When it happens.
    pub when: &'static str,
}

/// Every error that clients may get.
pub fn errors() -> Vec<ErrorRow> {
    let row = |error: ErrorCode| ErrorRow {
        status: error.status().as_u16(),
        text: error.text(),
        when: error.when(),
    };
    every_error().into_iter().map(row).collect()
}

/// The table of errors, and those that endpoints declare, by status.
pub(crate) fn every_error() -> Vec<ErrorCode> {
    let mut all = ErrorCode::ALL.to_vec();
    for error in ROUTES.iter().flat_map(|route| route.operation.errors) {
        if !all.contains(error) {
            all.push(*error);
        }
    }
    all.sort_by_key(|error| error.status());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_listed_once_and_documented() {
        let endpoints = endpoints();
        for (index, endpoint) in endpoints.iter().enumerate() {
            assert!(!endpoint.about.is_empty());
            let same = |other: &Endpoint| (other.method, other.path) == (endpoint.method, endpoint.path);
            assert!(!endpoints[..index].iter().any(same), "{}", endpoint.path);
        }
    }
}
