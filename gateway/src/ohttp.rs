//! Oblivious HTTP (RFC 9458): requests that come sealed, by way of a relay that knows the client and not the
//! request, to this gateway, which learns the request and not the client.
//!
//! It knows bytes and the router, not mailboxes. A sealed message is opened ([`crypto`]) with a key that storage
//! told ([`keyring`]), read as one of two inner forms ([`envelope`], [`binary`]), and becomes a *fresh* request to
//! the same router that direct requests go to: nothing of the outer request goes along but who pays. Whatever is
//! answered, errors too, is padded to a rung of the [`padding`] and sealed to the sender. What goes wrong before a
//! message is open is told outside ([`problem`]); what goes wrong afterwards is told inside only.

pub(crate) mod binary;
mod crypto;
pub(crate) mod envelope;
pub(crate) mod keyring;
mod padding;
mod problem;

#[cfg(test)]
mod tests;

use crate::api::openapi::Operation;
use crate::app::Arrival;
use crate::bodies::budget::SEALED_ANSWER;
use crate::bodies::error::{ApiError, ErrorCode};
use crate::bodies::reply::{self, Reply};
use crate::layers::context::RequestContext;
use crate::layers::origin::Origin;
use crate::layers::strict::is_same_authority;
use crate::ops::metrics::DecapsulationOutcome;
use axum::body::Body;
use bytes::Bytes;
use crypto::{Crypto, DecapsulationError, Opened};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Request, Response};
use keyring::Keyring;
use problem::Problem;
use relay_proto::RequestId;
use std::sync::Arc;

/// Content type of sealed requests.
const REQUEST: &str = "message/ohttp-req";
/// Content type of sealed replies.
const RESPONSE: &str = "message/ohttp-res";

pub(crate) const SEALED: Operation = Operation::bytes(REQUEST, RESPONSE, &[ErrorCode::ContentType]);

/// What Oblivious HTTP needs.
#[derive(Debug)]
pub(crate) struct Oblivious {
    pub(crate) keyring: Arc<Keyring>,
    crypto: Crypto,
}

/// Which form a request had inside, and so its reply has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON with an action.
    Envelope,
    /// Binary HTTP (RFC 9292).
    Binary,
}

impl Form {
    /// Byte 4 tells them apart: in an envelope it opens the JSON, in Binary HTTP it is a letter of the method.
    pub(crate) fn of(plaintext: &[u8]) -> Self {
        if plaintext.get(4) == Some(&b'{') { Self::Envelope } else { Self::Binary }
    }
}

/// Replies to a sealed request.
pub(crate) async fn serve(call: RequestContext) -> Result<Reply, ApiError> {
    let RequestContext { app, caller, refused, router, headers, body, .. } = call;
    let router = router.ok_or(ErrorCode::NotFound)?;
    if !is_sealed_request(&headers) {
        return Err(ErrorCode::ContentType.into());
    }
    let (sealed, mut share) = app.intake.read_sealed(body).await?;
    // An reply that storage will not give again must not be refused, so there is memory for it before anything is asked.
    // Where that is a named relay's, which takes its replies, it goes out without.
    if !share.is_of_a_relay() {
        share.grow(sealed.len() + SEALED_ANSWER).await?;
    }
    let oblivious = &app.oblivious;
    let (request_id, opened) = match oblivious.open(sealed).await {
        Ok(opened) => opened,
        Err(DecapsulationError::Busy) => return Err(ErrorCode::Crowded.into()),
        Err(DecapsulationError::NoKeys) => return Err(ErrorCode::Unreachable.into()),
        Err(DecapsulationError::Problem(problem)) => {
            app.metrics.opening(if problem == Problem::Key {
                DecapsulationOutcome::Key
            } else {
                DecapsulationOutcome::Malformed
            });
            return Ok(problem.reply());
        }
    };
    app.metrics.opening(DecapsulationOutcome::Opened);
    let Opened { plaintext, sealer } = opened;
    let form = Form::of(&plaintext);
    let reply = match read(form, plaintext, headers.get(HOST), app.authority.as_deref()) {
        Ok(mut request) => {
            let origin = Origin::Oblivious { caller, request_id, refused };
            request.extensions_mut().insert(Arrival { origin, account: None, router: None });
            reply::of_router(router, request).await
        }
        Err(error) => error.reply(),
    };
    let plain = match write(form, reply).await {
        Ok(plain) => plain,
        Err(head) => {
            let fault = ErrorCode::AnswerTooLarge;
            app.metrics.rejected(fault.reason());
            too_large(form, head, fault).ok_or(ErrorCode::Internal)?
        }
    };
    if share.is_of_a_relay() {
        share.grow(2 * plain.len()).await.unwrap_or_default();
    }
    let sealed = oblivious.crypto.seal(sealer, plain).await.ok_or(ErrorCode::Internal)?;
    share.shrink(sealed.len());
    Ok(outer(share.hold(sealed)))
}

impl Oblivious {
    pub(crate) fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, crypto: Crypto::new() }
    }

    /// Opens a sealed request, with keys fetched anew if its key is not known. Returns also what the request is
    /// known by.
    async fn open(&self, sealed: Bytes) -> Result<(RequestId, Opened), DecapsulationError> {
        let id = crypto::key_id(&sealed)?;
        let key = self.keyring.accepted(id).await.ok_or(DecapsulationError::NoKeys)?.ok_or(Problem::Key)?;
        let request_id = RequestId::of_sealed(&key.seed, &sealed);
        Ok((request_id, self.crypto.open(key.server, sealed).await?))
    }
}

fn is_sealed_request(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(REQUEST)
    })
}

/// Makes a request of what was sealed.
fn read(
    form: Form,
    plaintext: Bytes,
    host: Option<&HeaderValue>,
    authority: Option<&str>,
) -> Result<Request<Body>, ApiError> {
    match form {
        Form::Envelope => envelope::read(&plaintext),
        Form::Binary => {
            let host = host.and_then(|host| host.to_str().ok());
            let ours = |given: &str, scheme: &str| {
                [host, authority].into_iter().flatten().any(|ours| is_same_authority(ours, given, scheme))
            };
            binary::read(&plaintext, ours)
        }
    }
}

/// Makes a padded plaintext of a reply. Returns the head of one that is too large for that.
async fn write(form: Form, reply: Reply) -> Result<Vec<u8>, Parts> {
    let (mut head, body) = reply.into_parts();
    // Both inner forms say the length themselves.
    head.headers.remove(CONTENT_LENGTH);
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    padded(form, &head, &body).ok_or(head)
}

/// What is said in place of a reply that is too large. It stays inside: outside, a client would take it for a
/// stale key.
fn too_large(form: Form, mut head: Parts, fault: ErrorCode) -> Option<Vec<u8>> {
    head.status = fault.status();
    padded(form, &head, fault.body().as_bytes())
}

fn padded(form: Form, head: &Parts, body: &[u8]) -> Option<Vec<u8>> {
    match form {
        Form::Envelope => envelope::write(body),
        Form::Binary => binary::write(head, body),
    }
}

fn outer(body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(RESPONSE));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
