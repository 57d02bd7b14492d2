//! What happens around every endpoint, from the outside in:
//!
//! 1. [`tell_versions`]: replies under `/v2`, of whatever status, carry the version policy; requests are counted and timed;
//! 2. [`catch_panic`]: a panic costs its own request a 500 and nothing else;
//! 3. [`admit`]: malformed requests, and clients below the minimum version once the policy is known, are refused. A direct
//!    request, to the API or of another relay, is charged to its address, and so is a sealed one or one for a key, unless
//!    it comes from an oblivious relay that the operator named, which has budgets of its own for either: here cheaply,
//!    and in storage for all gateways;
//! 4. the endpoint reads the body and replies.

pub(crate) mod context;
pub(crate) mod origin;
pub(crate) mod strict;
pub(crate) mod versions;

use crate::api::{Audience, GATEWAY, Route};
use crate::app::{App, Arrival};
use crate::bodies::error::{ApiError, ErrorCode};
use crate::limits::address;
use crate::storage::PATIENCE;
use crate::storage::policy::PolicySnapshot;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use bytes::Bytes;
use context::{Admitted, IdempotencyKey, RetryDeadline};
use futures_util::FutureExt as _;
use hyper::Method;
use hyper::body::Body as _;
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use origin::Origin;
use relay_proto::caller::{Caller, RateLimitClass, RateLimitSubject};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use strict::Malformed;
use tokio::time::Instant;
use versions::{VersionSupport, Versions};

/// Bytes of an unwanted body that are taken rather than ending the connection.
const PASSED_OVER: usize = 64 << 10;

/// Puts the layers around an endpoint, or around the refusal (`None`) of a path or method that has none.
pub(crate) fn around(
    endpoint: MethodRouter<Arc<App>>,
    app: &Arc<App>,
    route: Option<&'static Route>,
) -> MethodRouter<Arc<App>> {
    let layered = Layered { app: Arc::clone(app), route };
    // One middleware that calls the next function in turn: as three they cost a request six boxes more.
    endpoint.layer(from_fn_with_state(layered, tell_versions))
}

/// What the layers know of the endpoint that they surround.
#[derive(Clone)]
struct Layered {
    app: Arc<App>,
    route: Option<&'static Route>,
}

impl Layered {
    /// The endpoint that a request is for; `None` where it is to be refused for its form or its origin.
    fn endpoint(&self, head: &Parts) -> Option<&'static Route> {
        let is_malformed = head.extensions.get::<Malformed>().is_some();
        self.route.filter(|route| !is_malformed && (!is_sealed(head) || route.is_inside_sealed_requests()))
    }

    /// The version that a client says it has. Who was sealed, or comes by an oblivious relay, which strips headers, and
    /// has not said a version, has not said an old one.
    fn claimed(&self, head: &Parts) -> u16 {
        let strips = |route: &Route| route.audience == Audience::ObliviousRelays;
        let is_told = !is_sealed(head) && !self.endpoint(head).is_some_and(strips);
        versions::claimed(&head.headers, if is_told { 0 } else { u16::MAX })
    }
}

fn is_sealed(head: &Parts) -> bool {
    head.extensions.get::<Arrival>().is_some_and(|arrival| arrival.origin.is_sealed())
}

/// Whether replies to a path carry the version policy.
fn is_versioned(path: &str) -> bool {
    path.starts_with("/v2/") || path == "/v2" || path == GATEWAY
}

async fn tell_versions(State(layered): State<Layered>, request: Request, next: Next) -> Response {
    if !is_versioned(request.uri().path()) {
        return catch_panic(&layered, request, next).await;
    }
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let claimed = layered.claimed(&head);
    // What a sealed request asks for is counted inside.
    let takes_sealed = layered.endpoint(&head).is_some_and(Route::takes_sealed_requests);
    let is_counted = head.method == Method::POST && !takes_sealed;
    let mut response = catch_panic(&layered, Request::from_parts(head, body), next).await;
    let Layered { app, .. } = layered;
    let now = app.clock.now();
    match app.policy.current() {
        Some(policy) => policy.versions.stamp(response.headers_mut(), policy.versions.judge(claimed, now)),
        None => Versions::default().stamp(response.headers_mut(), VersionSupport::Current),
    }
    if is_counted {
        app.metrics.messages_received.inc();
        app.metrics.message_duration.observe(began.elapsed().as_secs_f64());
        if let Some(error) = response.extensions().get::<ErrorCode>() {
            app.metrics.rejected(error.reason());
        }
    }
    response
}

/// The panic itself was reported where it happened.
async fn catch_panic(layered: &Layered, request: Request, next: Next) -> Response {
    let caught = AssertUnwindSafe(admit(layered, request, next)).catch_unwind().await;
    caught.unwrap_or_else(|_| ApiError::from(ErrorCode::Internal).into_response())
}

async fn admit(layered: &Layered, request: Request, next: Next) -> Response {
    let is_endpoint = layered.route.is_some();
    let (mut head, body) = request.into_parts();
    let passes_over = is_versioned(head.uri.path()) && !head.headers.contains_key(EXPECT);
    let outcome = admission(layered, &head).await;
    match outcome {
        Ok(admitted) if is_endpoint => {
            head.extensions.insert(admitted);
            return next.run(Request::from_parts(head, body)).await;
        }
        _ if passes_over => pass_over(body).await,
        _ => {}
    }
    match outcome {
        Ok(_) => next.run(Request::from_parts(head, Body::empty())).await,
        Err(error) => error.into_response(),
    }
}

/// Returns who is charged and how long the request may take.
async fn admission(layered: &Layered, head: &Parts) -> Result<Admitted, ApiError> {
    let (began, app, endpoint) = (Instant::now(), &layered.app, layered.endpoint(head));
    let origin = head.extensions.get::<Arrival>().ok_or(ErrorCode::Internal)?.origin;
    let is_versioned = is_versioned(head.uri.path());
    // Only requests that need storage wait until there is a policy.
    let policy = match endpoint {
        Some(route) if route.needs_policy() => {
            Some(app.policy.within(PATIENCE).await.ok_or(ErrorCode::Unreachable)?)
        }
        _ if is_versioned => app.policy.current(),
        _ => None,
    };
    let Charged { caller, refused } = match policy {
        Some(policy) => {
            let support = policy.versions.judge(layered.claimed(head), app.clock.now());
            if is_versioned && support == VersionSupport::Expired {
                return Err(ApiError::upgrade_required(policy.versions.minimum()));
            }
            charge(app, origin, endpoint, &policy)?
        }
        None => Charged::default(),
    };
    match (head.extensions.get(), layered.route, endpoint) {
        (Some(Malformed(error)), ..) => return Err((*error).into()),
        (None, Some(_), None) => return Err(ErrorCode::NotFound.into()),
        _ => {}
    }
    Ok(Admitted {
        caller,
        refused,
        retry: RetryDeadline::since(began),
        idempotency: IdempotencyKey::of(origin),
    })
}

/// Who pays for a request, and how long it has to wait where that is yet to be said, inside.
#[derive(Debug, Default)]
struct Charged {
    caller: Caller,
    refused: Option<Duration>,
}

/// Refuses busy addresses; returns who is charged. Who brings sealed requests is told inside, unless it is far beyond
/// what it may: what is opened only to be refused costs work. Keys that a named relay fetches for its clients have
/// a budget like it: in that of an address, one of its clients could spend them for all others.
fn charge(
    app: &App,
    origin: Origin,
    endpoint: Option<&'static Route>,
    policy: &PolicySnapshot,
) -> Result<Charged, ApiError> {
    let client = match origin {
        // Charged when it came in.
        Origin::Oblivious { caller, refused: None, .. } => return Ok(Charged { caller, refused: None }),
        Origin::Oblivious { refused: Some(wait), .. } => return Err(ApiError::rate_limited(wait)),
        Origin::Direct(client) => client,
    };
    let address = address::hash(&policy.address_key, client);
    let network = address::network_hash(&policy.address_key, client);
    let is_for_relays = endpoint.is_some_and(|route| route.audience == Audience::ObliviousRelays);
    let is_named = is_for_relays && address::is_among(client, &app.known_relays);
    let takes_sealed = endpoint.is_some_and(Route::takes_sealed_requests);
    let (budget, rate) = match (is_named, takes_sealed) {
        (true, _) => (RateLimitClass::KnownObliviousRelay, policy.oblivious_rate),
        // Sealing to oneself earns nothing: it is one client, with one bucket for all that it asks.
        (false, true) => (RateLimitClass::ObliviousRelay, policy.address_rate),
        (false, false) => (RateLimitClass::Client, policy.address_rate),
    };
    let payer = RateLimitSubject { budget, address, network };
    let refused = match (is_named, takes_sealed) {
        (_, true) => app.limits.charge_sealed(payer, rate),
        (true, false) => app.limits.charge_for_key(&address, rate).map(|()| None),
        (false, false) => app.limits.charge_address(&address, rate).map(|()| None),
    };
    let refused = refused.map_err(ApiError::rate_limited)?;
    Ok(Charged { caller: Some(payer), refused })
}

/// Takes what has already come of a body that nobody wants, so that the connection can serve the next
/// request. Waits for nothing: a body that is still on its way ends the connection instead.
async fn pass_over(mut body: Body) {
    let mut passed = 0;
    while passed < PASSED_OVER {
        let frame = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
        let Poll::Ready(Some(Ok(frame))) = frame else { return };
        passed += frame.data_ref().map_or(0, Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::error::Reason;
    use crate::fixture::{ADDRESS_KEY, Relay, policy};
    use relay_proto::UnixSeconds;
    use relay_proto::messages::Policy;
    use serde_json::json;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_of_its_own_request() {
        let relay = Relay::start().await;
        let panics = axum::routing::post(async || {
            panic!("the request's own");
            #[expect(unreachable_code, reason = "says what it would return")]
            axum::http::StatusCode::OK
        });
        let router = around(panics, &relay.app, None).with_state(Arc::clone(&relay.app));
        let origin = Origin::Direct([192, 0, 2, 1].into());
        let mut request = Request::post("/v2/send").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Arrival { origin, account: None, router: None });
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key("x-min-version"), "as every reply");
        assert_eq!(relay.app.metrics.rejections(Reason::Internal), 1);
    }

    #[tokio::test]
    async fn paths_and_methods_that_are_not_there_are_json_errors() {
        let relay = Relay::start().await;
        for path in ["/", "/v2", "/v2/nothing", "/metrics"] {
            assert_eq!(relay.request(Method::GET, path, &[], "").await.error(404), "no such endpoint");
        }
        for (method, path, allow) in [
            (Method::GET, "/v2/send", "POST"),
            (Method::DELETE, "/v2/ack", "POST"),
            (Method::OPTIONS, "/v2/fetch", "POST"),
            (Method::POST, "/health", "GET, HEAD"),
        ] {
            let reply = relay.request(method, path, &[], "").await;
            assert_eq!(reply.error(405), "method not allowed");
            assert_eq!(reply.headers["allow"], allow);
        }
    }

    #[tokio::test]
    async fn health_tells_nothing_but_that_it_is() {
        let relay = Relay::start().await;
        for path in ["/health", "/v2/health"] {
            let reply = relay.request(Method::GET, path, &[], "").await;
            assert_eq!(reply.json(200), json!({ "status": "ok" }));
        }
    }

    fn raised(deadline: u64) -> Policy {
        Policy { min_version: 5, warn_version: 7, upgrade_deadline: deadline, ..policy() }
    }

    #[tokio::test]
    async fn every_v2_reply_tells_the_version_policy() {
        let relay = Relay::start().await;
        relay.post_policy(raised(u64::MAX)).await;
        for (method, path) in [
            (Method::GET, "/v2/health"),
            (Method::GET, "/v2/nothing"),
            (Method::GET, "/v2/send"),
            (Method::POST, "/v2/send"),
        ] {
            let reply = relay.request(method, path, &[("x-app-compat-version", "6")], "").await;
            assert_eq!(reply.headers["x-min-version"], "5", "{path}");
            assert_eq!(reply.headers["x-warn-version"], "7", "{path}");
            assert!(!reply.headers.contains_key("x-upgrade-deadline"));
        }
        let reply = relay.request(Method::GET, "/health", &[], "").await;
        assert!(!reply.headers.contains_key("x-min-version"));
    }

    #[tokio::test]
    async fn an_old_client_is_served_until_the_deadline_and_then_told_to_upgrade() {
        let relay = Relay::start().await;
        relay.post_policy(raised(5000)).await;
        let body = json!({ "mailbox_tokens": ["ab".repeat(32)] }).to_string();
        let fetch = async |version| {
            relay.request(Method::POST, "/v2/fetch", &[("x-app-compat-version", version)], &body).await
        };
        let reply = fetch("4").await;
        reply.json(200);
        assert_eq!(reply.headers["x-upgrade-deadline"], "5000");
        relay.clock.jump_to(UnixSeconds::new(5000));
        let reply = fetch("4").await;
        assert_eq!(
            reply.json(426),
            json!({ "status": "error", "error": "upgrade_required", "min_version": 5 })
        );
        assert_eq!(reply.headers["x-min-version"], "5");
        fetch("5").await.json(200);
        assert_eq!(fetch("nonsense").await.status, 426, "an unreadable version is 0");
        assert_eq!(relay.app.metrics.rejections(Reason::Upgrade), 2);
    }

    #[tokio::test]
    async fn an_address_that_asks_too_much_is_refused_here_and_others_are_not() {
        let relay = Relay::start().await;
        relay.post_policy(Policy { address_rate: 2, ..policy() }).await;
        let health = |client| relay.request_from(client, Method::GET, "/v2/health", &[], "");
        for _ in 0..2 {
            health("192.0.2.1").await.json(200);
        }
        let reply = health("192.0.2.1").await;
        assert_eq!(reply.error(429), "rate limit exceeded");
        assert_eq!(reply.headers["retry-after"], "30");
        assert!(reply.headers.contains_key("x-min-version"));
        health("192.0.2.2").await.json(200);
        assert_eq!(relay.app.metrics.limited_addresses.get(), 1);
    }

    #[tokio::test]
    async fn keys_that_a_named_relay_fetches_have_a_budget_of_their_own() {
        let relay = Relay::start().await;
        relay.post_policy(Policy { address_rate: 2, named_relay_rate: 4, ..policy() }).await;
        let (named, other) = ("192.0.2.1", "198.51.100.1");
        let get = async |client, path| relay.request_from(client, Method::GET, path, &[], "").await.status;
        let key = async |client| get(client, "/v2/ohttp-anchor-rollover").await;
        for (client, fetches) in [(named, 4), (other, 2)] {
            for _ in 0..fetches {
                assert_eq!(key(client).await, 404, "{client}: there is none, which is told");
            }
            assert_eq!(key(client).await, 429, "{client}");
        }
        assert_eq!(
            (get(named, "/v2/health").await, get(other, "/v2/health").await),
            (200, 429),
            "what it asks for itself is its address's"
        );
        assert_eq!(
            (relay.app.metrics.limited_relays.get(), relay.app.metrics.limited_addresses.get()),
            (1, 2)
        );
    }

    #[tokio::test]
    async fn storage_is_told_whom_to_charge() {
        let relay = Relay::start().await;
        let body = json!({ "mailbox_tokens": ["ab".repeat(32)] }).to_string();
        relay.request_from("192.0.2.1", Method::POST, "/v2/fetch", &[], &body).await.json(200);
        let expected = address::hash(&ADDRESS_KEY, "192.0.2.1".parse().unwrap());
        let payer = RateLimitSubject::new(RateLimitClass::Client, expected);
        assert_eq!(relay.storage.last_caller(), Some(payer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_first_policy_and_health_does_not() {
        let relay = Relay::without_policy();
        let reply = relay.request(Method::GET, "/v2/health", &[], "").await;
        reply.json(200);
        assert_eq!(reply.headers["x-min-version"], "0");
        let began = Instant::now();
        let reply = relay.post("/v2/fetch", &json!({ "mailbox_tokens": ["ab".repeat(32)] })).await;
        assert_eq!(reply.error(503), "storage is not reachable");
        assert_eq!(reply.headers["retry-after"], "2");
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test]
    async fn requests_are_counted_and_timed_and_refusals_by_reason() {
        let relay = Relay::start().await;
        relay.post("/v2/fetch", &json!({ "mailbox_tokens": ["ab".repeat(32)] })).await.json(200);
        relay.post("/v2/fetch", &json!({})).await.error(400);
        relay.request(Method::GET, "/v2/health", &[], "").await.json(200);
        let metrics = &relay.app.metrics;
        assert_eq!(metrics.messages_received.get(), 2);
        assert_eq!(metrics.message_duration.get_sample_count(), 2);
        assert_eq!(metrics.rejections(Reason::Invalid), 1);
    }
}
