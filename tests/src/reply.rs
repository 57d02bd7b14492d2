//! An answer, and what tests ask of one.

use crate::client::Via;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use relay_client::Response;
use serde_json::Value;

/// The status of an error that came in an envelope, which tells none.
pub const UNTOLD: u16 = 0;

/// An answer of the relay.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code. An envelope tells none: 200 stands for its successes, [`UNTOLD`] for its errors.
    pub status: u16,
    /// Headers. An envelope has none: these are of the answer that carried it.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// How it came.
    pub via: Via,
    /// Bytes of the padded plaintext that it came in, if it came sealed.
    pub plaintext: Option<usize>,
}

impl Reply {
    /// An answer that came in the open.
    pub const fn plain(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body, via: Via::Plain, plaintext: None }
    }

    /// Whether it has status and headers of its own.
    pub fn has_head(&self) -> bool {
        self.via != Via::Envelope
    }

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

    /// The JSON of an answer whose `status` says more than that it is a success.
    #[track_caller]
    pub fn outcome(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.describe());
        self.json()
    }

    /// The text of an error, after checking its form and, if it tells one, its status.
    #[track_caller]
    pub fn failure(&self, status: u16) -> String {
        let expected = if self.has_head() { status } else { UNTOLD };
        assert_eq!(self.status, expected, "{}", self.describe());
        let json = self.json();
        assert_eq!(json["status"], "error", "{}", self.describe());
        json["error"].as_str().unwrap_or_else(|| panic!("{} has no error text", self.describe())).to_owned()
    }

    /// Checks status and exact text of an error.
    #[track_caller]
    pub fn refuses(&self, status: u16, text: &str) {
        assert_eq!(self.failure(status), text);
    }

    /// A text in a success.
    #[track_caller]
    pub fn said(&self, name: &str) -> String {
        let json = self.success();
        json[name].as_str().unwrap_or_else(|| panic!("{} has no {name}", self.describe())).to_owned()
    }

    /// The id in a success of send.
    #[track_caller]
    pub fn blob_id(&self) -> String {
        self.said("blob_id")
    }

    /// Whether an ack removed something.
    #[track_caller]
    pub fn acknowledged(&self) -> bool {
        self.success()["acknowledged"].as_bool().unwrap_or_else(|| panic!("{} does not say", self.describe()))
    }

    /// The page of a fetch.
    #[track_caller]
    pub fn page(&self) -> Page {
        Page::read(&self.success())
    }

    /// Whole seconds of `Retry-After`. Not for an envelope, which has no place for it.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        assert!(self.has_head(), "an envelope cannot tell when to come back");
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

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::plain(response.status, response.headers, response.body)
    }
}

/// Checks that an answer is a refusal for being too busy, and tells to wait no longer than so many seconds.
///
/// # Panics
/// When it is something else.
#[track_caller]
pub fn limited(reply: &Reply, longest: u64) {
    reply.refuses(429, "rate limit exceeded");
    if reply.has_head() {
        let wait = reply.retry_after();
        assert!((1..=longest).contains(&wait), "Retry-After {wait}, at most {longest} expected");
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
    /// Reads the JSON of a page.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn read(json: &Value) -> Self {
        let truncated = json["truncated"].as_bool().unwrap_or_else(|| panic!("{json} does not say"));
        let blobs = json["blobs"].as_array().unwrap_or_else(|| panic!("{json} has no blobs"));
        Self { truncated, blobs: blobs.iter().map(Blob::read).collect() }
    }

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
