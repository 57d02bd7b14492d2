//! A client as strict as the ones that people have: it speaks only through an outer relay, takes a key only as a
//! signed record that holds today under its anchor, fetches the key again once when a request fails outside, and gives
//! up a whole sync at the first error.

use crate::action::Action;
use crate::client::{Client, Via};
use crate::deadline::unix_now;
use crate::fields::{ack_fields, mailbox_fields, send_fields};
use crate::oblivious::binary::Encode as _;
use crate::oblivious::{self, Key, binary, envelope};
use crate::outer_relay::OuterRelay;
use crate::reply::{Blob, Page, Reply};
use crate::signed_key::{self, SignedKey};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::sync::Mutex;

/// Why something was given up.
pub type Failure = String;

/// The client.
#[derive(Debug)]
pub struct StrictClient {
    http: Client,
    anchor: String,
    form: Via,
    key: Mutex<Option<Key>>,
}

/// What a sync brought.
#[derive(Debug, Default)]
pub struct Synced {
    /// In the order in which it came.
    pub blobs: Vec<Blob>,
    /// How many times it fetched.
    pub rounds: usize,
    /// How many blobs the last page said that no sealed answer has room for.
    pub oversized: u64,
}

impl StrictClient {
    /// A client that asks an outer relay for a gateway with this anchor, in one of the forms [`Via::OUTER`].
    ///
    /// # Panics
    /// When the form does not go through an outer relay.
    pub fn new(relay: &OuterRelay, anchor: impl Into<String>, form: Via) -> Self {
        Self::at(relay.address(), anchor, form)
    }

    /// The same of any outer relay, by its address.
    ///
    /// # Panics
    /// When the form does not go through an outer relay.
    pub fn at(relay: SocketAddr, anchor: impl Into<String>, form: Via) -> Self {
        assert!(form.is_outer(), "a strict client goes through an outer relay only");
        let http = Client::new(relay, Via::Plain);
        Self { http, anchor: anchor.into(), form, key: Mutex::new(None) }
    }

    /// The key, fetched and checked when it is needed.
    async fn key(&self) -> Result<Key, Failure> {
        let mut kept = self.key.lock().await;
        if let Some(key) = &*kept {
            return Ok(key.clone());
        }
        let reply =
            self.http.attempt("GET", signed_key::PATH, &[], "").await.map_err(|error| error.to_string())?;
        if reply.status != 200 || reply.header("content-type") != Some(signed_key::CONTENT_TYPE) {
            return Err(format!("no signed key: {}", reply.describe()));
        }
        let signed = SignedKey::taken(&reply.body, &self.anchor, unix_now());
        let signed = signed.map_err(|error| error.to_string())?;
        Ok(kept.insert(signed.key).clone())
    }

    /// One action. What the relay says is wrong is a failure like any other.
    ///
    /// # Errors
    /// When there is no answer, or another one than a success.
    pub async fn call(&self, action: Action, fields: &Value) -> Result<Value, Failure> {
        let reply = self.ask(action, fields).await?;
        match reply.status {
            200 => Ok(reply.json()),
            _ => Err(reply.describe()),
        }
    }

    async fn ask(&self, action: Action, fields: &Value) -> Result<Reply, Failure> {
        let is_envelope = self.form.is_envelope();
        let plaintext = if is_envelope {
            envelope::request(action, fields)
        } else {
            binary::Request::post(action.path(), fields).encode()
        };
        let mut is_stale = false;
        loop {
            let (sealed, opener) = self.key().await?.seal(&plaintext);
            let kind = [("content-type", oblivious::REQUEST_TYPE)];
            let outer = self.http.attempt("POST", oblivious::PATH, &kind, sealed).await;
            let outer = outer.map_err(|error| error.to_string())?;
            match outer.status {
                200 => {
                    let inner = opener.open(&outer);
                    return Ok(if is_envelope {
                        envelope::reply(outer, &inner)
                    } else {
                        binary::reply(&inner)
                    });
                }
                400 | 502 if !is_stale => {
                    is_stale = true;
                    *self.key.lock().await = None;
                }
                _ => return Err(format!("{action:?} fails outside: {}", outer.describe())),
            }
        }
    }

    /// Leaves a blob in a mailbox.
    ///
    /// # Errors
    /// As [`StrictClient::call`].
    pub async fn send(&self, mailbox: &str, ciphertext: &[u8]) -> Result<String, Failure> {
        let sent = self.call(Action::Send, &send_fields(mailbox, ciphertext)).await?;
        sent["blob_id"].as_str().map(str::to_owned).ok_or_else(|| "a send without an id".to_owned())
    }

    /// Fetches and acks until there is no rest.
    ///
    /// # Errors
    /// At the first failure, whatever came before; or when there is a rest and nothing to ack.
    pub async fn sync<M: AsRef<str>>(&self, mailboxes: &[M]) -> Result<Synced, Failure> {
        let mut synced = Synced::default();
        loop {
            let reply = self.call(Action::Fetch, &mailbox_fields(mailboxes)).await?;
            let Page { blobs, truncated } = Page::read(&reply);
            synced.rounds += 1;
            synced.oversized = reply.get("oversized").map_or(Some(0), Value::as_u64).ok_or("no count")?;
            if truncated && blobs.is_empty() {
                return Err("a rest, and nothing to ack".to_owned());
            }
            for blob in &blobs {
                self.call(Action::Ack, &ack_fields(&blob.mailbox_token, &blob.id)).await?;
            }
            synced.blobs.extend(blobs);
            if !truncated {
                return Ok(synced);
            }
        }
    }
}
