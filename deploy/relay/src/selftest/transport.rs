//! How a client's requests travel to the relay: as they are, or sealed to its key.

use super::reply::{ApiReply, StepError, harmless, wrong};
use crate::display::output::runtime;
use relay_client::binary::Request;
use relay_client::{Client, Key, Response, Url, binary, envelope, oblivious};
use relay_daemon::Failure;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The header with a client's version, and one new enough for every relay.
const COMPATIBLE: (&str, &str) = ("x-app-compat-version", "65535");

/// The URL of a relay, which has no query.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn relay_url(text: &str) -> Result<Url, &'static str> {
    let url: Url = text.parse()?;
    if url.has_query() { Err("the URL must have no query") } else { Ok(url) }
}

/// Whether a URL's host is a name or an address of the machine that asks.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// Why no TLS certificate can be checked. The only reason for which a client cannot be made.
pub(crate) const NO_AUTHORITIES: &str =
    "no CA certificates were found on this machine, so no relay's certificate can be checked";

/// What fixes that.
pub(crate) const INSTALL_AUTHORITIES: &str =
    "install the package ca-certificates, or set SSL_CERT_FILE to a file with the certificates to trust";

pub(super) fn client(url: Url, deadline: Duration) -> Result<Client, Failure> {
    // The code of a failed selftest: nothing is wrong with the command line or with this program.
    Client::new(url, deadline).map_err(|_| failure!(Forced, "{NO_AUTHORITIES}; {INSTALL_AUTHORITIES}"))
}

/// Requests to one relay. Each waits for its answer, so it must not run inside a runtime.
pub(super) struct Transport {
    runtime: Runtime,
    relay: Client,
    /// The oblivious relay in front, if sealed requests take one.
    outer: Option<Client>,
    is_oblivious: bool,
    key: Option<Key>,
    /// How often each action was sent.
    sent: BTreeMap<String, u32>,
}

impl Transport {
    /// Sends requests as they are, each with a deadline.
    pub(super) fn plain(url: Url, deadline: Duration) -> Result<Self, Failure> {
        let (runtime, relay) = (runtime()?, client(url, deadline)?);
        Ok(Self { runtime, relay, outer: None, is_oblivious: false, key: None, sent: BTreeMap::new() })
    }

    /// Seals requests, for an oblivious relay in front or for the relay itself.
    pub(super) fn oblivious(url: Url, outer: Option<Url>, deadline: Duration) -> Result<Self, Failure> {
        let outer = outer.map(|outer| client(outer, deadline)).transpose()?;
        Ok(Self { outer, is_oblivious: true, ..Self::plain(url, deadline)? })
    }

    /// Seals requests to this key from now on.
    pub(super) fn seal_to(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// The relay's key configuration.
    pub(super) fn key(&self) -> Result<&Key, StepError> {
        self.key.as_ref().ok_or_else(|| wrong("there is no key to seal to"))
    }

    /// Host and port, as a request inside another names them.
    pub(super) fn authority(&self) -> &str {
        self.relay.url().authority()
    }

    /// Asks the relay for a path, unsealed.
    pub(super) fn get(&self, path: &str) -> Result<Response, StepError> {
        Ok(self.runtime.block_on(self.relay.send("GET", path, &[COMPATIBLE], ""))?)
    }

    /// Requests an action of the API. A sealed action goes as an envelope first, and every second time as Binary HTTP.
    pub(super) fn act(&mut self, action: &str, fields: &Value) -> Result<ApiReply, StepError> {
        let path = format!("/v2/{}", action.replacen('_', "/", 1));
        if !self.is_oblivious {
            let headers = [COMPATIBLE, ("content-type", "application/json")];
            let sent = self.relay.send("POST", &path, &headers, fields.to_string());
            return Ok((&self.runtime.block_on(sent)?).into());
        }
        let sent = self.sent.entry(action.to_owned()).or_default();
        *sent += 1;
        if *sent % 2 == 1 {
            self.in_envelope(&envelope::request(action, fields)?)
        } else {
            let request = Request::post(&path, fields).at(self.authority());
            Ok((&self.as_binary(request)?).into())
        }
    }

    /// Sends an envelope, and returns what the one that came back holds.
    pub(super) fn in_envelope(&self, plaintext: &[u8]) -> Result<ApiReply, StepError> {
        Ok(ApiReply { status: None, json: envelope::answer(&self.exchange(self.key()?, plaintext)?)? })
    }

    /// Sends Binary HTTP, and returns the response that came back. Uses the last suite, so that a relay with more than one
    /// is tried with another than envelopes use.
    pub(super) fn as_binary(&self, request: Request) -> Result<Response, StepError> {
        let key = self.key()?;
        let key = key.suites().last().map_or_else(|| key.clone(), |suite| key.with_suite(*suite));
        let (name, value) = COMPATIBLE;
        let plaintext = request.with_header(name, value).encode_padded()?;
        Ok(binary::response(&self.exchange(&key, &plaintext)?)?)
    }

    fn exchange(&self, key: &Key, plaintext: &[u8]) -> Result<Vec<u8>, StepError> {
        let (sealed, opener) = key.seal(plaintext)?;
        let answer = match &self.outer {
            None => self.post_sealed(sealed)?,
            Some(outer) => self.post(outer, "", sealed).map_err(|error| match error {
                StepError::Unreachable(reason) => {
                    StepError::Unreachable(format!("the oblivious relay in front: {reason}"))
                }
                wrong => wrong,
            })?,
        };
        if answer.status != 200 {
            let json = answer.json();
            let title = json["title"].as_str().or_else(|| json["error"].as_str());
            let title = harmless(title.unwrap_or("no reason given"));
            return Err(wrong(format_args!("status {} outside: {title}", answer.status)));
        }
        Ok(opener.open(&answer)?)
    }

    /// Sends something as a sealed request to the relay itself, and returns the answer as it comes.
    pub(super) fn post_sealed(&self, sealed: impl Into<Vec<u8>>) -> Result<Response, StepError> {
        self.post(&self.relay, oblivious::PATH, sealed)
    }

    fn post(&self, to: &Client, path: &str, sealed: impl Into<Vec<u8>>) -> Result<Response, StepError> {
        let headers = [("content-type", oblivious::REQUEST_TYPE)];
        Ok(self.runtime.block_on(to.send("POST", path, &headers, sealed.into()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["relay.example", "192.0.2.1", "2001:db8::1", "localhost.example"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
