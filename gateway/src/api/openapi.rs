//! The client API as an OpenAPI 3.1 document, made from the table of endpoints, what each says of its bodies and errors,
//! and the table of errors. Tests hold every reply of a gateway to it.

mod models;

pub(crate) use models::{Body, Operation};

use crate::api::{Audience, GATEWAY, ROUTES, Route, every_error};
use crate::bodies::error::ErrorCode;
use hyper::Method;
use models::Models;
use serde_json::{Map, Value, json};

/// What any request may be told.
const OF_ALL: &[ErrorCode] =
    &[ErrorCode::Host, ErrorCode::TransferCoding, ErrorCode::ContentEncoding, ErrorCode::TooManyOfOneAddress];

/// What any request to an endpoint that needs storage may be told.
const OF_STORAGE: &[ErrorCode] = &[
    ErrorCode::NotJson,
    ErrorCode::BodyBroken,
    ErrorCode::BodyTooSlow,
    ErrorCode::BodyTooLarge,
    ErrorCode::UpgradeRequired,
    ErrorCode::RateLimited,
    ErrorCode::TooMuchInProgress,
    ErrorCode::Internal,
    ErrorCode::Busy,
    ErrorCode::Crowded,
    ErrorCode::Unreachable,
];

/// What any request to a key endpoint may be told.
const OF_KEYS: &[ErrorCode] =
    &[ErrorCode::UpgradeRequired, ErrorCode::RateLimited, ErrorCode::Internal, ErrorCode::Unreachable];

/// What any request of another relay may be told.
const OF_PEERS: &[ErrorCode] =
    &[ErrorCode::NoPeering, ErrorCode::RateLimited, ErrorCode::Internal, ErrorCode::Unreachable];

/// The whole document.
pub(crate) fn document() -> Value {
    let (mut paths, mut models) = (Map::new(), Models::new());
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = describe(route, &mut models);
    }
    let mut schemas = models.all();
    schemas.insert("Problem".to_owned(), problem());
    let refusals = refusals(&json!(paths).to_string());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mailbox relay, client API",
            "version": "2",
            "license": { "name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later" },
            "description": "Every POST endpoint but those for sealed requests can also be reached inside one: as an \
                            action (the path after /v2/, with underscores) in a JSON envelope, or by its path in \
                            Binary HTTP. Paths of two parts also answer with an underscore between them.",
        },
        "servers": [{
            "url": "{relay}",
            "description": "Any relay. Clients reach it by an oblivious relay that somebody else runs.",
            "variables": { "relay": { "default": "https://relay.example" } },
        }],
        "security": [],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": { "schemas": schemas, "responses": refusals, "parameters": { "Version": {
            "name": "X-App-Compat-Version", "in": "header", "required": false,
            "description": "The client's version; 0 when absent.",
            "schema": { "type": "integer", "minimum": 0, "maximum": 65_535 }, "example": 1,
        } } },
    })
}

/// Groups of endpoints.
const TAGS: [(&str, &str); 7] = [
    ("mail", "Blobs in mailboxes."),
    ("recovery", "Proofs by which people come back after a loss."),
    ("exchange", "Six digits by which two people exchange something once."),
    ("guardian", "Who guards somebody's recovery."),
    ("escrow", "Two slots behind a gate, each readable by the other once both are filled."),
    ("keys", "Oblivious HTTP: its keys, and sealed requests."),
    ("relay", "The relay itself, and other relays."),
];

fn tag(path: &str) -> &'static str {
    let of = |name: &str| path.starts_with(&format!("/v2/{name}"));
    match path {
        _ if ["recovery", "exchange", "guardian", "escrow"].into_iter().any(of) => {
            TAGS.iter().map(|(name, _)| *name).find(|name| of(name)).unwrap_or("mail")
        }
        _ if path == GATEWAY || of("ohttp") => "keys",
        _ if of("health") || !path.starts_with("/v2/") => "relay",
        _ => "mail",
    }
}

fn describe(route: &Route, models: &mut Models) -> Value {
    let operation = route.operation;
    let mut described = json!({
        "operationId": operation_id(route),
        "tags": [tag(route.path)],
        "summary": route.about,
        "responses": responses(route, models),
    });
    if let Some(request) = &operation.request {
        described["requestBody"] = json!({ "required": true, "content": models.request(request) });
    }
    if route.path.starts_with("/v2/") {
        described["parameters"] = json!([{ "$ref": "#/components/parameters/Version" }]);
    }
    described
}

fn operation_id(route: &Route) -> String {
    let words: Vec<&str> = route.path.split(['/', '.', '-', '_']).filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_ascii_lowercase(), words.join("_"))
}

fn responses(route: &Route, models: &mut Models) -> Value {
    let operation = route.operation;
    let common = match (&route.method, &operation.reply) {
        _ if route.audience == Audience::Peers => OF_PEERS,
        (&Method::POST, _) => OF_STORAGE,
        (_, Body::Bytes(_)) => OF_KEYS,
        (_, Body::Json(_)) if route.path.starts_with("/v2/") => {
            &[ErrorCode::UpgradeRequired, ErrorCode::RateLimited]
        }
        _ => &[],
    };
    let mut responses = Map::new();
    let (status, success) = match &operation.reply {
        Body::WebSocket => ("101", json!({ "description": "The connection is a WebSocket from here on." })),
        body => ("200", json!({ "description": "Done.", "content": models.reply(body) })),
    };
    responses.insert(status.to_owned(), success);
    let mut faults: Vec<ErrorCode> = OF_ALL.iter().chain(common).chain(operation.errors).copied().collect();
    faults.sort_by_key(|fault| fault.status().as_u16());
    for told in faults.chunk_by(|one, other| one.status() == other.status()) {
        let Some(first) = told.first() else { continue };
        responses.insert(first.status().as_str().to_owned(), refused(told));
    }
    if route.takes_sealed_requests() {
        // The errors of requests that could be opened are told inside.
        let problem = json!({
            "description": "The message cannot be opened. The type #ohttp-key asks to fetch the key again.",
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
        responses.insert("400".to_owned(), problem);
    }
    Value::Object(responses)
}

/// The reply to requests that are refused with one status: the errors that the endpoint has, in the form that all have.
fn refused(faults: &[ErrorCode]) -> Value {
    let status = faults.first().map_or(500, |fault| fault.status().as_u16());
    let description: Vec<String> =
        faults.iter().map(|fault| format!("`{}`: {}", fault.text(), fault.when())).collect();
    json!({ "$ref": format!("#/components/responses/{}", refusal_name(status)), "description": description.join("\n\n") })
}

fn refusal_name(status: u16) -> String {
    format!("Refused{status}")
}

/// One reply for each status that the endpoints refer to, with all of its errors.
fn refusals(paths: &str) -> Value {
    let mut refusals = Map::new();
    let all = every_error();
    for fault in &all {
        let status = fault.status().as_u16();
        if !paths.contains(&refusal_name(status)) {
            continue;
        }
        let texts: Vec<&str> =
            all.iter().filter(|other| other.status() == fault.status()).map(|it| it.text()).collect();
        refusals.entry(refusal_name(status)).or_insert_with(|| refusal(status, &texts));
    }
    Value::Object(refusals)
}

fn refusal(status: u16, texts: &[&str]) -> Value {
    let mut schema = json!({
        "type": "object",
        "description": "The request was not carried out.",
        "required": ["status", "error"],
        "properties": {
            "status": { "type": "string", "const": "error" },
            "error": {
                "type": "string", "enum": texts, "description": "Why, in fixed words.", "examples": [texts.first()],
            },
        },
        "additionalProperties": false,
    });
    if status == ErrorCode::UpgradeRequired.status().as_u16() {
        schema["properties"]["min_version"] = json!({
            "type": "integer", "description": "The oldest version of clients that is served.", "examples": [1],
        });
    }
    let mut refusal = json!({
        "description": "The request was not carried out.",
        "content": { "application/json": { "schema": schema } },
    });
    if matches!(status, 429 | 503 | 507) {
        refusal["headers"] = json!({ "Retry-After": {
            "description": "Seconds after which asking again makes sense, where it does.",
            "schema": { "type": "integer", "minimum": 1 },
        } });
    }
    refusal
}

/// A problem document (RFC 9457).
fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Why a sealed request could not be opened (RFC 9457).",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {
                "type": "string", "description": "A URI that names the problem.", "examples": ["#ohttp-key"],
            },
            "title": { "type": "string", "description": "The problem in words.", "examples": ["unknown key"] },
            "status": { "type": "integer", "const": 400, "description": "The status of the reply." },
        },
    })
}

/// Whether a reply is one that the document describes; what is wrong with it, where it is not.
#[cfg(test)]
pub(crate) fn check(route: &Route, status: u16, kind: &str, body: &Value) -> Result<(), String> {
    let document = document();
    let path = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
    let response = resolved(&document, &path["responses"][status.to_string()]);
    let described = &response["content"][kind];
    if described.is_null() {
        return Err(format!("{} {} answers {status} ({kind}): not described", route.method, route.path));
    }
    // What it refers to is found from its root.
    let mut schema = described["schema"].clone();
    schema["components"] = document["components"].clone();
    let verdict = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    verdict.validate(body).map_err(|error| format!("{} answers {status}: {error}", route.path))?;
    // An error is one that this endpoint says it has.
    let text = body["error"].as_str().filter(|_| kind == "application/json");
    let described = path["responses"][status.to_string()]["description"].as_str().unwrap_or_default();
    match text {
        Some(text) if !described.contains(&format!("`{text}`")) => {
            Err(format!("{} does not say that it answers {text:?}", route.path))
        }
        _ => Ok(()),
    }
}

/// What a reference refers to, or the value itself.
#[cfg(test)]
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    reference.map_or(value, |pointer| document.pointer(pointer).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_described() {
        let document = document();
        for route in ROUTES {
            let method = route.method.as_str().to_ascii_lowercase();
            assert!(document["paths"][route.path][&method].is_object(), "{} {}", route.method, route.path);
        }
        let operations = document["paths"].as_object().unwrap().values();
        let count: usize = operations.map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(count, ROUTES.len());
    }

    #[test]
    fn every_error_belongs_to_an_endpoint_or_to_none_for_a_reason() {
        // Told about paths and methods that are not there, to connections, or inside sealed requests only.
        let elsewhere = [
            ErrorCode::NotFound,
            ErrorCode::MethodNotAllowed,
            ErrorCode::TooManyConnections,
            ErrorCode::Framing,
            ErrorCode::EnvelopeVersion,
            ErrorCode::UnknownAction,
            ErrorCode::Binary,
            ErrorCode::Expectation,
            ErrorCode::ForeignAuthority,
            ErrorCode::AnswerTooLarge,
        ];
        let paths = document()["paths"].to_string();
        for fault in every_error() {
            let described = paths.contains(&format!("`{}`", fault.text()));
            assert_eq!(described, !elsewhere.contains(&fault), "{}", fault.text());
        }
    }

    #[test]
    fn every_schema_is_one_and_names_are_unique() {
        let document = document();
        let mut ids = std::collections::HashSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                assert!(TAGS.iter().any(|(name, _)| operation["tags"] == json!([name])), "{operation}");
            }
        }
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name}: {schema}");
        }
        assert!(!document.to_string().contains("$defs"), "every model is a component");
    }

    #[test]
    fn every_field_has_a_sentence_and_every_value_an_example() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(schemas.len() < 60, "{} models", schemas.len());
        for (name, schema) in schemas {
            assert!(schema["description"].is_string() || schema["properties"].is_null(), "{name}");
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                // What may be absent from a request may be null there.
                let inner = schema["anyOf"].get(0).unwrap_or(schema);
                let inner = resolved(&document, inner);
                let items = resolved(&document, &inner["items"]);
                let is_told = |key: &str| [schema, inner, items].iter().any(|it| !it[key].is_null());
                assert!(is_told("description"), "{name}.{field} says nothing");
                if schema["type"] == "string" || schema["type"] == "integer" {
                    assert!(is_told("examples") || is_told("const"), "{name}.{field} has no example");
                }
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|field| references(field, found));
                }
                Value::Array(entries) => entries.iter().for_each(|entry| references(entry, found)),
                _ => {}
            }
        }
        let (document, mut found) = (document(), Vec::new());
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
