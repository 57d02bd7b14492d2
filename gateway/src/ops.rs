//! The operator's port: whether the gateway lives, whether it can work, and what it and the relay count.

pub(crate) mod metrics;

use crate::api::openapi;
use crate::bodies::reply;
use crate::edge::{Handler, ResponseFuture, TrackedBody};
use crate::ohttp::keyring::Keyring;
use crate::ops::metrics::Metrics;
use crate::storage::policy::PolicyWatch;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use hyper::{Request, StatusCode};
use relay_daemon::Shutdown;
use relay_daemon::metrics::{gather, render};
use relay_daemon::ops::{self, guarded, prometheus_text};
use relay_proto::client::StorageClient;
use relay_proto::messages::{CheckRequest, CollectRequest};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;

/// How long storage may take to reply the operator.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the operator is told.
#[derive(Debug)]
pub(crate) struct Ops {
    pub(crate) storage: StorageClient,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) policy: PolicyWatch,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) accepting: Arc<AtomicBool>,
    pub(crate) stopping: Shutdown,
}

impl ops::Ops for Ops {
    async fn ready(&self) -> Result<(), &'static str> {
        if self.stopping.has_begun() {
            return Err("stopping");
        }
        if !self.accepting.load(Relaxed) {
            return Err("connections cannot be accepted");
        }
        if self.metrics.storage_reachable.get() == 0 {
            return Err("storage has not told its policy");
        }
        if !self.keyring.is_fresh() {
            return Err("storage has not told keys lately");
        }
        match timeout(PATIENCE, self.storage.telemetry().check(CheckRequest {})).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("storage does not answer"),
        }
    }

    fn facts(&self) -> Vec<(&'static str, i64)> {
        vec![("ohttp_certificate_ends", self.metrics.certificate_ends())]
    }

    /// The whole relay's, or, while storage is away, the gateway's own.
    async fn metrics(&self) -> String {
        match timeout(PATIENCE, self.storage.telemetry().collect(CollectRequest {})).await {
            Ok(Ok(reply)) => render(&reply.into_inner().families),
            Ok(Err(_)) | Err(_) => self.own_metrics(),
        }
    }
}

impl Ops {
    /// The key by which other relays know this one.
    fn public_key(&self) -> (StatusCode, String) {
        let Some(policy) = self.policy.current() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "storage has not told its policy".to_owned());
        };
        match policy.federation_key {
            Some(key) => (StatusCode::OK, key.to_base64url()),
            None => (StatusCode::NOT_FOUND, "this relay does not peer".to_owned()),
        }
    }

    fn own_metrics(&self) -> String {
        render(&gather(&self.metrics.registry))
    }
}

/// The operator's endpoints.
pub(crate) fn router(ops: &Arc<Ops>, metrics_token: Option<String>) -> Router {
    let own = Router::new()
        .route(
            "/metrics/gateway",
            get(|State(ops): State<Arc<Ops>>| async move { prometheus_text(ops.own_metrics()) }),
        )
        .with_state(Arc::clone(ops));
    let open = Router::new()
        .route("/pubkey", get(|State(ops): State<Arc<Ops>>| async move { ops.public_key() }))
        .with_state(Arc::clone(ops));
    ops::router(ops, metrics_token.clone())
        .merge(guarded(own, metrics_token))
        .merge(open)
        .route("/v2/openapi.json", get(|| async { Json(openapi::document()) }))
}

/// The router on the operator's port.
#[derive(Debug, Clone)]
pub(crate) struct Operators(pub(crate) Router);

impl Handler for Operators {
    fn handle(&self, _: IpAddr, request: Request<TrackedBody>) -> ResponseFuture {
        let router = self.0.clone();
        Box::pin(reply::of_router(router, request.map(Body::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Relay, policy};
    use http_body_util::BodyExt as _;
    use relay_proto::NoiseKey;
    use relay_proto::messages::Policy;
    use tower::ServiceExt as _;

    async fn get(ops: &Arc<Ops>, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(ops, None).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn ops(relay: &Relay) -> Arc<Ops> {
        Arc::new(Ops {
            storage: relay.client.clone(),
            keyring: Arc::clone(&relay.app.oblivious.keyring),
            policy: relay.app.policy.clone(),
            metrics: Arc::clone(&relay.app.metrics),
            accepting: Arc::new(AtomicBool::new(true)),
            stopping: Shutdown::default(),
        })
    }

    #[tokio::test]
    async fn ready_means_that_a_client_would_be_served() {
        let relay = Relay::start().await;
        let ops = ops(&relay);
        assert_eq!(get(&ops, "/ready").await.0, StatusCode::OK);
        ops.accepting.store(false, Relaxed);
        assert_eq!(get(&ops, "/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
        ops.accepting.store(true, Relaxed);
        ops.stopping.begin();
        let (status, body) = get(&ops, "/ready").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("stopping"), "{body}");
    }

    #[tokio::test]
    async fn a_gateway_whose_keys_are_older_than_three_refreshes_is_not_ready() {
        let relay = Relay::start().await;
        let ops = ops(&relay);
        let (status, body) = get(&ops, "/ready").await;
        let ends = 90 * relay_proto::keys::DAY_SECS;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(&format!("\"ohttp_certificate_ends\":{ends}")), "{body}");
        relay.clock.advance(Duration::from_secs(180));
        assert_eq!(get(&ops, "/ready").await.0, StatusCode::OK);
        relay.clock.advance(Duration::from_secs(1));
        let (status, body) = get(&ops, "/ready").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("storage has not told keys lately"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_storage_the_gateway_is_not_ready_and_shows_its_own_counters() {
        let relay = Relay::without_policy();
        let ops = ops(&relay);
        assert!(get(&ops, "/ready").await.1.contains("storage has not told its policy"));
        assert!(get(&ops, "/metrics").await.1.contains("relay_storage_reachable 0"));
    }

    #[tokio::test]
    async fn the_whole_relay_and_the_gateway_alone_are_shown_apart() {
        let relay = Relay::start().await;
        let ops = ops(&relay);
        assert!(get(&ops, "/metrics").await.1.contains("relay_blobs_stored 12"));
        let own = get(&ops, "/metrics/gateway").await.1;
        assert!(own.contains("relay_storage_reachable 1") && !own.contains("relay_blobs_stored"), "{own}");
    }

    #[tokio::test]
    async fn the_key_for_peers_is_shown_where_the_relay_peers() {
        let relay = Relay::start().await;
        let ops = ops(&relay);
        assert_eq!(
            get(&ops, "/pubkey").await,
            (StatusCode::NOT_FOUND, "this relay does not peer".to_owned())
        );
        let key = NoiseKey::from_bytes([9; 32]);
        relay.post_policy(Policy { federation_key: key.into(), ..policy() }).await;
        assert_eq!(get(&ops, "/pubkey").await, (StatusCode::OK, key.to_base64url()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_policy_there_is_no_key_to_show_yet() {
        let relay = Relay::without_policy();
        assert_eq!(get(&ops(&relay), "/pubkey").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn the_description_of_the_api_is_served() {
        let relay = Relay::start().await;
        let (status, body) = get(&ops(&relay), "/v2/openapi.json").await;
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &document["openapi"]), (StatusCode::OK, &serde_json::json!("3.1.0")));
    }

    #[tokio::test]
    async fn both_kinds_of_metrics_want_the_token() {
        let relay = Relay::start().await;
        let router = router(&ops(&relay), Some("secret".to_owned()));
        for path in ["/metrics", "/metrics/gateway"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}
