//! The two keys of a peer.

use crate::fields::random_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};

/// The X25519 key that a peer is reached by and the Ed25519 key that it is known by.
#[derive(Debug, Clone)]
pub struct PeerKeys {
    /// X25519, private.
    pub noise_private: [u8; 32],
    /// X25519, public.
    pub noise_public: [u8; 32],
    identity: SigningKey,
}

impl PeerKeys {
    /// Keys that nobody met before.
    pub fn generate() -> Self {
        let pair = super::noise::builder().generate_keypair().expect("a key pair");
        Self {
            noise_private: pair.private.try_into().expect("an X25519 key has 32 bytes"),
            noise_public: pair.public.try_into().expect("an X25519 key has 32 bytes"),
            identity: SigningKey::from_bytes(&random_bytes(32).try_into().expect("as many as asked for")),
        }
    }

    /// The same identity with another X25519 key, as after a loss.
    #[must_use]
    pub fn with_new_noise_key(&self) -> Self {
        Self { identity: self.identity.clone(), ..Self::generate() }
    }

    /// The Ed25519 public key.
    pub fn identity(&self) -> [u8; 32] {
        *self.identity.verifying_key().as_bytes()
    }

    /// The Ed25519 public key as operators write it: 43 characters of base64url.
    pub fn identity_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.identity())
    }

    /// The X25519 public key as operators pin it and as it is served: 43 characters of base64url.
    pub fn pin(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.noise_public)
    }

    /// The private Ed25519 key, for another program that is to be this peer.
    pub fn identity_private(&self) -> [u8; 32] {
        self.identity.to_bytes()
    }

    /// Signs with the identity.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.identity.sign(text).to_bytes()
    }
}
