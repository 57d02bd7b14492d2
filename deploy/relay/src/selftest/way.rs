//! The way that a client's actions take to the relay: as they are, or sealed to its key.

use super::client::{Answer, Client, Outer, Trouble, harmless, wrong};
use super::oblivious::{self, binary, envelope};
use serde_json::Value;
use std::collections::BTreeMap;

/// Sealed answers come as this.
const SEALED: &str = "message/ohttp-res";

/// A way to the relay.
#[derive(Debug)]
pub(super) struct Way {
    oblivious: bool,
    outer: Option<Outer>,
    /// The relay's key configuration, when it was learned.
    key: Option<Vec<u8>>,
    /// How often every action was taken.
    taken: BTreeMap<String, u32>,
}

impl Way {
    /// As they are.
    pub(super) const fn plain() -> Self {
        Self { oblivious: false, outer: None, key: None, taken: BTreeMap::new() }
    }

    /// Sealed; to another relay in front, or straight to the relay.
    pub(super) const fn oblivious(outer: Option<Outer>) -> Self {
        Self { oblivious: true, outer, key: None, taken: BTreeMap::new() }
    }

    /// What is sealed is sealed to this key from now on.
    pub(super) fn learn(&mut self, key: Vec<u8>) {
        self.key = Some(key);
    }

    /// The relay's key configuration.
    pub(super) fn key(&self) -> Result<&[u8], Trouble> {
        self.key.as_deref().ok_or_else(|| wrong("there is no key to seal to"))
    }

    /// Takes an action of the API. Sealed, it goes as an envelope first, and every second time as Binary HTTP.
    pub(super) fn act(&mut self, client: &Client, action: &str, fields: &Value) -> Result<Answer, Trouble> {
        let path = format!("/v2/{}", action.replacen('_', "/", 1));
        if !self.oblivious {
            return client.post(&path, fields);
        }
        let taken = self.taken.entry(action.to_owned()).or_default();
        *taken += 1;
        if *taken % 2 == 1 {
            self.in_envelope(client, &envelope::request(action, fields)?)
        } else {
            let request = binary::request("POST", client.authority(), &path, Some(fields))?;
            Ok(self.as_binary(client, &request)?.answer())
        }
    }

    /// Sends an envelope; answers what was in the envelope that came back.
    pub(super) fn in_envelope(&self, client: &Client, plaintext: &[u8]) -> Result<Answer, Trouble> {
        envelope::answer(&self.exchange(client, self.key()?.to_vec(), plaintext)?)
    }

    /// Sends a Binary HTTP message; answers the one that came back. Uses the suite that envelopes do not, where
    /// the relay offers more than one.
    pub(super) fn as_binary(&self, client: &Client, plaintext: &[u8]) -> Result<binary::Response, Trouble> {
        let key = oblivious::last_suite_only(self.key()?)?;
        binary::response(&self.exchange(client, key, plaintext)?)
    }

    fn exchange(&self, client: &Client, key: Vec<u8>, plaintext: &[u8]) -> Result<Vec<u8>, Trouble> {
        let (sealed, opener) = oblivious::seal(&key, plaintext)?;
        let raw = client.post_sealed(self.outer.as_ref(), &sealed)?;
        if raw.status != 200 {
            let json = raw.json();
            let title =
                json["title"].as_str().or_else(|| json["error"].as_str()).unwrap_or("no reason given");
            return Err(wrong(format_args!("status {} outside: {}", raw.status, harmless(title))));
        }
        raw.is(200, SEALED)?;
        let opened =
            opener.decapsulate(&raw.body).map_err(|_| wrong("the answer does not open with this request"))?;
        oblivious::on_the_ladder(opened.len())?;
        Ok(opened)
    }
}
