//! The bodies of every endpoint, as JSON Schema, and the errors that are its own.

use crate::api::error::Fault;
use crate::api::{GATEWAY, Route};
use hyper::Method;
use relay_proto::limits::{MAX_CLIENT_URL, MAX_HINTS};
use relay_proto::{anchor, key_record};
use serde_json::{Value, json};

/// A body, sent or answered.
pub(super) enum Body {
    /// JSON of a shape.
    Json(Value),
    /// Bytes of a media type.
    Bytes(&'static str),
    /// None: the connection becomes something else.
    WebSocket,
}

/// What goes in and out of an endpoint.
pub(super) struct Shape {
    pub(super) request: Option<Body>,
    pub(super) reply: Body,
    /// Its own errors, besides those that every endpoint of its kind has.
    pub(super) faults: &'static [Fault],
}

impl Shape {
    fn post(request: Value, reply: Value, faults: &'static [Fault]) -> Self {
        Self { request: Some(Body::Json(request)), reply: Body::Json(reply), faults }
    }

    const fn get(reply: Body, faults: &'static [Fault]) -> Self {
        Self { request: None, reply, faults }
    }
}

/// The shape of an endpoint.
pub(super) fn of(route: &Route) -> Option<Shape> {
    let shape = match (&route.method, route.path) {
        (&Method::GET, "/health" | "/v2/health") => Shape::get(Body::Json(done(&json!({}))), &[]),
        (&Method::GET, "/v2/ohttp-key" | GATEWAY) => Shape::get(Body::Bytes("application/ohttp-keys"), &[]),
        (&Method::GET, "/v2/ohttp-key-signed") => {
            Shape::get(Body::Bytes(key_record::CONTENT_TYPE), &[Fault::NoSignedKey])
        }
        (&Method::GET, "/v2/ohttp-anchor-rollover") => {
            Shape::get(Body::Bytes(anchor::ROLLOVER_CONTENT_TYPE), &[Fault::NoRollover])
        }
        (&Method::GET, "/federation") => {
            Shape::get(Body::WebSocket, &[Fault::NotAnUpgrade, Fault::TooManyTunnels, Fault::FederationAway])
        }
        (&Method::GET, "/federation/key") => Shape::get(Body::Bytes("text/plain"), &[]),
        (&Method::POST, "/v2/ohttp" | GATEWAY) => Shape {
            request: Some(Body::Bytes("message/ohttp-req")),
            reply: Body::Bytes("message/ohttp-res"),
            faults: &[Fault::ContentType],
        },
        (&Method::POST, path) => of_mail(path).or_else(|| of_vault(path))?,
        _ => return None,
    };
    Some(shape)
}

fn of_mail(path: &str) -> Option<Shape> {
    Some(match path {
        "/v2/send" => Shape::post(
            object(
                &json!({ "recipient_id": hex(64), "ciphertext": base64(), "origin_hint": base64() }),
                &["recipient_id", "ciphertext"],
            ),
            done(&json!({ "blob_id": hex(32) })),
            &[
                Fault::RecipientId,
                Fault::Ciphertext,
                Fault::OriginHint,
                Fault::NotRegistered,
                Fault::BlobTooLarge,
                Fault::QuotaExceeded,
                Fault::StorageFull,
                Fault::ClockWrong,
            ],
        ),
        "/v2/fetch" => Shape::post(
            object(&json!({ "mailbox_tokens": list(&hex(64), 1, 1900) }), &["mailbox_tokens"]),
            page(),
            &[Fault::TokenCount, Fault::Token],
        ),
        "/v2/ack" => Shape::post(
            object(&json!({ "recipient_id": hex(64), "blob_id": hex(32) }), &["recipient_id", "blob_id"]),
            done(&json!({ "acknowledged": { "type": "boolean" } })),
            &[Fault::RecipientId, Fault::BlobId],
        ),
        "/v2/register" => Shape::post(
            object(
                &json!({
                    "mailbox_tokens": list(&hex(64), 1, 1900),
                    "public_key": hex(64), "timestamp": count(), "signature": hex(128),
                }),
                &["mailbox_tokens"],
            ),
            registered(),
            &[
                Fault::TokenCount,
                Fault::Token,
                Fault::PublicKey,
                Fault::Timestamp,
                Fault::Signature,
                Fault::HalfAnOwner,
                Fault::RegistrationWindow,
                Fault::RegistrationSignature,
                Fault::RegistrationReplay,
                Fault::OwnerQuota,
                Fault::StorageFull,
                Fault::ClockWrong,
            ],
        ),
        "/v2/purge" => Shape::post(
            object(
                &json!({
                    "recipient_id": hex(64), "public_key": hex(64), "purge_token": hex(64),
                    "signature": hex(128), "timestamp": count(),
                }),
                &["recipient_id", "public_key", "purge_token", "signature", "timestamp"],
            ),
            done(&json!({ "blobs_deleted": count() })),
            &[
                Fault::RecipientId,
                Fault::PublicKey,
                Fault::PurgeToken,
                Fault::Signature,
                Fault::Timestamp,
                Fault::PurgeWindow,
                Fault::PurgeSignature,
                Fault::PurgeReplay,
            ],
        ),
        _ => return None,
    })
}

fn of_vault(path: &str) -> Option<Shape> {
    Some(match path {
        "/v2/recovery/store" => Shape::post(
            object(&json!({ "key_hash": hex(64), "proof_data": base64() }), &["key_hash", "proof_data"]),
            done(&json!({})),
            &[Fault::KeyHash, Fault::ProofData, Fault::ClockWrong, Fault::StorageFull],
        ),
        "/v2/recovery/query" => Shape::post(
            object(&json!({ "key_hashes": list(&hex(64), 1, 50) }), &["key_hashes"]),
            proofs(),
            &[Fault::KeyHashCount, Fault::KeyHashes],
        ),
        "/v2/exchange/offer" => Shape::post(
            object(
                &json!({ "payload": exchanged(), "expires_secs": { "type": "integer", "minimum": 30, "maximum": 3600 } }),
                &["payload"],
            ),
            done(&json!({ "code": code() })),
            &[
                Fault::Payload,
                Fault::PayloadTooLarge,
                Fault::OfferTtl,
                Fault::TooManyOffers,
                Fault::StorageFull,
                Fault::ClockWrong,
            ],
        ),
        "/v2/exchange/claim" => Shape::post(
            object(&json!({ "code": code(), "response": exchanged() }), &["code", "response"]),
            done(&json!({ "payload": exchanged() })),
            &[
                Fault::Code,
                Fault::Response,
                Fault::ResponseTooLarge,
                Fault::UnknownCode,
                Fault::AlreadyClaimed,
                Fault::StorageFull,
            ],
        ),
        "/v2/exchange/complete" => Shape::post(
            object(&json!({ "code": code() }), &["code"]),
            done(&json!({ "response": exchanged() })),
            &[Fault::Code, Fault::UnknownCode, Fault::NotYetClaimed],
        ),
        "/v2/guardian/query" => Shape::post(
            object(&json!({ "guardian_hash": hex(64) }), &["guardian_hash"]),
            done(&json!({ "guardians": list(&guardian(), 0, 10) })),
            &[Fault::GuardianHash],
        ),
        "/v2/guardian/store" | "/v2/guardian/delete" => of_designator(path == "/v2/guardian/store"),
        "/v2/escrow" => of_escrow(),
        _ => return None,
    })
}

fn of_designator(stores: bool) -> Shape {
    let mut fields = json!({
        "guardian_hash": hex(64), "designator_pk": hex(64), "timestamp": count(), "signature": hex(128),
    });
    let mut required = vec!["guardian_hash", "designator_pk", "timestamp", "signature"];
    if stores {
        fields["entries"] = list(&guardian(), 0, 10);
        required.push("entries");
    }
    let faults: &'static [Fault] = &[
        Fault::GuardianHash,
        Fault::DesignatorKey,
        Fault::GuardianMismatch,
        Fault::Timestamp,
        Fault::Signature,
        Fault::GuardianEntries,
        Fault::GuardianEntryCount,
        Fault::GuardianEntry,
        Fault::GuardianWindow,
        Fault::GuardianSignature,
        Fault::GuardianReplay,
        Fault::StorageFull,
        Fault::ClockWrong,
    ];
    Shape::post(object(&fields, &required), done(&json!({})), faults)
}

fn of_escrow() -> Shape {
    let status = |name: &str| json!({ "type": "object", "required": ["status"], "properties": { "status": { "const": name } } });
    let with = |name: &str, field: &str, schema: Value| {
        json!({
            "type": "object", "required": ["status", field],
            "properties": { "status": { "const": name }, field: schema },
        })
    };
    let outcomes = json!({ "oneOf": [
        status("Stored"), status("AlreadyExists"), status("GateFull"), status("BlobTooLarge"),
        with("Blob", "blob", base64url()), with("NotReady", "count", count()), with("Count", "count", count()),
        status("NotFound"),
    ]});
    Shape::post(
        object(
            &json!({
                "escrow_action": { "enum": ["Put", "Get", "Count"] },
                "gate_hash": hex(64),
                "slot_hash": hex(64),
                "blob": base64url(),
                "ttl_seconds": { "type": "integer", "minimum": 1, "maximum": 604_800 },
            }),
            &["escrow_action", "gate_hash"],
        ),
        outcomes,
        &[
            Fault::EscrowAction,
            Fault::GateHash,
            Fault::SlotHash,
            Fault::EscrowBlob,
            Fault::EscrowTtl,
            Fault::StorageFull,
            Fault::ClockWrong,
        ],
    )
}

/// An object with some fields that must be there. Others are ignored.
fn object(fields: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "required": required, "properties": fields })
}

/// A success: `status` and some fields, all of which are there.
fn done(fields: &Value) -> Value {
    let mut properties = json!({ "status": { "const": "ok" } });
    let mut required = vec!["status".to_owned()];
    for (name, schema) in fields.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
        required.push(name.clone());
    }
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

/// What a registration answers.
fn registered() -> Value {
    let mut registered = done(&json!({ "registered": count() }));
    registered["properties"]["bound_to_other_key"] = json!({
        "type": "integer",
        "minimum": 1,
        "description": "Only where there are any: how many of the mailboxes a key other than the caller's has or asks for. \
                        Without a key, any key is another one. Registering without a key has just ended what such a key \
                        asked for or had for the time being; a mailbox that it has for good is better given up for a new \
                        token.",
    });
    registered["properties"]["waiting_for_objection"] = json!({
        "type": "integer",
        "minimum": 1,
        "description": "Only where there are any: how many of the mailboxes were in use without a key, so that the \
                        caller's key may purge them after 30 days in which nobody registers them without one.",
    });
    registered
}

/// What a fetch shows.
fn page() -> Value {
    let mut page = done(&json!({ "blobs": list(&blob(), 0, 1024), "truncated": { "type": "boolean" } }));
    page["properties"]["oversized"] = json!({
        "type": "integer",
        "minimum": 1,
        "description": "Only in answers to sealed requests, and only where there are any: how many blobs wait in the \
                        mailboxes that are too large for a sealed answer, which ends at 96 KiB. They are not among the \
                        blobs and do not make the page truncated; a direct request shows each alone, after the rest.",
    });
    page["properties"]["forwarding_hints"] = json!({
        "type": "object",
        "description": "Mail that lies with other relays and did not come back in time: where it can be fetched. Signed \
                        (Ed25519) over the hints in their order, each as the bytes of blob_id, relay_url, and \
                        expires_at_secs as 8 bytes, big-endian.",
        "required": ["hints", "relay_signing_key", "signature"],
        "properties": {
            "hints": list(&forwarding_hint(), 1, MAX_HINTS), "relay_signing_key": hex(64), "signature": hex(128),
        },
        "additionalProperties": false,
    });
    page
}

/// What a recovery query shows.
fn proofs() -> Value {
    let mut proofs = done(&json!({ "proofs": list(&proof(), 0, 50) }));
    proofs["properties"]["truncated"] = json!({
        "const": true,
        "description": "Only in answers to sealed requests, and only where it is true: the proofs, which come in the \
                        order of their keys, did not all fit. The keys behind that of the last proof are to be asked \
                        for again; those before it without a proof are unknown.",
    });
    proofs
}

fn forwarding_hint() -> Value {
    json!({
        "type": "object",
        "required": ["blob_id", "relay_url", "expires_at_secs"],
        "properties": {
            "blob_id": hex(32),
            "relay_url": { "type": "string", "format": "uri", "maxLength": MAX_CLIENT_URL },
            "expires_at_secs": count(),
        },
        "additionalProperties": false,
    })
}

fn blob() -> Value {
    json!({
        "type": "object",
        "required": ["blob_id", "ciphertext", "created_at", "mailbox_token"],
        "properties": {
            "blob_id": hex(32), "ciphertext": base64(), "created_at": count(), "mailbox_token": hex(64),
            "origin_hint": base64(),
        },
        "additionalProperties": false,
    })
}

fn proof() -> Value {
    json!({
        "type": "object",
        "required": ["key_hash", "proof_data", "created_at", "expires_at"],
        "properties": {
            "key_hash": hex(64), "proof_data": base64(), "created_at": count(), "expires_at": count(),
        },
        "additionalProperties": false,
    })
}

fn guardian() -> Value {
    json!({ "type": "object", "required": ["data"], "properties": { "data": base64() } })
}

fn hex(digits: usize) -> Value {
    json!({ "type": "string", "pattern": format!("^[0-9a-fA-F]{{{digits}}}$") })
}

fn base64() -> Value {
    json!({ "type": "string", "contentEncoding": "base64" })
}

fn base64url() -> Value {
    json!({ "type": "string", "contentEncoding": "base64url", "pattern": "^[A-Za-z0-9_-]*$" })
}

fn exchanged() -> Value {
    json!({ "type": "string", "maxLength": 65_536 })
}

fn code() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{6}$" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn list(items: &Value, least: usize, most: usize) -> Value {
    json!({ "type": "array", "items": items, "minItems": least, "maxItems": most })
}

/// A problem document (RFC 9457).
pub(super) fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "const": 400 },
        },
    })
}
