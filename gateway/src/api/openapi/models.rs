//! How endpoints describe what goes in and out of them, and the generator of the schemas behind that.

use crate::bodies::error::ErrorCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What goes in and out of an endpoint.
pub(crate) struct Operation {
    pub(super) request: Option<Body>,
    pub(super) reply: Body,
    /// Its own errors, besides those that every endpoint of its kind has.
    pub(crate) errors: &'static [ErrorCode],
}

impl Operation {
    /// JSON in and out.
    pub(crate) const fn json<Q: JsonSchema, R: JsonSchema>(errors: &'static [ErrorCode]) -> Self {
        Self { request: Some(Body::json::<Q>()), reply: Body::json::<R>(), errors }
    }

    /// A reply to a request without a body.
    pub(crate) const fn get(reply: Body, errors: &'static [ErrorCode]) -> Self {
        Self { request: None, reply, errors }
    }

    /// Bytes of media types in and out.
    pub(crate) const fn bytes(
        request: &'static str,
        reply: &'static str,
        errors: &'static [ErrorCode],
    ) -> Self {
        Self { request: Some(Body::Bytes(request)), reply: Body::Bytes(reply), errors }
    }
}

/// A body, sent or replied.
pub(crate) enum Body {
    /// JSON of a schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Bytes of a media type.
    Bytes(&'static str),
    /// None: the connection becomes something else.
    WebSocket,
}

impl Body {
    pub(crate) const fn json<T: JsonSchema>() -> Self {
        Self::Json(SchemaGenerator::subschema_for::<T>)
    }

    fn content(&self, generator: &mut SchemaGenerator) -> Value {
        match self {
            Self::Json(schema) => json!({ "application/json": { "schema": schema(generator) } }),
            Self::Bytes(kind) => json!({ *kind: { "schema": {
                "type": "string", "contentMediaType": kind, "description": "Bytes of this type.",
            } } }),
            Self::WebSocket => json!({}),
        }
    }
}

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

    /// The content of a request.
    pub(super) fn request(&mut self, body: &Body) -> Value {
        body.content(&mut self.requests)
    }

    /// The content of a reply.
    pub(super) fn reply(&mut self, body: &Body) -> Value {
        body.content(&mut self.replies)
    }

    /// All that were asked for, by their names.
    pub(super) fn all(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        all.extend(self.replies.take_definitions(true));
        all.values_mut().for_each(in_one_line);
        all
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
