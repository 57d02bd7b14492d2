//! The client's side of Oblivious HTTP (RFC 9458): keys as clients read them, sealing, and opening answers.
//! What is inside is one of two forms: [`envelope`] or [`binary`].

pub mod binary;
pub mod envelope;

use crate::reply::Reply;
use bytes::Bytes;
use ohttp::{ClientRequest, ClientResponse};
use sha2::{Digest as _, Sha256};

/// Where sealed requests go.
pub const PATH: &str = "/v2/ohttp";
/// Where sealed requests go by RFC 9540; the list of keys is there as well.
pub const WELL_KNOWN: &str = "/.well-known/ohttp-gateway";
/// Where a key is.
pub const KEY_PATH: &str = "/v2/ohttp-key";
/// Content type of sealed requests.
pub const REQUEST_TYPE: &str = "message/ohttp-req";
/// Content type of sealed answers.
pub const RESPONSE_TYPE: &str = "message/ohttp-res";
/// Content type of keys.
pub const KEYS_TYPE: &str = "application/ohttp-keys";

/// The suites of RFC 9458's registry that the relay offers: KDF and AEAD.
pub const CHACHA20_POLY1305: [u8; 4] = [0, 1, 0, 3];
/// The other one.
pub const AES_128_GCM: [u8; 4] = [0, 1, 0, 1];

/// A key configuration: id 1, KEM 2, public key 32, length of the suites 2, suites of 4 each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Bytes);

impl Key {
    /// A bare configuration, without a length in front.
    ///
    /// # Panics
    /// When it is none.
    pub fn bare(config: impl Into<Bytes>) -> Self {
        let key = Self(config.into());
        assert!(key.0.len() > 37, "{} bytes are no key configuration", key.0.len());
        assert_eq!(key.0[1..3], [0, 0x20], "DHKEM(X25519, HKDF-SHA256)");
        let suites = usize::from(u16::from_be_bytes([key.0[35], key.0[36]]));
        assert_eq!(key.0.len(), 37 + suites, "the suites are not as long as they say");
        key
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
        self.0[37..].chunks_exact(4).map(|suite| [suite[0], suite[1], suite[2], suite[3]]).collect()
    }

    /// Hex of its SHA-256.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }

    /// The same key for clients that know one suite only.
    #[must_use]
    pub fn with_suite(&self, suite: [u8; 4]) -> Self {
        Self::bare([&self.0[..35], &[0, 4], &suite].concat())
    }

    /// The same key under another id.
    #[must_use]
    pub fn with_id(&self, id: u8) -> Self {
        Self::bare([&[id], &self.0[1..]].concat())
    }

    /// Seals a plaintext, and returns what opens the answer.
    ///
    /// # Panics
    /// When the key cannot be used.
    pub fn seal(&self, plaintext: &[u8]) -> (Bytes, Opener) {
        let request = ClientRequest::from_encoded_config(&self.0).expect("a key that clients understand");
        let (sealed, opener) = request.encapsulate(plaintext).expect("anything can be sealed");
        (sealed.into(), Opener(opener))
    }
}

/// Opens the answer to one sealed request.
pub struct Opener(ClientResponse);

impl Opener {
    /// The padded plaintext of an answer, which must be a sealed one and have one of the sizes that all answers
    /// have.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn open(self, outer: &Reply) -> Vec<u8> {
        assert_eq!(outer.status, 200, "an answer outside of the seal: {}", outer.describe());
        assert_eq!(outer.header("content-type"), Some(RESPONSE_TYPE), "{}", outer.describe());
        self.open_body(&outer.body)
    }

    /// The same, of an answer's body.
    ///
    /// # Panics
    /// When it does not open or has another size.
    #[track_caller]
    pub fn open_body(self, body: &[u8]) -> Vec<u8> {
        let plaintext = self.0.decapsulate(body).expect("the answer opens for who asked");
        let size = plaintext.len();
        assert!(is_rung(size), "an answer of {size} bytes, which tells something");
        plaintext
    }
}

/// Whether answers may have a size: 4 KiB, 32 KiB, 96 KiB, and nothing above, which no outer relay would let through.
pub const fn is_rung(size: usize) -> bool {
    matches!(size, 4096 | 32_768 | 98_304)
}

/// Bytes of the longest sealed answer as an outer relay sees it: nonce, the highest rung, tag.
pub const LONGEST_ANSWER: usize = 32 + 98_304 + 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let config = ohttp::KeyConfig::new(
            7,
            ohttp::hpke::Kem::X25519Sha256,
            vec![
                ohttp::SymmetricSuite::new(ohttp::hpke::Kdf::HkdfSha256, ohttp::hpke::Aead::ChaCha20Poly1305),
                ohttp::SymmetricSuite::new(ohttp::hpke::Kdf::HkdfSha256, ohttp::hpke::Aead::Aes128Gcm),
            ],
        );
        Key::bare(config.unwrap().encode().unwrap())
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = key();
        assert_eq!((key.id(), key.config().len()), (7, 45));
        assert_eq!(key.suites(), [CHACHA20_POLY1305, AES_128_GCM]);
        assert_eq!(key.with_suite(AES_128_GCM).suites(), [AES_128_GCM]);
        assert_eq!(key.with_id(8).id(), 8);
    }

    #[test]
    fn a_request_says_which_key_and_suite_it_is_sealed_with() {
        for (suite, aead) in [(CHACHA20_POLY1305, 3), (AES_128_GCM, 1)] {
            let (sealed, _) = key().with_suite(suite).seal(b"plaintext");
            assert_eq!(sealed[..7], [7, 0, 0x20, 0, 1, 0, aead]);
            assert_eq!(sealed.len(), 7 + 32 + b"plaintext".len() + 16);
        }
    }

    #[test]
    fn rungs_are_4_32_and_96_kib_and_nothing_above() {
        for (size, expected) in
            [(4096, true), (32_768, true), (98_304, true), (196_608, false), (0, false), (8192, false)]
        {
            assert_eq!(is_rung(size), expected, "{size}");
        }
    }
}
