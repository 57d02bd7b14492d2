//! What goes in and out of each endpoint, and the errors that are its own.

use super::models::{
    AckReply, AckRequest, Done, EscrowReply, EscrowRequest, ExchangeClaimReply, ExchangeClaimRequest,
    ExchangeCompleteReply, ExchangeCompleteRequest, ExchangeOfferReply, ExchangeOfferRequest, FetchReply,
    FetchRequest, GuardianDeleteRequest, GuardianQueryReply, GuardianQueryRequest, GuardianStoreRequest,
    PurgeReply, PurgeRequest, RecoveryQueryReply, RecoveryQueryRequest, RecoveryStoreRequest, RegisterReply,
    RegisterRequest, SendReply, SendRequest,
};
use crate::api::error::ErrorCode;
use crate::routes::{GATEWAY, Route};
use hyper::Method;
use relay_proto::{anchor, key_record};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

/// The schemas of requests and of replies. They differ: a request may say `null` where a field may be absent.
pub(super) struct Models {
    requests: SchemaGenerator,
    replies: SchemaGenerator,
}

impl Models {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            replies: settings().for_serialize().into_generator(),
        }
    }

    fn request<T: JsonSchema>(&mut self) -> Body {
        Body::Json(self.requests.subschema_for::<T>().to_value())
    }

    fn reply<T: JsonSchema>(&mut self) -> Body {
        Body::Json(self.replies.subschema_for::<T>().to_value())
    }

    /// All that were asked for, by their names.
    pub(super) fn all(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        let mut replies = self.replies.take_definitions(true);
        replies.values_mut().for_each(without_null);
        all.extend(replies);
        all.values_mut().for_each(in_one_line);
        all
    }
}

/// A reply leaves out what it does not say.
fn without_null(schema: &mut Value) {
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for field in fields.into_iter().flat_map(Map::values_mut) {
        let Some(Value::Array(mut choice)) = field.as_object_mut().and_then(|it| it.remove("anyOf")) else {
            continue;
        };
        if let (Some(Value::Object(value)), Some(field)) = (choice.drain(..).next(), field.as_object_mut()) {
            field.extend(value);
        }
    }
}

/// Sentences are broken into lines in the source only.
fn in_one_line(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(in_one_line);
        }
        Value::Array(entries) => entries.iter_mut().for_each(in_one_line),
        _ => {}
    }
}

/// A body, sent or replied.
pub(super) enum Body {
    /// JSON of a schema.
    Json(Value),
    /// Bytes of a media type.
    Bytes(&'static str),
    /// None: the connection becomes something else.
    WebSocket,
}

/// What goes in and out of an endpoint.
pub(super) struct Operation {
    pub(super) request: Option<Body>,
    pub(super) reply: Body,
    /// Its own errors, besides those that every endpoint of its kind has.
    pub(super) faults: &'static [ErrorCode],
}

/// The operation of an endpoint; `None` where it is not described.
pub(super) fn of(route: &Route, models: &mut Models) -> Option<Operation> {
    match (&route.method, route.path) {
        (&Method::POST, "/v2/ohttp" | GATEWAY) => Some(Operation {
            request: Some(Body::Bytes("message/ohttp-req")),
            reply: Body::Bytes("message/ohttp-res"),
            faults: &[ErrorCode::ContentType],
        }),
        (&Method::POST, path) => of_mail(path, models).or_else(|| of_records(path, models)),
        (_, path) => {
            let (reply, faults) = of_get(path, models)?;
            Some(Operation { request: None, reply, faults })
        }
    }
}

fn of_get(path: &str, models: &mut Models) -> Option<(Body, &'static [ErrorCode])> {
    Some(match path {
        "/health" | "/v2/health" => (models.reply::<Done>(), &[]),
        "/v2/ohttp-key" | GATEWAY => (Body::Bytes("application/ohttp-keys"), &[]),
        "/v2/ohttp-key-signed" => (Body::Bytes(key_record::CONTENT_TYPE), &[ErrorCode::NoSignedKey]),
        "/v2/ohttp-anchor-rollover" => (Body::Bytes(anchor::ROLLOVER_CONTENT_TYPE), &[ErrorCode::NoRollover]),
        "/federation" => (
            Body::WebSocket,
            &[ErrorCode::NotAnUpgrade, ErrorCode::TooManyTunnels, ErrorCode::FederationAway],
        ),
        "/federation/key" => (Body::Bytes("text/plain"), &[]),
        _ => return None,
    })
}

fn post<Q: JsonSchema, R: JsonSchema>(models: &mut Models, faults: &'static [ErrorCode]) -> Operation {
    Operation { request: Some(models.request::<Q>()), reply: models.reply::<R>(), faults }
}

fn of_mail(path: &str, models: &mut Models) -> Option<Operation> {
    Some(match path {
        "/v2/send" => post::<SendRequest, SendReply>(
            models,
            &[
                ErrorCode::RecipientId,
                ErrorCode::Ciphertext,
                ErrorCode::OriginHint,
                ErrorCode::NotRegistered,
                ErrorCode::BlobTooLarge,
                ErrorCode::QuotaExceeded,
                ErrorCode::StorageFull,
                ErrorCode::ClockWrong,
            ],
        ),
        "/v2/fetch" => post::<FetchRequest, FetchReply>(models, &[ErrorCode::TokenCount, ErrorCode::Token]),
        "/v2/ack" => post::<AckRequest, AckReply>(models, &[ErrorCode::RecipientId, ErrorCode::BlobId]),
        "/v2/register" => post::<RegisterRequest, RegisterReply>(
            models,
            &[
                ErrorCode::TokenCount,
                ErrorCode::Token,
                ErrorCode::PublicKey,
                ErrorCode::Timestamp,
                ErrorCode::Signature,
                ErrorCode::HalfAnOwner,
                ErrorCode::RegistrationWindow,
                ErrorCode::RegistrationSignature,
                ErrorCode::RegistrationReplay,
                ErrorCode::OwnerQuota,
                ErrorCode::StorageFull,
                ErrorCode::ClockWrong,
            ],
        ),
        "/v2/purge" => post::<PurgeRequest, PurgeReply>(
            models,
            &[
                ErrorCode::RecipientId,
                ErrorCode::PublicKey,
                ErrorCode::PurgeToken,
                ErrorCode::Signature,
                ErrorCode::Timestamp,
                ErrorCode::PurgeWindow,
                ErrorCode::PurgeSignature,
                ErrorCode::PurgeReplay,
            ],
        ),
        _ => return None,
    })
}

/// What a designator may be told.
const OF_DESIGNATORS: &[ErrorCode] = &[
    ErrorCode::GuardianHash,
    ErrorCode::DesignatorKey,
    ErrorCode::GuardianMismatch,
    ErrorCode::Timestamp,
    ErrorCode::Signature,
    ErrorCode::GuardianEntries,
    ErrorCode::GuardianEntryCount,
    ErrorCode::GuardianEntry,
    ErrorCode::GuardianWindow,
    ErrorCode::GuardianSignature,
    ErrorCode::GuardianReplay,
    ErrorCode::StorageFull,
    ErrorCode::ClockWrong,
];

fn of_records(path: &str, models: &mut Models) -> Option<Operation> {
    Some(match path {
        "/v2/recovery/store" => post::<RecoveryStoreRequest, Done>(
            models,
            &[ErrorCode::KeyHash, ErrorCode::ProofData, ErrorCode::ClockWrong, ErrorCode::StorageFull],
        ),
        "/v2/recovery/query" => post::<RecoveryQueryRequest, RecoveryQueryReply>(
            models,
            &[ErrorCode::KeyHashCount, ErrorCode::KeyHashes],
        ),
        "/v2/exchange/offer" => post::<ExchangeOfferRequest, ExchangeOfferReply>(
            models,
            &[
                ErrorCode::Payload,
                ErrorCode::PayloadTooLarge,
                ErrorCode::OfferTtl,
                ErrorCode::TooManyOffers,
                ErrorCode::StorageFull,
                ErrorCode::ClockWrong,
            ],
        ),
        "/v2/exchange/claim" => post::<ExchangeClaimRequest, ExchangeClaimReply>(
            models,
            &[
                ErrorCode::Code,
                ErrorCode::Response,
                ErrorCode::ResponseTooLarge,
                ErrorCode::UnknownCode,
                ErrorCode::AlreadyClaimed,
                ErrorCode::StorageFull,
            ],
        ),
        "/v2/exchange/complete" => post::<ExchangeCompleteRequest, ExchangeCompleteReply>(
            models,
            &[ErrorCode::Code, ErrorCode::UnknownCode, ErrorCode::NotYetClaimed],
        ),
        "/v2/guardian/query" => {
            post::<GuardianQueryRequest, GuardianQueryReply>(models, &[ErrorCode::GuardianHash])
        }
        "/v2/guardian/store" => post::<GuardianStoreRequest, Done>(models, OF_DESIGNATORS),
        "/v2/guardian/delete" => post::<GuardianDeleteRequest, Done>(models, OF_DESIGNATORS),
        "/v2/escrow" => post::<EscrowRequest, EscrowReply>(
            models,
            &[
                ErrorCode::EscrowAction,
                ErrorCode::GateHash,
                ErrorCode::SlotHash,
                ErrorCode::EscrowBlob,
                ErrorCode::EscrowTtl,
                ErrorCode::StorageFull,
                ErrorCode::ClockWrong,
            ],
        ),
        _ => return None,
    })
}
