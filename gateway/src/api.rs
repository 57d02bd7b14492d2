//! The client API: one table of endpoints, whichever door a request came in by. A new endpoint is a file
//! beside this one and a line in [`ROUTES`].

mod ack;
pub(crate) mod body;
pub(crate) mod error;
mod escrow;
mod exchange;
mod federation;
mod fetch;
pub(crate) mod fields;
mod guardian;
mod health;
mod keys;
mod purge;
mod recovery;
mod register;
pub(crate) mod reply;
mod send;
mod success;
mod tokens;

use crate::app::App;
use crate::edge::UpgradeHandle;
use crate::ohttp;
use crate::origin::Origin;
use crate::storage::PATIENCE;
use body::Upload;
use error::{ApiError, ErrorCode};
use hyper::{HeaderMap, Method, Uri};
use relay_proto::RequestId;
use relay_proto::mail::Caller;
use reply::Reply;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A request that was let in, on its way to its endpoint.
pub(crate) struct RequestContext {
    pub(crate) app: Arc<App>,
    /// Who is charged.
    pub(crate) caller: Caller,
    /// How long the caller has to wait, where that is said inside of a sealed answer.
    pub(crate) refused: Option<Duration>,
    pub(crate) patience: RetryDeadline,
    pub(crate) name: IdempotencyKey,
    /// Whether the answer will be sealed, so that it must fit [`relay_proto::page::RUNG`].
    pub(crate) sealed: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Upload,
    /// The way out of HTTP, where the request asks for one.
    pub(crate) passage: Option<UpgradeHandle>,
}

/// What a request is known by, where storage must not carry it out twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdempotencyKey(Option<RequestId>);

impl IdempotencyKey {
    /// A sealed request is known by its message, any other one by a name that is drawn when it is needed.
    pub(crate) const fn of(origin: Origin) -> Self {
        match origin {
            Origin::Oblivious { request_id, .. } => Self(Some(request_id)),
            Origin::Direct(_) => Self(None),
        }
    }

    /// The name. To be asked once a request.
    fn request_id(self) -> Result<RequestId, ApiError> {
        match self.0 {
            Some(request_id) => Ok(request_id),
            None => RequestId::random().map_err(|_| ErrorCode::Internal.into()),
        }
    }
}

/// How long storage may still keep a request waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryDeadline(Duration);

impl RetryDeadline {
    /// What is left of a request's patience that began to wait at `began`.
    pub(crate) fn since(began: Instant) -> Self {
        Self(PATIENCE.saturating_sub(began.elapsed()))
    }

    /// What is left of it.
    fn remaining(self) -> Duration {
        self.0
    }

    /// When it ends, if it is needed from now on. The time for sending a body is not counted: that one is the client's.
    fn deadline(self) -> Instant {
        Instant::now() + self.0
    }
}

/// The answer of an endpoint.
type Answer = Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

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
    pub(crate) answer: fn(RequestContext) -> Answer,
}

macro_rules! routes {
    ($($method:ident $path:literal for $audience:ident => $($module:ident)::+, $about:literal;)*) => {
        /// Every endpoint of the main port.
        pub(crate) static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            audience: Audience::$audience,
            about: $about,
            answer: |call| Box::pin($($module)::+(call)),
        },)*];
    };
}

routes! {
    POST "/v2/send" for Clients => send::send, "Leaves a blob in a mailbox.";
    POST "/v2/fetch" for Clients => fetch::fetch, "Shows what waits in up to 1900 mailboxes, oldest first. Removes nothing.";
    POST "/v2/ack" for Clients => ack::ack, "Removes a blob that was received.";
    POST "/v2/register" for Clients => register::register, "Makes mailboxes known to the relay, and binds them to an owner's key if one signs.";
    POST "/v2/purge" for Clients => purge::purge, "Deletes everything that belongs to the signing key.";
    POST "/v2/recovery/store" for Clients => recovery::store, "Stores a recovery proof for 90 days, in place of the one before.";
    POST "/v2/recovery/query" for Clients => recovery::query, "Shows the recovery proofs under up to 50 keys.";
    POST "/v2/exchange/offer" for Clients => exchange::offer, "Offers something to whoever is told the six-digit code.";
    POST "/v2/exchange/claim" for Clients => exchange::claim, "Takes what is offered under a code, once, and leaves a response.";
    POST "/v2/exchange/complete" for Clients => exchange::complete, "Takes the response, which ends the exchange.";
    POST "/v2/guardian/store" for Clients => guardian::store, "Replaces the guardian set of the signing key, for a year.";
    POST "/v2/guardian/query" for Clients => guardian::query, "Shows a guardian set; an unknown one is empty.";
    POST "/v2/guardian/delete" for Clients => guardian::delete, "Deletes the guardian set of the signing key.";
    POST "/v2/escrow" for Clients => escrow::escrow, "Fills a slot behind a gate of two, reads the other once both are filled, or counts them.";
    GET "/v2/ohttp-key" for ObliviousRelays => keys::bare, "The key for Oblivious HTTP: one key configuration, without a length in front.";
    GET "/v2/ohttp-key-signed" for ObliviousRelays => keys::signed, "The same key for today, signed by the relay's anchor.";
    GET "/v2/ohttp-anchor-rollover" for ObliviousRelays => keys::rollovers, "How the anchor changed, as signed records.";
    POST "/v2/ohttp" for ObliviousRelays => ohttp::serve, "An oblivious request (RFC 9458): any of the others, sealed.";
    GET "/.well-known/ohttp-gateway" for ObliviousRelays => keys::listed, "The key for Oblivious HTTP as a list (RFC 9540).";
    POST "/.well-known/ohttp-gateway" for ObliviousRelays => ohttp::serve, "An oblivious request, at the address of RFC 9540.";
    GET "/health" for Anybody => health::health, "Whether the gateway lives.";
    GET "/v2/health" for Anybody => health::health, "The same, under the path of the API.";
    GET "/federation" for Peers => federation::tunnel, "A WebSocket upgrade: the connection of another relay.";
    GET "/federation/key" for Peers => federation::key, "The key by which other relays know this one.";
}

impl Route {
    /// Whether the endpoint needs storage, and with it the shared policy.
    pub(crate) fn needs_storage(&self) -> bool {
        self.method == Method::POST
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

    /// Whether a path names it: its own, or for a path of two parts the form with an underscore, which is also
    /// the name of its action in an envelope.
    fn is_at(&self, path: &str) -> bool {
        self.path == path
            || (self.path.len() == path.len()
                && self.path.starts_with(PREFIX)
                && path.starts_with(PREFIX)
                && self.path[PREFIX.len()..].replace('/', "_") == path[PREFIX.len()..])
    }

    /// Whether it takes a method. Whoever may GET may HEAD.
    fn takes(&self, method: &Method) -> bool {
        *method == self.method || (*method == Method::HEAD && self.method == Method::GET)
    }
}

/// What the paths of the API begin with.
const PREFIX: &str = "/v2/";

/// Where RFC 9540 looks for an oblivious gateway.
pub(crate) const GATEWAY: &str = "/.well-known/ohttp-gateway";

/// The endpoint of a request.
///
/// # Errors
/// [`ErrorCode::NotFound`]; [`ErrorCode::MethodNotAllowed`] with the methods that the path takes.
pub(crate) fn find(method: &Method, path: &str) -> Result<&'static Route, (ErrorCode, &'static str)> {
    let mut allowed = "";
    for route in ROUTES.iter().filter(|route| route.is_at(path)) {
        if route.takes(method) {
            return Ok(route);
        }
        allowed = match (allowed, route.method == Method::GET) {
            ("", true) => "GET, HEAD",
            ("", false) => "POST",
            _ => "GET, HEAD, POST",
        };
    }
    Err((if allowed.is_empty() { ErrorCode::NotFound } else { ErrorCode::MethodNotAllowed }, allowed))
}

/// The path that an action of an envelope stands for.
pub(crate) fn path_of_action(action: &str) -> Option<Uri> {
    let asked = [PREFIX, action].concat();
    let names_it = |route: &&Route| {
        route.method == Method::POST && !route.takes_sealed_requests() && route.is_at(&asked)
    };
    let route = ROUTES.iter().find(names_it).filter(|_| !action.contains('/'))?;
    Some(Uri::from_static(route.path))
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
    ErrorCode::ALL
        .iter()
        .map(|fault| ErrorRow { status: fault.status().as_u16(), text: fault.text(), when: fault.when() })
        .collect()
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
        assert_eq!(errors().len(), ErrorCode::ALL.len());
    }

    #[test]
    fn an_endpoint_is_found_by_its_very_path_and_method() {
        assert!(find(&Method::POST, "/v2/send").is_ok());
        assert!(find(&Method::HEAD, "/health").is_ok());
        for path in ["/", "/v2", "/v2/", "/v2/send/", "/V2/send", "//v2/send", "/v2/%73end"] {
            assert_eq!(find(&Method::POST, path).err().unwrap().0, ErrorCode::NotFound, "{path}");
        }
        for (method, path) in
            [(Method::GET, "/v2/send"), (Method::HEAD, "/v2/send"), (Method::POST, "/health")]
        {
            assert_eq!(find(&method, path).err().unwrap().0, ErrorCode::MethodNotAllowed, "{method} {path}");
        }
    }
}
