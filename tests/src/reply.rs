//! An answer, and what tests ask of one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;

/// An answer of the relay.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// A header's value as text; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} is not JSON", self.describe()))
    }

    /// The JSON of a success.
    #[track_caller]
    pub fn success(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.describe());
        let json = self.json();
        assert_eq!(json["status"], "ok", "{}", self.describe());
        json
    }

    /// The text of an error, after checking its status and its form.
    #[track_caller]
    pub fn failure(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.describe());
        let json = self.json();
        assert_eq!(json["status"], "error", "{}", self.describe());
        json["error"].as_str().unwrap_or_else(|| panic!("{} has no error text", self.describe())).to_owned()
    }

    /// Checks status and exact text of an error.
    #[track_caller]
    pub fn refuses(&self, status: u16, text: &str) {
        assert_eq!(self.failure(status), text);
    }

    /// The id in a success of send.
    #[track_caller]
    pub fn blob_id(&self) -> String {
        let json = self.success();
        json["blob_id"].as_str().unwrap_or_else(|| panic!("{} has no id", self.describe())).to_owned()
    }

    /// Whether an ack removed something.
    #[track_caller]
    pub fn acknowledged(&self) -> bool {
        self.success()["acknowledged"].as_bool().unwrap_or_else(|| panic!("{} does not say", self.describe()))
    }

    /// The page of a fetch.
    #[track_caller]
    pub fn page(&self) -> Page {
        let json = self.success();
        let truncated =
            json["truncated"].as_bool().unwrap_or_else(|| panic!("{} does not say", self.describe()));
        let blobs = json["blobs"].as_array().unwrap_or_else(|| panic!("{} has no blobs", self.describe()));
        Page { truncated, blobs: blobs.iter().map(Blob::read).collect() }
    }

    /// Whole seconds of `Retry-After`.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        self.header("retry-after")
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{} has no Retry-After in whole seconds", self.describe()))
    }

    /// For messages.
    pub fn describe(&self) -> String {
        let text: String = self.text().chars().take(400).collect();
        format!("{} {text:?} {:?}", self.status, self.headers)
    }
}

/// What a fetch brought.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order of the answer.
    pub blobs: Vec<Blob>,
    /// Whether there is a rest.
    pub truncated: bool,
}

impl Page {
    /// The ids, in order.
    pub fn ids(&self) -> Vec<&str> {
        self.blobs.iter().map(|blob| blob.id.as_str()).collect()
    }
}

/// A fetched blob.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its id, as text.
    pub id: String,
    /// What was sent.
    pub ciphertext: Vec<u8>,
    /// Unix seconds.
    pub created_at: u64,
    /// The token under which it lay, as the client wrote it.
    pub mailbox_token: String,
    /// The sender's note.
    pub origin_hint: Option<String>,
}

impl Blob {
    #[track_caller]
    fn read(json: &Value) -> Self {
        let text =
            |name: &str| json[name].as_str().unwrap_or_else(|| panic!("a blob without {name}")).to_owned();
        Self {
            id: text("blob_id"),
            ciphertext: STANDARD.decode(text("ciphertext")).expect("base64"),
            created_at: json["created_at"].as_u64().expect("a blob has a time"),
            mailbox_token: text("mailbox_token"),
            origin_hint: json
                .get("origin_hint")
                .map(|hint| hint.as_str().expect("a hint is text").to_owned()),
        }
    }
}
