//! The keys for Oblivious HTTP as clients fetch them: bare, in a list, signed; and how the anchor behind the
//! signatures changed.

use crate::api::openapi::{Body, Operation};
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::reply::Reply;
use crate::layers::context::RequestContext;
use crate::ohttp::keyring::Keys;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use relay_proto::keys::DAY_SECS;
use relay_proto::{UnixSeconds, anchor, key_record};
use std::sync::Arc;

const KEYS: &str = "application/ohttp-keys";
const FINGERPRINT: HeaderName = HeaderName::from_static("key-fingerprint");

/// How long clients may keep what changes once in years, in seconds.
const ROLLOVER_MAX_AGE: u64 = 3600;

pub(crate) const KEY: Operation = Operation::get(Body::Bytes(KEYS), &[]);
pub(crate) const SIGNED: Operation =
    Operation::get(Body::Bytes(key_record::CONTENT_TYPE), &[ErrorCode::NoSignedKey]);
pub(crate) const ROLLOVERS: Operation =
    Operation::get(Body::Bytes(anchor::ROLLOVER_CONTENT_TYPE), &[ErrorCode::NoRollover]);

/// `GET /v2/ohttp-key`: one key configuration without a length in front, as deployed clients read it.
pub(crate) async fn bare(call: RequestContext) -> Result<Reply, ApiError> {
    let (keys, now) = keys(call).await?;
    let (key, max_age) = keys.shown_at(now).ok_or(ErrorCode::Unreachable)?;
    let mut reply = document(KEYS, key.config.clone(), max_age);
    let fingerprint = HeaderValue::from_str(&key.fingerprint).map_err(|_| ErrorCode::Internal)?;
    reply.headers_mut().insert(FINGERPRINT, fingerprint);
    Ok(reply)
}

/// `GET /.well-known/ohttp-gateway` (RFC 9540): the list form of RFC 9458 §3.2, with one entry.
pub(crate) async fn listed(call: RequestContext) -> Result<Reply, ApiError> {
    let (keys, now) = keys(call).await?;
    let (key, max_age) = keys.shown_at(now).ok_or(ErrorCode::Unreachable)?;
    let length = u16::try_from(key.config.len()).map_err(|_| ErrorCode::Internal)?;
    Ok(document(KEYS, [&length.to_be_bytes(), &key.config[..]].concat().into(), max_age))
}

/// `GET /v2/ohttp-key-signed`: the signed record of today's key.
pub(crate) async fn signed(call: RequestContext) -> Result<Reply, ApiError> {
    let (keys, now) = keys(call).await?;
    let record = keys.set.record_at(now).ok_or(ErrorCode::NoSignedKey)?;
    let (_, max_age) = keys.shown_at(now).ok_or(ErrorCode::Unreachable)?;
    let until_midnight = DAY_SECS - now.get() % DAY_SECS;
    let certified = record.certified_until.saturating_sub(now.get());
    let max_age = max_age.min(until_midnight).min(certified);
    Ok(document(key_record::CONTENT_TYPE, record.record.clone(), max_age))
}

/// `GET /v2/ohttp-anchor-rollover`: how the anchor changed since clients pinned one.
pub(crate) async fn rollovers(call: RequestContext) -> Result<Reply, ApiError> {
    let (keys, _) = keys(call).await?;
    if keys.set.rollovers.is_empty() {
        return Err(ErrorCode::NoRollover.into());
    }
    Ok(document(anchor::ROLLOVER_CONTENT_TYPE, keys.set.rollovers.clone(), ROLLOVER_MAX_AGE))
}

async fn keys(call: RequestContext) -> Result<(Arc<Keys>, UnixSeconds), ApiError> {
    let RequestContext { app, retry, .. } = call;
    let keys = app.oblivious.keyring.within(retry.remaining()).await.ok_or(ErrorCode::Unreachable)?;
    Ok((keys, app.clock.now()))
}

fn document(kind: &'static str, body: Bytes, max_age: u64) -> Reply {
    let mut reply = Response::new(Full::new(body));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={max_age}")) {
        reply.headers_mut().insert(CACHE_CONTROL, value);
    }
    reply
}
