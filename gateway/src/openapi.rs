//! The client API as an OpenAPI 3.1 document, made from the table of endpoints, the table of errors and the shapes
//! of bodies. Tests hold every answer that a gateway gives to it.

mod shapes;

use crate::api::error::Fault;
use crate::api::{ROUTES, Route};
use hyper::Method;
use serde_json::{Map, Value, json};
use shapes::{Body, Shape};

/// What any request may be told.
const OF_ALL: &[Fault] =
    &[Fault::Host, Fault::TransferCoding, Fault::ContentEncoding, Fault::TooManyOfOneAddress];

/// What any request to an endpoint that needs storage may be told.
const OF_STORAGE: &[Fault] = &[
    Fault::NotJson,
    Fault::BodyBroken,
    Fault::BodyTooSlow,
    Fault::BodyTooLarge,
    Fault::UpgradeRequired,
    Fault::RateLimited,
    Fault::TooMuchInProgress,
    Fault::Internal,
    Fault::Busy,
    Fault::Crowded,
    Fault::Unreachable,
];

/// What any request to a key endpoint may be told.
const OF_KEYS: &[Fault] = &[Fault::UpgradeRequired, Fault::RateLimited, Fault::Internal, Fault::Unreachable];

/// What any request of another relay may be told.
const OF_PEERS: &[Fault] = &[Fault::NoPeering, Fault::RateLimited, Fault::Internal, Fault::Unreachable];

/// The whole document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let Some(shape) = shapes::of(route) else { continue };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, &shape);
    }
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
        "paths": paths,
    })
}

fn operation(route: &Route, shape: &Shape) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.about,
        "responses": responses(route, shape),
    });
    if let Some(request) = &shape.request {
        operation["requestBody"] = json!({ "required": true, "content": content(request) });
    }
    if route.path.starts_with("/v2/") {
        operation["parameters"] = json!([{
            "name": "X-App-Compat-Version", "in": "header", "required": false,
            "description": "The client's version; 0 when absent.",
            "schema": { "type": "integer", "minimum": 0, "maximum": 65_535 },
        }]);
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words: Vec<&str> = route.path.split(['/', '.', '-', '_']).filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_ascii_lowercase(), words.join("_"))
}

fn responses(route: &Route, shape: &Shape) -> Value {
    let common = match (&route.method, &shape.reply) {
        _ if route.is_for_peers() => OF_PEERS,
        (&Method::POST, _) => OF_STORAGE,
        (_, Body::Bytes(_)) => OF_KEYS,
        (_, Body::Json(_)) if route.path.starts_with("/v2/") => &[Fault::UpgradeRequired, Fault::RateLimited],
        _ => &[],
    };
    let mut responses = Map::new();
    let (status, success) = match &shape.reply {
        Body::WebSocket => ("101", json!({ "description": "The connection is a WebSocket from here on." })),
        body => ("200", json!({ "description": "Done.", "content": content(body) })),
    };
    responses.insert(status.to_owned(), success);
    let mut faults: Vec<Fault> = OF_ALL.iter().chain(common).chain(shape.faults).copied().collect();
    faults.sort_by_key(|fault| fault.status().as_u16());
    for told in faults.chunk_by(|one, other| one.status() == other.status()) {
        let Some(first) = told.first() else { continue };
        responses.insert(first.status().as_str().to_owned(), refusal(told));
    }
    if route.is_oblivious_door() {
        // The errors of requests that could be opened are told inside.
        let problem = json!({
            "description": "The message cannot be opened. The type #ohttp-key asks to fetch the key again.",
            "content": { "application/problem+json": { "schema": shapes::problem() } },
        });
        responses.insert("400".to_owned(), problem);
    }
    Value::Object(responses)
}

/// The answer to requests that are refused with one status.
fn refusal(faults: &[Fault]) -> Value {
    let texts: Vec<&str> = faults.iter().map(|fault| fault.text()).collect();
    let description: Vec<String> =
        faults.iter().map(|fault| format!("`{}`: {}", fault.text(), fault.when())).collect();
    let schema = json!({
        "type": "object",
        "required": ["status", "error"],
        "properties": {
            "status": { "const": "error" },
            "error": { "enum": texts },
            "min_version": { "type": "integer" },
        },
        "additionalProperties": false,
    });
    let mut refusal = json!({
        "description": description.join("\n\n"),
        "content": { "application/json": { "schema": schema } },
    });
    if faults.iter().any(|fault| matches!(fault.status().as_u16(), 429 | 503 | 507)) {
        refusal["headers"] = json!({
            "Retry-After": { "description": "Whole seconds.", "schema": { "type": "integer", "minimum": 1 } },
        });
    }
    refusal
}

fn content(body: &Body) -> Value {
    match body {
        Body::Json(schema) => json!({ "application/json": { "schema": schema } }),
        Body::Bytes(kind) => json!({ *kind: {} }),
        Body::WebSocket => json!({}),
    }
}

/// Whether an answer is one that the document describes; what is wrong with it, where it is not.
#[cfg(test)]
pub(crate) fn check(route: &Route, status: u16, kind: &str, body: &Value) -> Result<(), String> {
    let document = document();
    let path = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
    let described = &path["responses"][status.to_string()]["content"][kind];
    if described.is_null() {
        return Err(format!("{} {} answers {status} ({kind}): not described", route.method, route.path));
    }
    let schema = &described["schema"];
    let verdict = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
    verdict.validate(body).map_err(|error| format!("{} answers {status}: {error}", route.path))
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
            Fault::NotFound,
            Fault::MethodNotAllowed,
            Fault::TooManyConnections,
            Fault::Framing,
            Fault::EnvelopeVersion,
            Fault::UnknownAction,
            Fault::Binary,
            Fault::Expectation,
            Fault::ForeignAuthority,
            Fault::AnswerTooLarge,
        ];
        let document = document().to_string();
        for fault in Fault::ALL {
            let described = document.contains(&format!("\"{}\"", fault.text()));
            assert_eq!(described, !elsewhere.contains(fault), "{}", fault.text());
        }
    }

    #[test]
    fn every_schema_is_one_and_names_are_unique() {
        let document = document();
        let mut ids = std::collections::HashSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                let bodies = operation["responses"].as_object().unwrap().values();
                for body in bodies.chain([&operation["requestBody"]]) {
                    for content in body["content"].as_object().into_iter().flat_map(Map::values) {
                        if let Some(schema) = content.get("schema") {
                            assert!(jsonschema::meta::is_valid(schema), "{schema}");
                        }
                    }
                }
            }
        }
    }
}
