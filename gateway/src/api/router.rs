//! The router that is built from the table of endpoints. Paths are taken as they are, without decoding or a slash more or
//! less; whoever may GET may HEAD; a path of two parts is also served with an underscore between them.

use super::{Audience, ROUTES, Route};
use crate::app::App;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::layers::around;
use axum::Router;
use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use hyper::header::ALLOW;
use hyper::{Method, Uri};
use std::sync::Arc;

/// What the paths of the API begin with.
const PREFIX: &str = "/v2/";

/// Builds the router.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for (index, first) in ROUTES.iter().enumerate() {
        if ROUTES[..index].iter().any(|earlier| earlier.path == first.path) {
            continue;
        }
        let allowed = allowed(first.path);
        let mut methods = around(any(async move || method_not_allowed(&allowed)), app, None);
        for route in ROUTES.iter().filter(|route| route.path == first.path) {
            methods = methods.merge(around((route.handler)(), app, Some(route)));
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
fn allowed(path: &str) -> String {
    let methods = ROUTES.iter().filter(|route| route.path == path).map(|route| match route.method {
        Method::GET => "GET, HEAD",
        ref other => other.as_str(),
    });
    methods.collect::<Vec<_>>().join(", ")
}

fn method_not_allowed(allowed: &str) -> Response {
    let mut response = ApiError::from(ErrorCode::MethodNotAllowed).into_response();
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

impl Route {
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
