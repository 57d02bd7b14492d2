//! What goes in and out of each endpoint, and the errors that are its own.

use super::models::{
    AckReply, AckRequest, Done, EscrowReply, EscrowRequest, ExchangeClaimReply, ExchangeClaimRequest,
    ExchangeCompleteReply, ExchangeCompleteRequest, ExchangeOfferReply, ExchangeOfferRequest, FetchReply,
    FetchRequest, GuardianDeleteRequest, GuardianQueryReply, GuardianQueryRequest, GuardianStoreRequest,
    PurgeReply, PurgeRequest, RecoveryQueryReply, RecoveryQueryRequest, RecoveryStoreRequest, RegisterReply,
    RegisterRequest, SendReply, SendRequest,
};
use crate::api::error::Fault;
use crate::api::{GATEWAY, Route};
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
    pub(super) faults: &'static [Fault],
}

/// The operation of an endpoint; `None` where it is not described.
pub(super) fn of(route: &Route, models: &mut Models) -> Option<Operation> {
    match (&route.method, route.path) {
        (&Method::POST, "/v2/ohttp" | GATEWAY) => Some(Operation {
            request: Some(Body::Bytes("message/ohttp-req")),
            reply: Body::Bytes("message/ohttp-res"),
            faults: &[Fault::ContentType],
        }),
        (&Method::POST, path) => of_mail(path, models).or_else(|| of_records(path, models)),
        (_, path) => {
            let (reply, faults) = of_get(path, models)?;
            Some(Operation { request: None, reply, faults })
        }
    }
}

fn of_get(path: &str, models: &mut Models) -> Option<(Body, &'static [Fault])> {
    Some(match path {
        "/health" | "/v2/health" => (models.reply::<Done>(), &[]),
        "/v2/ohttp-key" | GATEWAY => (Body::Bytes("application/ohttp-keys"), &[]),
        "/v2/ohttp-key-signed" => (Body::Bytes(key_record::CONTENT_TYPE), &[Fault::NoSignedKey]),
        "/v2/ohttp-anchor-rollover" => (Body::Bytes(anchor::ROLLOVER_CONTENT_TYPE), &[Fault::NoRollover]),
        "/federation" => {
            (Body::WebSocket, &[Fault::NotAnUpgrade, Fault::TooManyTunnels, Fault::FederationAway])
        }
        "/federation/key" => (Body::Bytes("text/plain"), &[]),
        _ => return None,
    })
}

fn post<Q: JsonSchema, R: JsonSchema>(models: &mut Models, faults: &'static [Fault]) -> Operation {
    Operation { request: Some(models.request::<Q>()), reply: models.reply::<R>(), faults }
}

fn of_mail(path: &str, models: &mut Models) -> Option<Operation> {
    Some(match path {
        "/v2/send" => post::<SendRequest, SendReply>(
            models,
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
        "/v2/fetch" => post::<FetchRequest, FetchReply>(models, &[Fault::TokenCount, Fault::Token]),
        "/v2/ack" => post::<AckRequest, AckReply>(models, &[Fault::RecipientId, Fault::BlobId]),
        "/v2/register" => post::<RegisterRequest, RegisterReply>(
            models,
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
        "/v2/purge" => post::<PurgeRequest, PurgeReply>(
            models,
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

/// What a designator may be told.
const OF_DESIGNATORS: &[Fault] = &[
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

fn of_records(path: &str, models: &mut Models) -> Option<Operation> {
    Some(match path {
        "/v2/recovery/store" => post::<RecoveryStoreRequest, Done>(
            models,
            &[Fault::KeyHash, Fault::ProofData, Fault::ClockWrong, Fault::StorageFull],
        ),
        "/v2/recovery/query" => {
            post::<RecoveryQueryRequest, RecoveryQueryReply>(models, &[Fault::KeyHashCount, Fault::KeyHashes])
        }
        "/v2/exchange/offer" => post::<ExchangeOfferRequest, ExchangeOfferReply>(
            models,
            &[
                Fault::Payload,
                Fault::PayloadTooLarge,
                Fault::OfferTtl,
                Fault::TooManyOffers,
                Fault::StorageFull,
                Fault::ClockWrong,
            ],
        ),
        "/v2/exchange/claim" => post::<ExchangeClaimRequest, ExchangeClaimReply>(
            models,
            &[
                Fault::Code,
                Fault::Response,
                Fault::ResponseTooLarge,
                Fault::UnknownCode,
                Fault::AlreadyClaimed,
                Fault::StorageFull,
            ],
        ),
        "/v2/exchange/complete" => post::<ExchangeCompleteRequest, ExchangeCompleteReply>(
            models,
            &[Fault::Code, Fault::UnknownCode, Fault::NotYetClaimed],
        ),
        "/v2/guardian/query" => {
            post::<GuardianQueryRequest, GuardianQueryReply>(models, &[Fault::GuardianHash])
        }
        "/v2/guardian/store" => post::<GuardianStoreRequest, Done>(models, OF_DESIGNATORS),
        "/v2/guardian/delete" => post::<GuardianDeleteRequest, Done>(models, OF_DESIGNATORS),
        "/v2/escrow" => post::<EscrowRequest, EscrowReply>(
            models,
            &[
                Fault::EscrowAction,
                Fault::GateHash,
                Fault::SlotHash,
                Fault::EscrowBlob,
                Fault::EscrowTtl,
                Fault::StorageFull,
                Fault::ClockWrong,
            ],
        ),
        _ => return None,
    })
}
