//! The client's side of Oblivious HTTP (RFC 9458): key configurations, sealing, opening, and the sizes of plaintexts.

use crate::error::Error;
use crate::response::Response;
use bytes::Bytes;
use ohttp::{ClientRequest, ClientResponse};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Path for sealed requests.
pub const PATH: &str = "/v2/ohttp";
/// Path for sealed requests by RFC 9540, and of the list of key configurations.
pub const WELL_KNOWN: &str = "/.well-known/ohttp-gateway";
/// Path of the bare key configuration.
pub const KEY_PATH: &str = "/v2/ohttp-key";
/// Content type of sealed requests.
pub const REQUEST_TYPE: &str = "message/ohttp-req";
/// Content type of sealed answers.
pub const RESPONSE_TYPE: &str = "message/ohttp-res";
/// Content type of key configurations.
pub const KEYS_TYPE: &str = "application/ohttp-keys";

/// HKDF-SHA256 with ChaCha20-Poly1305, the suite that must come first.
pub const CHACHA20_POLY1305: [u8; 4] = [0, 1, 0, 3];
/// HKDF-SHA256 with AES-128-GCM.
pub const AES_128_GCM: [u8; 4] = [0, 1, 0, 1];

/// Plaintexts of requests have at least this many bytes, and a multiple of [`REQUEST_STEP`] beyond.
const SHORTEST_REQUEST: usize = 4096;
const REQUEST_STEP: usize = 256;

/// Bytes of a key configuration in front of its suites: id 1, KEM 2, X25519 key 32, length of the suites 2.
const HEAD: usize = 37;

/// A key configuration: id 1, KEM 2, public key 32, length of the suites 2, suites of 4 each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Bytes);

impl Key {
    /// Reads a bare configuration, without a length in front.
    ///
    /// # Errors
    /// When it is not exactly one, for DHKEM(X25519, HKDF-SHA256).
    pub fn parse(config: impl Into<Bytes>) -> Result<Self, Error> {
        let config = config.into();
        let (head, suites) = config.split_first_chunk::<HEAD>().ok_or(Error::NotAKey)?;
        let length = usize::from(u16::from_be_bytes([head[35], head[36]]));
        if head[1..3] != [0, 0x20] || suites.is_empty() || suites.len() != length || length % 4 != 0 {
            return Err(Error::NotAKey);
        }
        Ok(Self(config))
    }

    /// Reads a list, in which each configuration follows its length.
    ///
    /// # Errors
    /// When it is not one to its last byte.
    pub fn parse_list(mut list: &[u8]) -> Result<Vec<Self>, Error> {
        let mut keys = Vec::new();
        while let Some((length, rest)) = list.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (config, rest) = rest.split_at_checked(length).ok_or(Error::NotAKey)?;
            keys.push(Self::parse(Bytes::copy_from_slice(config))?);
            list = rest;
        }
        if list.is_empty() { Ok(keys) } else { Err(Error::NotAKey) }
    }

    /// The configuration as it was read.
    pub const fn config(&self) -> &Bytes {
        &self.0
    }

    /// Its id.
    pub fn id(&self) -> u8 {
        self.0[0]
    }

    /// The suites on offer, the preferred one first.
    pub fn suites(&self) -> Vec<[u8; 4]> {
        self.0[HEAD..].as_chunks().0.to_vec()
    }

    /// SHA-256 of the configuration.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The same key for clients that know one suite only.
    #[must_use]
    pub fn with_suite(&self, suite: [u8; 4]) -> Self {
        Self([&self.0[..HEAD - 2], &[0, 4], &suite].concat().into())
    }

    /// The same key under another id.
    #[must_use]
    pub fn with_id(&self, id: u8) -> Self {
        Self([&[id], &self.0[1..]].concat().into())
    }

    /// Seals a plaintext, and returns what opens the answer.
    ///
    /// # Errors
    /// When the key or its suites cannot be used.
    pub fn seal(&self, plaintext: &[u8]) -> Result<(Bytes, Opener), Error> {
        let (sealed, opener) = ClientRequest::from_encoded_config(&self.0)
            .and_then(|request| request.encapsulate(plaintext))
            .map_err(Error::UnusableKey)?;
        Ok((sealed.into(), Opener(opener)))
    }
}

/// Opens the answer to one sealed request.
pub struct Opener(ClientResponse);

impl Opener {
    /// Returns the padded plaintext of an answer.
    ///
    /// # Errors
    /// When it is not sealed for this request, or has another size than answers have.
    pub fn open(self, answer: &Response) -> Result<Vec<u8>, Error> {
        if answer.status != 200 {
            return Err(Error::Outside(answer.status));
        }
        if !answer.is_of_type(RESPONSE_TYPE) {
            return Err(Error::NotSealed);
        }
        let plaintext = self.0.decapsulate(&answer.body).map_err(|_| Error::Unopened)?;
        if is_padded_size(plaintext.len()) { Ok(plaintext) } else { Err(Error::Unpadded(plaintext.len())) }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Opener")
    }
}

/// Returns true if the plaintext of an answer may have this size: 4, 32 or 96 KiB.
pub const fn is_padded_size(size: usize) -> bool {
    matches!(size, 4096 | 32_768 | 98_304)
}

/// The size to which clients pad a request's plaintext of `length` bytes.
pub const fn padded_request(length: usize) -> usize {
    if length <= SHORTEST_REQUEST { SHORTEST_REQUEST } else { length.next_multiple_of(REQUEST_STEP) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::HeaderMap;
    use ohttp::hpke::{Aead, Kdf, Kem};
    use ohttp::{KeyConfig, Server, SymmetricSuite};

    fn config() -> KeyConfig {
        let suite = |aead| SymmetricSuite::new(Kdf::HkdfSha256, aead);
        let suites = vec![suite(Aead::ChaCha20Poly1305), suite(Aead::Aes128Gcm)];
        KeyConfig::new(7, Kem::X25519Sha256, suites).unwrap()
    }

    fn sealed_answer(body: Vec<u8>) -> Response {
        let headers =
            HeaderMap::from_iter([("content-type".parse().unwrap(), RESPONSE_TYPE.parse().unwrap())]);
        Response { status: 200, headers, body: body.into() }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = Key::parse(config().encode().unwrap()).unwrap();
        assert_eq!((key.id(), key.config().len()), (7, 45));
        assert_eq!(key.suites(), [CHACHA20_POLY1305, AES_128_GCM]);
        assert_eq!(key.with_suite(AES_128_GCM).suites(), [AES_128_GCM]);
        assert_eq!(key.with_suite(AES_128_GCM).config()[35..], [0, 4, 0, 1, 0, 1]);
        assert_eq!(key.with_id(8).id(), 8);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = config().encode().unwrap();
        for broken in [&[][..], &[0; 36], &[0; 45], &good[1..], &good[..44], &[&good[..], &[0]].concat()] {
            assert!(Key::parse(broken.to_vec()).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_list_is_taken_apart_and_a_broken_one_refused() {
        let good = config().encode().unwrap();
        let list = [&[0, 45], &good[..], &[0, 45], &good[..]].concat();
        assert_eq!(Key::parse_list(&list).unwrap(), [Key(good.clone().into()), Key(good.into())]);
        assert!(Key::parse_list(&[]).unwrap().is_empty());
        for broken in [&list[..1], &list[..46], &[0, 1, 7, 0]] {
            assert!(Key::parse_list(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_request_says_which_key_and_suite_it_is_sealed_with_and_its_answer_opens() {
        let server = Server::new(config()).unwrap();
        let key = Key::parse(server.config().encode().unwrap()).unwrap();
        for (suite, aead) in [(CHACHA20_POLY1305, 3), (AES_128_GCM, 1)] {
            let (sealed, opener) = key.with_suite(suite).seal(b"plaintext").unwrap();
            assert_eq!(sealed[..7], [7, 0, 0x20, 0, 1, 0, aead]);
            assert_eq!(sealed.len(), 7 + 32 + b"plaintext".len() + 16);
            let (opened, answer) = server.decapsulate(&sealed).unwrap();
            assert_eq!(opened, b"plaintext");
            let answer = sealed_answer(answer.encapsulate(&[3; 4096]).unwrap());
            assert_eq!(opener.open(&answer).unwrap(), [3; 4096]);
        }
    }

    #[test]
    fn an_answer_that_is_not_sealed_for_this_request_does_not_open() {
        let server = Server::new(config()).unwrap();
        let key = Key::parse(server.config().encode().unwrap()).unwrap();
        let open = |size, change: fn(&mut Response)| {
            let (sealed, opener) = key.seal(b"plaintext").unwrap();
            let (_, answer) = server.decapsulate(&sealed).unwrap();
            let mut answer = sealed_answer(answer.encapsulate(&vec![0; size]).unwrap());
            change(&mut answer);
            opener.open(&answer).unwrap_err()
        };
        assert!(matches!(open(4096, |answer| answer.status = 429), Error::Outside(429)));
        assert!(matches!(open(4096, |answer| answer.headers.clear()), Error::NotSealed));
        assert!(matches!(open(4096, |answer| answer.body = Bytes::from_static(b"x")), Error::Unopened));
        assert!(matches!(open(4097, |_| ()), Error::Unpadded(4097)));
    }

    #[test]
    fn requests_and_answers_have_few_sizes() {
        assert_eq!([0, 4096, 4097, 4353].map(padded_request), [4096, 4096, 4352, 4608]);
        for size in [4096, 32_768, 98_304] {
            assert!(is_padded_size(size), "{size}");
        }
        for size in [0, 4095, 8192, 98_305, 131_072, 196_608] {
            assert!(!is_padded_size(size), "{size}");
        }
    }
}
