//! `GET /federation`, `GET /federation/key`: what other relays ask of this one.

use crate::api::openapi::{Body, Operation};
use crate::app::App;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::reply::Reply;
use crate::layers::context::RequestContext;
use crate::peers::tunnel::{UPGRADES, WEBSOCKET};
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::{Response, StatusCode};
use relay_proto::NoiseKey;

pub(crate) const TUNNEL: Operation = Operation::get(
    Body::WebSocket,
    &[ErrorCode::NotAnUpgrade, ErrorCode::TooManyTunnels, ErrorCode::FederationAway],
);

pub(crate) const KEY: Operation = Operation::get(Body::Bytes("text/plain"), &[]);

/// Passes a peer on to federated. HTTP/2 and sealed requests have no way out of HTTP.
pub(crate) async fn tunnel(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, headers, body, upgrade, .. } = call;
    noise_key(&app)?;
    let upgrade = upgrade.filter(|_| body.is_end_stream()).ok_or(ErrorCode::NotAnUpgrade)?;
    let (accept, tunnel) = app.tunnels.open(caller, &headers).await?;
    upgrade.take(tunnel);
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(CONNECTION, UPGRADES);
    reply.headers_mut().insert(UPGRADE, WEBSOCKET);
    reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply)
}

/// The key that operators of other relays pin.
pub(crate) async fn key(call: RequestContext) -> Result<Reply, ApiError> {
    let key = noise_key(&call.app)?.to_base64url();
    let mut reply = Response::new(Full::from(key));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(reply)
}

/// The relay's key among its peers. Whoever asks was admitted, so there is a policy.
fn noise_key(app: &App) -> Result<NoiseKey, ApiError> {
    let policy = app.policy.current().ok_or(ErrorCode::Unreachable)?;
    policy.federation_key.ok_or(ErrorCode::NoPeering.into())
}
