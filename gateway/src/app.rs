//! What all requests share, and how a request from a connection reaches the router.

use crate::api::router;
use crate::bodies::budget::BodyBudget;
use crate::bodies::reply;
use crate::edge::{Handler, ResponseFuture, TrackedBody};
use crate::layers::origin::Origin;
use crate::layers::strict;
use crate::limits::LocalLimits;
use crate::limits::address;
use crate::limits::memory::Account;
use crate::ohttp::Oblivious;
use crate::ops::metrics::Metrics;
use crate::peers::recall::Recall;
use crate::peers::tunnel::Tunnels;
use crate::storage::Storage;
use crate::storage::policy::PolicyWatch;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use ipnet::IpNet;
use relay_daemon::Clock;
use std::net::IpAddr;
use std::sync::Arc;

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

/// What the router is told of a request besides HTTP, as an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) origin: Origin,
    /// Who pays for the memory of its bodies; `None` for a request inside another one, which pays for both.
    pub(crate) account: Option<Arc<Account>>,
    /// For what is sealed in the request; `None` inside a sealed one.
    pub(crate) router: Option<Router>,
}

/// Plain HTTP on the main port.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    app: Arc<App>,
    router: Router,
}

impl Clients {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let router = router::router(&app);
        Self { app, router }
    }

    /// Hands a request of an address to the router.
    pub(crate) fn serve(
        &self,
        client: IpAddr,
        mut request: Request<Body>,
    ) -> impl Future<Output = reply::Reply> + Send + use<> {
        let is_relay = address::is_among(client, &self.app.known_relays);
        let account = Some(self.app.intake.account(client, is_relay));
        let (origin, router) = (Origin::Direct(client), Some(self.router.clone()));
        request.extensions_mut().insert(Arrival { origin, account, router });
        reply::of_router(self.router.clone(), request)
    }
}

impl Handler for Clients {
    fn handle(&self, peer: IpAddr, request: Request<TrackedBody>) -> ResponseFuture {
        let app = &self.app;
        app.metrics.addressed(address::source(peer, request.headers(), &app.trusted_proxies));
        let client = address::client_address(peer, request.headers(), &app.trusted_proxies);
        let (mut head, body) = request.into_parts();
        strict::inspect(&mut head);
        Box::pin(self.serve(client, Request::from_parts(head, Body::new(body))))
    }
}
