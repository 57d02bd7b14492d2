//! Health and metrics endpoints, the same on every process.

pub mod build;
pub mod health;
pub mod metrics;
pub mod report;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router, routing::get};
use std::future::Future;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// What a process shows its operator.
pub trait Ops: Send + Sync + 'static {
    /// Whether it can do its work now; the reason, in a few words, where it cannot.
    fn ready(&self) -> impl Future<Output = Result<(), &'static str>> + Send;
    /// Numbers that a ready process shows besides, such as when something it depends on ends, in unix seconds.
    fn facts(&self) -> Vec<(&'static str, i64)> {
        Vec::new()
    }
    /// Prometheus text.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// Routes of the ops endpoints: `/health`, `/ready`, `/metrics`, `/build-info`.
pub fn router<O: Ops>(ops: &Arc<O>, metrics_token: Option<String>) -> Router {
    let metrics = guarded(Router::new().route("/metrics", get(metrics::<O>)), metrics_token);
    Router::new()
        .route("/health", get(|| async { Json(serde_json::json!({ "status": "ok" })) }))
        .route("/ready", get(ready::<O>))
        .route("/build-info", get(|| async { Json(build::json()) }))
        .merge(metrics)
        .with_state(Arc::clone(ops))
}

/// Puts routes behind a bearer token, where there is one.
pub fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, token: Option<String>) -> Router<S> {
    match token {
        Some(token) => {
            routes.route_layer(middleware::from_fn_with_state(Arc::<str>::from(token), check_bearer))
        }
        None => routes,
    }
}

/// Prometheus text as a response.
pub fn prometheus_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ready<O: Ops>(State(ops): State<Arc<O>>) -> Response {
    match ops.ready().await {
        Ok(()) => {
            let mut body = serde_json::Map::new();
            body.insert("status".to_owned(), "ready".into());
            body.extend(ops.facts().into_iter().map(|(name, number)| (name.to_owned(), number.into())));
            Json(body).into_response()
        }
        Err(reason) => {
            let body = serde_json::json!({ "status": "not ready", "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn metrics<O: Ops>(State(ops): State<Arc<O>>) -> Response {
    prometheus_text(ops.metrics().await)
}

async fn check_bearer(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    if bool::from(given.ct_eq(token.as_bytes())) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    struct Fixed(Result<(), &'static str>);

    impl Ops for Fixed {
        async fn ready(&self) -> Result<(), &'static str> {
            self.0
        }

        async fn metrics(&self) -> String {
            "relay_things_total 1\n".to_owned()
        }
    }

    async fn get(ready: Result<(), &'static str>, path: &str, bearer: Option<&str>) -> (StatusCode, String) {
        let app = router(&Arc::new(Fixed(ready)), Some("secret".to_owned()));
        let mut request = Request::get(path);
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_tells_the_reason() {
        assert_eq!(get(Ok(()), "/ready", None).await.0, StatusCode::OK);
        let (status, body) = get(Err("storage does not answer"), "/ready", None).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("storage does not answer"));
        assert_eq!(get(Err("whatever"), "/health", None).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_want_the_whole_token() {
        for wrong in
            [None, Some("Bearer secre"), Some("Bearer secrets"), Some("secret"), Some("Basic secret")]
        {
            assert_eq!(get(Ok(()), "/metrics", wrong).await.0, StatusCode::UNAUTHORIZED, "{wrong:?}");
        }
        let (status, body) = get(Ok(()), "/metrics", Some("Bearer secret")).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "relay_things_total 1\n"));
    }

    #[tokio::test]
    async fn build_info_names_the_version() {
        let (_, body) = get(Ok(()), "/build-info", None).await;
        assert!(body.contains(build::VERSION) && body.contains("sha"), "{body}");
    }
}
