//! The wire, as a client writes and reads it. Nothing that could be a token gets out of here as text.

use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};

/// No request of the walk takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than any answer of the walk.
const LARGEST_ANSWER: u64 = 4 << 20;

/// The header with a client's version, and one new enough for every relay.
pub(super) const COMPATIBLE: (&str, &str) = ("x-app-compat-version", "65535");

/// Headers that every answer of the API has: the oldest version served and the oldest one not warned.
pub(super) const VERSIONS: [&str; 2] = ["x-min-version", "x-warn-version"];

/// Where a relay serves clients: scheme, host, port, and a path before its own where a proxy adds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    url: String,
    authority: String,
}

impl FromStr for Base {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = web_uri(text)?;
        if uri.query().is_some() {
            return Err("the URL must have no query");
        }
        let host = uri.host().unwrap_or_default();
        // As HTTP names it: without the port that goes without saying.
        let authority = match (uri.port_u16(), uri.scheme_str()) {
            (None, _) | (Some(80), Some("http")) | (Some(443), Some("https")) => host.to_owned(),
            (Some(port), _) => format!("{host}:{port}"),
        };
        Ok(Self { url: text.trim_end_matches('/').to_owned(), authority })
    }
}

/// Where an oblivious relay takes sealed requests: any URL that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outer(String);

impl FromStr for Outer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        web_uri(text)?;
        Ok(Self(text.to_owned()))
    }
}

fn web_uri(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "that is not a URL")?;
    if uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).is_none() {
        return Err("the URL must begin with http:// or https://");
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("the URL must have a host");
    }
    Ok(uri)
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

/// That an answer is not right.
pub(super) fn wrong(reason: impl fmt::Display) -> Trouble {
    Trouble::Wrong(reason.to_string())
}

/// What must hold of an answer.
pub(super) fn expect(holds: bool, otherwise: &str) -> Result<(), Trouble> {
    if holds { Ok(()) } else { Err(wrong(otherwise)) }
}

/// An answer of the API.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status; an envelope has none.
    pub(super) status: Option<u16>,
    /// Its body, null where that is not JSON.
    pub(super) json: Value,
}

impl Answer {
    /// The body of an answer that was given and is no error.
    pub(super) fn body(self) -> Result<Value, Trouble> {
        if self.status.is_none_or(|status| status == 200)
            && self.json["status"].is_string()
            && !self.is_error()
        {
            Ok(self.json)
        } else {
            Err(self.unexpected())
        }
    }

    /// The body of a success.
    pub(super) fn success(self) -> Result<Value, Trouble> {
        if self.json["status"] == "ok" { self.body() } else { Err(self.unexpected()) }
    }

    /// Checks that this is an error with the given status, as far as that can be seen, and these words in its
    /// text.
    pub(super) fn refusal(self, status: u16, words: &str) -> Result<(), Trouble> {
        let has_words = self.json["error"].as_str().is_some_and(|text| text.contains(words));
        if self.status.is_none_or(|got| got == status) && self.is_error() && has_words {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn is_error(&self) -> bool {
        self.json["status"] == "error"
    }

    fn unexpected(self) -> Trouble {
        let status = match self.status {
            Some(status) => format!("status {status}"),
            None => "in the envelope".to_owned(),
        };
        match self.json["error"].as_str() {
            Some(error) => wrong(format_args!("{status}: {}", harmless(error))),
            None => wrong(format_args!("{status}, without the body that belongs to it")),
        }
    }
}

/// An error text without anything that looks like an identifier: a relay that is not ours may repeat one.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .take(120)
        .collect::<String>()
        .split_whitespace()
        .map(|word| if word.len() >= 16 { "…" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// An answer as HTTP gave it.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Raw {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Checks status and content type.
    pub(super) fn is(&self, status: u16, content_type: &str) -> Result<(), Trouble> {
        if self.status != status {
            return Err(wrong(format_args!("status {}, and not {status}", self.status)));
        }
        let given = self.header("content-type").and_then(|value| value.split(';').next()).map(str::trim);
        if given.is_some_and(|given| given.eq_ignore_ascii_case(content_type)) {
            Ok(())
        } else {
            Err(wrong(format_args!("its content type is not {content_type}")))
        }
    }

    /// As JSON; null where it is something else.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// As an answer of the API.
    pub(super) fn answer(&self) -> Answer {
        Answer { status: Some(self.status), json: self.json() }
    }
}

/// A client of one relay.
#[derive(Debug)]
pub(super) struct Client {
    base: Base,
    agent: Agent,
}

impl Client {
    pub(super) fn new(base: Base) -> Self {
        Self::with_patience(base, PATIENCE)
    }

    /// As [`Client::new`], with another limit to every request.
    pub(super) fn with_patience(base: Base, patience: Duration) -> Self {
        // The system's certificates, so that an operator's own authority counts; no proxy and no redirect,
        // since it is this relay that is being tried.
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .build()
            .new_agent();
        Self { base, agent }
    }

    /// Host and port, as a request inside another names them.
    pub(super) fn authority(&self) -> &str {
        &self.base.authority
    }

    pub(super) fn get(&self, path: &str) -> Result<Raw, Trouble> {
        let (name, value) = COMPATIBLE;
        read(self.agent.get(self.url(path)).header(name, value).call())
    }

    pub(super) fn post(&self, path: &str, fields: &Value) -> Result<Answer, Trouble> {
        let (name, value) = COMPATIBLE;
        let request = self.agent.post(self.url(path)).header(name, value);
        let raw = read(request.header("content-type", "application/json").send(fields.to_string()))?;
        Ok(raw.answer())
    }

    /// Sends a sealed request, to the relay or to an oblivious relay in front of it.
    pub(super) fn post_sealed(&self, outer: Option<&Outer>, sealed: &[u8]) -> Result<Raw, Trouble> {
        let url = outer.map_or_else(|| self.url("/v2/ohttp"), |outer| outer.0.clone());
        let answer = read(self.agent.post(url).header("content-type", "message/ohttp-req").send(sealed));
        match (answer, outer) {
            (Err(Trouble::Unreachable(reason)), Some(_)) => {
                Err(Trouble::Unreachable(format!("the oblivious relay in front: {reason}")))
            }
            (answer, _) => answer,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.url)
    }
}

fn read(outcome: Result<Response<ureq::Body>, ureq::Error>) -> Result<Raw, Trouble> {
    let mut response = outcome.map_err(|error| Trouble::Unreachable(error.to_string()))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(LARGEST_ANSWER)
        .read_to_vec()
        .map_err(|error| wrong(format_args!("the answer broke off: {error}")))?;
    Ok(Raw { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: impl Into<Option<u16>>, json: Value) -> Answer {
        Answer { status: status.into(), json }
    }

    #[test]
    fn only_a_200_that_says_ok_is_a_success() {
        assert!(answer(200, json!({ "status": "ok" })).success().is_ok());
        assert!(answer(None, json!({ "status": "ok" })).success().is_ok());
        assert!(answer(200, json!({ "status": "error", "error": "no" })).success().is_err());
        assert!(answer(201, json!({ "status": "ok" })).success().is_err());
        assert!(answer(200, Value::Null).success().is_err());
        assert!(answer(200, json!({ "status": "Stored" })).success().is_err());
        assert!(answer(200, json!({ "status": "Stored" })).body().is_ok());
        assert!(answer(200, json!({ "status": "error", "error": "no" })).body().is_err());
    }

    #[test]
    fn a_refusal_has_its_status_and_its_words() {
        let error = || json!({ "status": "error", "error": "already claimed" });
        assert!(answer(400, error()).refusal(400, "claimed").is_ok());
        assert!(answer(None, error()).refusal(400, "claimed").is_ok());
        assert!(answer(500, error()).refusal(400, "claimed").is_err());
        assert!(answer(400, error()).refusal(400, "expired").is_err());
        assert!(answer(400, json!({ "status": "error" })).refusal(400, "").is_err());
    }

    #[test]
    fn what_may_be_an_identifier_is_not_repeated() {
        let token = "ab".repeat(32);
        let trouble =
            answer(400, json!({ "error": format!("no mailbox {token} here") })).success().unwrap_err();
        assert_eq!(trouble.to_string(), "status 400: no mailbox … here");
    }

    #[test]
    fn a_base_loses_its_last_slash_and_an_outer_url_nothing() {
        let base: Base = "https://host:444/".parse().unwrap();
        assert_eq!((base.url.as_str(), base.authority.as_str()), ("https://host:444", "host:444"));
        for (url, authority) in [
            ("http://host:80", "host"),
            ("https://host:443/x", "host"),
            ("https://[::1]:80", "[::1]:80"),
            ("http://somebody@host", "host"),
        ] {
            assert_eq!(url.parse::<Base>().unwrap().authority, authority, "{url}");
        }
        assert_eq!("https://outer/?to=1".parse(), Ok(Outer("https://outer/?to=1".to_owned())));
    }

    #[test]
    fn a_content_type_may_have_parameters() {
        let headers = [("content-type", "Application/Problem+JSON; charset=utf-8")];
        let headers =
            headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let raw = Raw { status: 400, headers: headers.collect(), body: Vec::new() };
        assert!(raw.is(400, "application/problem+json").is_ok());
        assert!(raw.is(200, "application/problem+json").is_err());
        assert!(raw.is(400, "application/json").is_err());
    }
}
