//! The table of endpoints of the main port, and the router that is built from it. A new endpoint is a file in `api/` and
//! an entry here.

use crate::api::error::{ApiError, ErrorCode};
use crate::api::{
    ack, escrow, exchange, federation, fetch, guardian, health, keys, purge, recovery, register, send,
};
use crate::app::App;
use crate::layers::around;
use crate::ohttp;
use crate::openapi::Operation;
use axum::Router;
use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, any, on};
use hyper::header::ALLOW;
use hyper::{Method, Uri};
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
    handler: fn(MethodFilter) -> MethodRouter<Arc<App>>,
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
            handler: |method| on(method, $($handler)::+),
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

/// Builds the router. Paths are taken as they are, without decoding or a slash more or less; whoever may GET may HEAD.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for (index, first) in ROUTES.iter().enumerate() {
        if ROUTES[..index].iter().any(|earlier| earlier.path == first.path) {
            continue;
        }
        let allowed = allowed(first.path);
        let mut methods = around(any(async move || method_not_allowed(allowed)), app, None);
        for route in ROUTES.iter().filter(|route| route.path == first.path) {
            methods = methods.merge(around((route.handler)(route.filter()), app, Some(route)));
        }
        if let Some(alias) = first.alias() {
            router = router.route(&alias, methods.clone());
        }
        router = router.route(first.path, methods);
    }
    let missing = around(any(async || ApiError::from(ErrorCode::NotFound)), app, None);
    router.fallback_service(missing.with_state(Arc::clone(app))).with_state(Arc::clone(app))
}

/// The methods that a path takes, as `Allow` lists them.
fn allowed(path: &str) -> &'static str {
    let takes = |method: Method| ROUTES.iter().any(|route| route.path == path && route.method == method);
    match (takes(Method::GET), takes(Method::POST)) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        _ => "POST",
    }
}

fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = ApiError::from(ErrorCode::MethodNotAllowed).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// What the paths of the API begin with.
const PREFIX: &str = "/v2/";

/// Where RFC 9540 looks for an oblivious gateway.
pub(crate) const GATEWAY: &str = "/.well-known/ohttp-gateway";

impl Route {
    fn filter(&self) -> MethodFilter {
        if self.method == Method::GET { MethodFilter::GET } else { MethodFilter::POST }
    }

    /// Whether the endpoint waits for the policy that storage tells, as it needs storage or charges other relays.
    pub(crate) fn needs_policy(&self) -> bool {
        self.method == Method::POST || self.audience == Audience::Peers
    }

    /// Whether it takes sealed requests. Such a request is paid for by the relay that brings it, and is not to be
    /// found inside another.
    pub(crate) fn takes_sealed_requests(&self) -> bool {
        self.method == Method::POST && self.audience == Audience::ObliviousRelays
    }

    /// Whether it can be asked for inside of a sealed request.
    pub(crate) fn is_inside_sealed_requests(&self) -> bool {
        !self.takes_sealed_requests() && self.audience != Audience::Peers
    }

    /// The other path of an endpoint of the API whose own has two parts: with an underscore between them.
    fn alias(&self) -> Option<String> {
        let name = self.path.strip_prefix(PREFIX).filter(|name| name.contains('/'))?;
        Some([PREFIX, &name.replace('/', "_")].concat())
    }

    /// Whether an action of an envelope names it: its path behind [`PREFIX`], with underscores.
    fn is_action(&self, action: &str) -> bool {
        let name = self
            .path
            .strip_prefix(PREFIX)
            .filter(|_| self.method == Method::POST && !self.takes_sealed_requests());
        name.is_some_and(|name| name.len() == action.len() && name.replace('/', "_") == action)
    }
}

/// The path that an action of an envelope stands for.
pub(crate) fn path_of_action(action: &str) -> Option<Uri> {
    ROUTES.iter().find(|route| route.is_action(action)).map(|route| Uri::from_static(route.path))
}

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
    let method = |route: &Route| if route.method == Method::GET { "GET" } else { "POST" };
    ROUTES
        .iter()
        .map(|route| Endpoint { method: method(route), path: route.path, about: route.about })
        .collect()
}

/// The endpoint that a request without an alias is for.
#[cfg(test)]
pub(crate) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let is_at = |route: &Route| route.path == path || route.alias().is_some_and(|alias| alias == path);
    ROUTES.iter().find(|route| route.method == *method && is_at(route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Relay;

    #[test]
    fn an_endpoint_is_listed_once_and_documented() {
        let endpoints = endpoints();
        for (index, endpoint) in endpoints.iter().enumerate() {
            assert!(!endpoint.about.is_empty());
            let same = |other: &Endpoint| (other.method, other.path) == (endpoint.method, endpoint.path);
            assert!(!endpoints[..index].iter().any(same), "{}", endpoint.path);
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_found_by_its_very_path_and_method() {
        let relay = Relay::start().await;
        let status = async |method: Method, path: &str| relay.request(method, path, &[], "").await.status;
        assert_eq!(status(Method::HEAD, "/health").await, 200);
        for path in
            ["/", "/v2", "/v2/", "/v2/send/", "/V2/send", "//v2/send", "/v2/%73end", "/v2/exchange%2foffer"]
        {
            assert_eq!(status(Method::POST, path).await, 404, "{path}");
        }
        for path in ["/v2/send", "/v2/exchange/offer", "/v2/exchange_offer"] {
            assert_eq!(status(Method::POST, path).await, 400, "{path}");
        }
        for (method, path) in
            [(Method::GET, "/v2/send"), (Method::HEAD, "/v2/send"), (Method::POST, "/health")]
        {
            assert_eq!(status(method.clone(), path).await, 405, "{method} {path}");
        }
    }
}
