//! The second form of what is sealed: Binary HTTP (RFC 9292).

use crate::client::Via;
use crate::reply::Reply;
pub use relay_client::binary::{Mode, Request};

/// Writes requests as a test wants them.
pub trait Encode {
    /// The bytes, without padding.
    ///
    /// # Panics
    /// When the library cannot write them.
    fn encode(&self) -> Vec<u8> {
        self.encode_as(Mode::KnownLength)
    }

    /// The bytes in either of the format's framings.
    ///
    /// # Panics
    /// When the library cannot write them.
    fn encode_as(&self, mode: Mode) -> Vec<u8>;
}

impl Encode for Request {
    fn encode_as(&self, mode: Mode) -> Vec<u8> {
        self.write(mode).expect("a vector takes everything")
    }
}

/// Reads an answer, which is padded with zeros.
///
/// # Panics
/// When it is no Binary HTTP, or padded with something else.
#[track_caller]
pub fn reply(plaintext: &[u8]) -> Reply {
    match relay_client::binary::response(plaintext) {
        Ok(response) => Reply { via: Via::Bhttp, plaintext: Some(plaintext.len()), ..response.into() },
        Err(error) => panic!("{error}"),
    }
}
