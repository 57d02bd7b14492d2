//! The client's side of Oblivious HTTP for tests: what must succeed fails the test where it does not. What is inside is
//! one of two forms: [`envelope`] or [`binary`].

pub mod binary;
pub mod envelope;

use crate::reply::Reply;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use relay_client::Response;
pub use relay_client::oblivious::{
    AES_128_GCM, CHACHA20_POLY1305, KEY_PATH, KEYS_TYPE, PATH, REQUEST_TYPE, RESPONSE_TYPE, WELL_KNOWN,
    is_padded_size,
};
use std::ops::Deref;

/// A key configuration that clients understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(relay_client::Key);

impl Key {
    /// A bare configuration, without a length in front.
    ///
    /// # Panics
    /// When it is none.
    pub fn bare(config: impl Into<Bytes>) -> Self {
        Self(relay_client::Key::parse(config).expect("a key configuration"))
    }

    /// Hex of its SHA-256.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.0.fingerprint())
    }

    /// The same key for clients that know one suite only.
    #[must_use]
    pub fn with_suite(&self, suite: [u8; 4]) -> Self {
        Self(self.0.with_suite(suite))
    }

    /// The same key under another id.
    #[must_use]
    pub fn with_id(&self, id: u8) -> Self {
        Self(self.0.with_id(id))
    }

    /// Seals a plaintext, and returns what opens the answer.
    ///
    /// # Panics
    /// When the key cannot be used.
    pub fn seal(&self, plaintext: &[u8]) -> (Bytes, Opener) {
        let (sealed, opener) = self.0.seal(plaintext).expect("anything can be sealed");
        (sealed, Opener(opener))
    }
}

impl From<relay_client::Key> for Key {
    fn from(key: relay_client::Key) -> Self {
        Self(key)
    }
}

impl Deref for Key {
    type Target = relay_client::Key;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Opens the answer to one sealed request.
#[derive(Debug)]
pub struct Opener(relay_client::Opener);

impl Opener {
    /// The padded plaintext of an answer, which must be a sealed one and have one of the sizes that all answers
    /// have.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn open(self, outer: &Reply) -> Vec<u8> {
        let Reply { status, headers, body, .. } = outer.clone();
        match self.0.open(&Response { status, headers, body }) {
            Ok(plaintext) => plaintext,
            Err(error) => panic!("{error}: {}", outer.describe()),
        }
    }

    /// The same, of an answer's body.
    ///
    /// # Panics
    /// When it does not open or has another size.
    #[track_caller]
    pub fn open_body(self, body: &[u8]) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(RESPONSE_TYPE));
        self.open(&Reply::plain(200, headers, Bytes::copy_from_slice(body)))
    }
}

/// Bytes of the longest sealed answer as an outer relay sees it: nonce, the largest padded size, tag.
pub const LONGEST_ANSWER: usize = 32 + 98_304 + 16;
