//! The wire, as a client writes and reads it. Nothing that could be a token gets out of here as text.

use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};

/// No request of the walk takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than any answer of the walk.
const LARGEST_ANSWER: u64 = 4 << 20;

/// New enough for every relay.
const COMPATIBLE: &str = "65535";

/// Where a relay serves clients: scheme, host, port, and a path before its own where a proxy adds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(String);

impl FromStr for Base {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "that is not a URL")?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
        if scheme.is_none() {
            return Err("the URL must begin with http:// or https://");
        }
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err("the URL must have a host and no query");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no way to the relay.
    Unreachable(String),
    /// The relay answered, and the answer is not right.
    Wrong(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) | Self::Wrong(reason) => formatter.write_str(reason),
        }
    }
}

/// An answer with its status. A body that is not JSON reads as null.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) json: Value,
    versions: [Option<String>; 2],
}

impl Answer {
    /// The body of a success.
    pub(super) fn success(self) -> Result<Value, Trouble> {
        match self.status {
            200 if self.json["status"] == "ok" => Ok(self.json),
            _ => Err(self.unexpected()),
        }
    }

    /// Checks that this is an error with the given status.
    pub(super) fn refusal(self, status: u16) -> Result<(), Trouble> {
        if self.status == status && self.json["status"] == "error" && self.json["error"].is_string() {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// The oldest version served and the oldest version not warned.
    pub(super) fn versions(&self) -> Option<[u16; 2]> {
        let [minimum, warn] = &self.versions;
        Some([minimum.as_ref()?.parse().ok()?, warn.as_ref()?.parse().ok()?])
    }

    fn unexpected(self) -> Trouble {
        let text = match self.json["error"].as_str() {
            Some(error) => format!("status {}: {}", self.status, harmless(error)),
            None => format!("status {}, without the body that belongs to it", self.status),
        };
        Trouble::Wrong(text)
    }
}

/// An error text without anything that looks like an identifier: a relay that is not ours may repeat one.
fn harmless(text: &str) -> String {
    text.chars()
        .take(120)
        .collect::<String>()
        .split_whitespace()
        .map(|word| if word.len() >= 16 { "…" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A client of one relay.
#[derive(Debug)]
pub(super) struct Client {
    base: Base,
    agent: Agent,
}

impl Client {
    pub(super) fn new(base: Base) -> Self {
        // The system's certificates, so that an operator's own authority counts; no proxy and no redirect,
        // since it is this relay that is being tried.
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        Self { base, agent }
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Trouble> {
        let request = self.agent.get(self.url(path)).header("x-app-compat-version", COMPATIBLE);
        read(request.call())
    }

    pub(super) fn post(&self, path: &str, fields: &Value) -> Result<Answer, Trouble> {
        let request = self
            .agent
            .post(self.url(path))
            .header("x-app-compat-version", COMPATIBLE)
            .header("content-type", "application/json");
        read(request.send(fields.to_string()))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.0)
    }
}

fn read(outcome: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer, Trouble> {
    let mut response = outcome.map_err(|error| Trouble::Unreachable(error.to_string()))?;
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let versions = ["x-min-version", "x-warn-version"].map(header);
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(LARGEST_ANSWER)
        .read_to_vec()
        .map_err(|error| Trouble::Wrong(format!("the answer broke off: {error}")))?;
    Ok(Answer { status, json: serde_json::from_slice(&body).unwrap_or_default(), versions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, json: Value) -> Answer {
        Answer { status, json, versions: [None, None] }
    }

    #[test]
    fn only_a_200_that_says_ok_is_a_success() {
        assert!(answer(200, json!({ "status": "ok" })).success().is_ok());
        assert!(answer(200, json!({ "status": "error", "error": "no" })).success().is_err());
        assert!(answer(201, json!({ "status": "ok" })).success().is_err());
        assert!(answer(200, Value::Null).success().is_err());
    }

    #[test]
    fn a_refusal_has_its_status_and_a_text() {
        assert!(answer(400, json!({ "status": "error", "error": "bad" })).refusal(400).is_ok());
        assert!(answer(500, json!({ "status": "error", "error": "bad" })).refusal(400).is_err());
        assert!(answer(400, json!({ "status": "error" })).refusal(400).is_err());
    }

    #[test]
    fn what_may_be_an_identifier_is_not_repeated() {
        let token = "ab".repeat(32);
        let trouble =
            answer(400, json!({ "error": format!("no mailbox {token} here") })).success().unwrap_err();
        assert_eq!(trouble.to_string(), "status 400: no mailbox … here");
    }

    #[test]
    fn a_base_loses_its_last_slash() {
        assert_eq!("https://host/".parse::<Base>(), Ok(Base("https://host".to_owned())));
    }
}
