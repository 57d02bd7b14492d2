//! What happens to every request, whichever door it came in by, from the outside in:
//!
//! 1. `/v2` answers, of whatever status, carry the version policy; requests are counted and timed;
//! 2. a panic costs its own request a 500 and nothing else;
//! 3. clients below the minimum version are turned away, once the policy is known;
//! 4. a direct request, to the API or of another relay, is charged to its address, and so is a sealed one, unless an
//!    oblivious relay brought it that the operator named, which has a budget of its own: here cheaply, and in storage
//!    for all gateways;
//! 5. the endpoint reads the body and answers.
//!
//! The doors are [`Clients`] for plain HTTP, and [`crate::ohttp`] for what comes sealed.

use crate::address;
use crate::api::body::{BodyBudget, Upload};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::reply::Reply;
use crate::api::{self, Audience, IdempotencyKey, RequestContext, RetryDeadline, Route, reply};
use crate::edge::{Handler, ResponseFuture, TrackedBody, UpgradeHandle};
use crate::limit::LocalLimits;
use crate::memory::Account;
use crate::metrics::Metrics;
use crate::ohttp::Oblivious;
use crate::origin::Origin;
use crate::policy::{PolicySnapshot, PolicyWatch};
use crate::recall::Recall;
use crate::storage::{PATIENCE, Storage};
use crate::strict::{self, Malformed};
use crate::tunnel::Tunnels;
use crate::versions::{self, VersionSupport, Versions};
use axum::body::Body;
use bytes::Bytes;
use hyper::body::Body as _;
use hyper::header::{ALLOW, EXPECT, HeaderValue};
use hyper::{HeaderMap, Method, Request};
use ipnet::IpNet;
use relay_daemon::Clock;
use relay_proto::caller::{Caller, RateLimitClass, RateLimitSubject};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// What requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) max_message_size: usize,
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Relays for Oblivious HTTP that the operator named.
    pub(crate) known_relays: Vec<IpNet>,
    /// Host and port by which clients know this relay.
    pub(crate) authority: Option<String>,
    pub(crate) oblivious: Oblivious,
    pub(crate) policy: PolicyWatch,
    pub(crate) limits: LocalLimits,
    pub(crate) intake: BodyBudget,
    pub(crate) storage: Storage,
    pub(crate) recall: Recall,
    pub(crate) tunnels: Tunnels,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
}

/// The door of direct requests: plain HTTP on the main port.
#[derive(Debug, Clone)]
pub(crate) struct Clients(pub(crate) Arc<App>);

impl Handler for Clients {
    fn handle(&self, peer: IpAddr, request: Request<TrackedBody>) -> ResponseFuture {
        let app = Arc::clone(&self.0);
        app.metrics.addressed(address::source(peer, request.headers(), &app.trusted_proxies));
        let client = address::client_address(peer, request.headers(), &app.trusted_proxies);
        let account = app.intake.account(client, address::is_among(client, &app.known_relays));
        let (mut head, body) = request.into_parts();
        strict::inspect(&mut head);
        let request = Request::from_parts(head, Body::new(body));
        Box::pin(answer(app, Origin::Direct(client), Some(account), request))
    }
}

/// Bytes of an unwanted body that are taken rather than ending the connection.
const PASSED_OVER: usize = 64 << 10;

/// What [`api::find`] found.
type Found = Result<&'static Route, (ErrorCode, &'static str)>;

/// Answers a request, whose body and answer are paid for by an account, unless another request around it pays.
pub(crate) async fn answer(
    app: Arc<App>,
    origin: Origin,
    account: Option<Arc<Account>>,
    request: Request<Body>,
) -> Reply {
    let (mut head, body) = request.into_parts();
    let body = Upload { body, account };
    let passage = head.extensions.remove::<UpgradeHandle>().filter(|_| head.method == Method::GET);
    let path = head.uri.path();
    let malformed = head.extensions.remove::<Malformed>();
    let found =
        match malformed.map_or_else(|| api::find(&head.method, path), |Malformed(fault)| Err((fault, ""))) {
            Ok(route) if matches!(origin, Origin::Oblivious { .. }) && !route.is_inside_sealed_requests() => {
                Err((ErrorCode::NotFound, ""))
            }
            found => found,
        };
    if path.starts_with("/v2/") || path == "/v2" || path == api::GATEWAY {
        answer_versioned(&app, origin, found, head.method, head.headers, body).await
    } else {
        let outcome = caught(async {
            let route = found.map_err(|(fault, _)| ApiError::from(fault))?;
            let Charged { caller, refused } = if route.audience == Audience::Peers {
                let standing = app.policy.within(PATIENCE).await.ok_or(ErrorCode::Unreachable)?;
                charge(&app, origin, false, &standing)?
            } else {
                Charged::default()
            };
            let patience = RetryDeadline::since(Instant::now());
            let (name, sealed, headers) = (IdempotencyKey::of(origin), origin.is_sealed(), head.headers);
            (route.answer)(RequestContext {
                app,
                caller,
                refused,
                patience,
                name,
                sealed,
                headers,
                body,
                passage,
            })
            .await
        });
        outcome.await.unwrap_or_else(|error| refuse(error, found, &Versions::default()))
    }
}

async fn answer_versioned(
    app: &Arc<App>,
    origin: Origin,
    found: Found,
    method: Method,
    headers: HeaderMap,
    body: Upload,
) -> Reply {
    let began = Instant::now();
    let is_door = found.is_ok_and(Route::takes_sealed_requests);
    let is_told = matches!(origin, Origin::Direct(_))
        && !found.is_ok_and(|route| route.audience == Audience::ObliviousRelays);
    let claimed = versions::claimed(&headers, if is_told { 0 } else { u16::MAX });
    let expects = headers.contains_key(EXPECT);
    let outcome = caught(async {
        let admitted = async {
            let standing = policy_for(app, found).await?;
            let charged = match standing {
                Some(standing) => admit(app, origin, is_door, claimed, &standing)?,
                None => Charged::default(),
            };
            found.map(|route| (route, charged)).map_err(|(fault, _)| ApiError::from(fault))
        };
        match admitted.await {
            Ok((route, Charged { caller, refused })) => {
                let (app, patience) = (Arc::clone(app), RetryDeadline::since(began));
                let (name, sealed, passage) = (IdempotencyKey::of(origin), origin.is_sealed(), None);
                (route.answer)(RequestContext {
                    app,
                    caller,
                    refused,
                    patience,
                    name,
                    sealed,
                    headers,
                    body,
                    passage,
                })
                .await
            }
            Err(error) => {
                if !expects {
                    pass_over(body.body).await;
                }
                Err(error)
            }
        }
    })
    .await;
    let standing = app.policy.current();
    let unknown = standing.is_none().then(Versions::default);
    let versions = standing.as_ref().map(|standing| &standing.versions).or(unknown.as_ref());
    let Some(versions) = versions else { return ApiError::from(ErrorCode::Internal).reply() };
    let refused = outcome.as_ref().err().map(|error| error.fault.reason());
    let mut reply = outcome.unwrap_or_else(|error| refuse(error, found, versions));
    versions.stamp(reply.headers_mut(), versions.judge(claimed, app.clock.now()));
    // What a sealed request asks for is counted inside.
    if method == Method::POST && !is_door {
        app.metrics.messages_received.inc();
        app.metrics.message_duration.observe(began.elapsed().as_secs_f64());
        if let Some(reason) = refused {
            app.metrics.rejected(reason);
        }
    }
    reply
}

/// The policy that holds. Only requests that need storage wait until there is one.
async fn policy_for(app: &App, found: Found) -> Result<Option<Arc<PolicySnapshot>>, ApiError> {
    match found {
        Ok(route) if route.needs_storage() => {
            app.policy.within(PATIENCE).await.map(Some).ok_or(ErrorCode::Unreachable.into())
        }
        _ => Ok(app.policy.current()),
    }
}

/// Turns away old clients and busy addresses; says who is charged.
fn admit(
    app: &App,
    origin: Origin,
    is_door: bool,
    claimed: u16,
    standing: &PolicySnapshot,
) -> Result<Charged, ApiError> {
    if standing.versions.judge(claimed, app.clock.now()) == VersionSupport::Expired {
        return Err(ErrorCode::UpgradeRequired.into());
    }
    charge(app, origin, is_door, standing)
}

/// Who pays for a request, and how long it has to wait where that is yet to be said, inside.
#[derive(Debug, Default)]
struct Charged {
    caller: Caller,
    refused: Option<Duration>,
}

/// Turns away busy addresses; says who is charged. Who brings sealed requests is told inside, unless it is far beyond
/// what it may: what is opened only to be refused costs work.
fn charge(app: &App, origin: Origin, is_door: bool, standing: &PolicySnapshot) -> Result<Charged, ApiError> {
    let client = match origin {
        // Charged when it came in.
        Origin::Oblivious { caller, refused: None, .. } => return Ok(Charged { caller, refused: None }),
        Origin::Oblivious { refused: Some(wait), .. } => return Err(ApiError::rate_limited(wait)),
        Origin::Direct(client) => client,
    };
    let address = address::hash(&standing.address_key, client);
    let network = address::network_hash(&standing.address_key, client);
    if !is_door {
        app.limits.charge_address(&address, standing.address_rate).map_err(ApiError::rate_limited)?;
        return Ok(Charged {
            caller: Some(RateLimitSubject { budget: RateLimitClass::Client, address, network }),
            refused: None,
        });
    }
    // Sealing to oneself earns nothing: it is one client, with one bucket for all that it asks.
    let (budget, rate) = if address::is_among(client, &app.known_relays) {
        (RateLimitClass::KnownObliviousRelay, standing.oblivious_rate)
    } else {
        (RateLimitClass::ObliviousRelay, standing.address_rate)
    };
    let payer = RateLimitSubject { budget, address, network };
    let refused = app.limits.charge_sealed(payer, rate).map_err(ApiError::rate_limited)?;
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

/// Writes an error, with what only some of them say.
fn refuse(error: ApiError, found: Found, versions: &Versions) -> Reply {
    let mut reply = error.reply();
    match (error.fault, found) {
        (ErrorCode::UpgradeRequired, _) => {
            let body = serde_json::json!({
                "status": "error", "error": error.fault.text(), "min_version": versions.minimum(),
            });
            reply = reply::json(error.fault.status(), body.to_string().into());
        }
        (ErrorCode::MethodNotAllowed, Err((_, allowed))) => {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        _ => {}
    }
    reply
}

/// Runs a request so that its panic is its own. The panic itself was reported where it happened.
async fn caught(request: impl Future<Output = Result<Reply, ApiError>>) -> Result<Reply, ApiError> {
    let mut request = pin!(request);
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(context)))
            .unwrap_or(Poll::Ready(Err(ErrorCode::Internal.into())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::Reason;
    use crate::fixture::{ADDRESS_KEY, Relay, policy};
    use relay_proto::UnixSeconds;
    use relay_proto::messages::Policy;
    use serde_json::json;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_of_its_own_request() {
        let outcome = caught(async { panic!("the request's own") }).await;
        assert_eq!(outcome.unwrap_err().fault, ErrorCode::Internal);
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
    async fn every_v2_answer_tells_the_version_policy() {
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
