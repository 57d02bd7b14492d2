//! The relay's identifiers. Each is parsed once where it comes in, cannot be printed, and cannot be mistaken
//! for another. `Debug` shows a type and a length; there is no `Display`.

pub(crate) mod encoding;
mod exchange_code;
pub mod opaque;

pub use encoding::Malformed;
pub use exchange_code::ExchangeCode;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt;

/// Declares identifiers of fixed sizes: private bytes, made from those of a message by `TryFrom<&[u8]>`, opaque `Debug`.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident: $length:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// Takes bytes that are known to be this identifier.
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes, for storage, hashing and the wire.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Reads the hexadecimal form of the client API.
            ///
            /// # Errors
            /// [`Malformed`] unless the text is exactly the identifier's length in hex digits.
            pub fn from_hex(text: &str) -> Result<Self, Malformed> {
                encoding::from_hex(text).map(Self)
            }

            /// Draws one from the operating system's random source.
            ///
            /// # Errors
            /// When the system has no randomness to give.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0; $length];
                getrandom::fill(&mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = Malformed;

            fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
                bytes.try_into().map(Self).map_err(|_| Malformed)
            }
        }

        impl From<$name> for Bytes {
            fn from(identifier: $name) -> Self {
                Self::copy_from_slice(&identifier.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({} bytes)"), $length)
            }
        }
    )*};
}

identifiers! {
    /// The random token that names a mailbox, as clients know it. Lives only inside a gateway, for the
    /// time of one request; storage, logs and peers get its [`MailboxHash`].
    MailboxToken: 32;
    /// Domain-separated SHA-256 of a [`MailboxToken`]: the name under which mail rests.
    MailboxHash: 32;
    /// Name of a blob, derived from its mailbox and content, so that sending twice stores once.
    BlobId: 16;
    /// An Ed25519 public key that clients use to prove ownership of mailboxes.
    PublicKey: 32;
    /// Domain-separated SHA-256 of a [`PublicKey`]: how an owner is remembered at rest.
    OwnerHash: 32;
    /// An Ed25519 signature.
    Signature: 64;
    /// The random value that makes one purge request different from every other.
    PurgeToken: 32;
    /// SHA-256 over sorted, concatenated mailbox tokens: what a registration signature covers.
    TokensDigest: 32;
    /// Random name of one call that is not idempotent by nature; its answer is remembered under it.
    RequestId: 16;
    /// The key under which gateways hash client addresses; drawn anew whenever storage starts.
    AddressKey: 32;
    /// Keyed hash of a client's address: enough to count requests, useless to whoever lacks the key.
    AddressHash: 16;
    /// The hash that clients name a recovery proof by. Lives only inside a gateway.
    RecoveryKeyHash: 32;
    /// Domain-separated SHA-256 of a [`RecoveryKeyHash`]: the name under which a proof rests.
    RecoveryName: 32;
    /// The hash that clients name a guardian set by: SHA-256 of its designator's key and `guardians`.
    GuardianHash: 32;
    /// Domain-separated SHA-256 of a [`GuardianHash`]: the name under which a guardian set rests.
    GuardianName: 32;
    /// The hash that clients name an escrow gate by. Lives only inside a gateway.
    GateHash: 32;
    /// Domain-separated SHA-256 of a [`GateHash`]: the name under which a gate rests.
    GateName: 32;
    /// The hash that clients name a slot behind a gate by. Lives only inside a gateway.
    SlotHash: 32;
    /// Domain-separated SHA-256 of a [`SlotHash`]: the name under which a slot rests.
    SlotName: 32;
    /// Domain-separated SHA-256 of a six-digit code. A million codes are quickly tried, so it hides nothing from
    /// who holds the disk; it keeps codes from standing there, in logs and in messages as they are typed.
    OfferName: 32;
    /// What an Oblivious HTTP key pair is derived from. Whoever has it reads that window's requests.
    WindowSeed: 32;
    /// What clients pin beside an anchor: the hash of the key that may take over from it.
    Commitment: 32;
    /// A relay as other relays know it: the Ed25519 public key by which it proves itself.
    PeerId: 32;
    /// The X25519 public key of a relay's end of the Noise channel.
    NoiseKey: 32;
    /// The secret half of a [`NoiseKey`].
    NoiseSecret: 32;
    /// What a relay's Ed25519 key among its peers is derived from.
    PeerSeed: 32;
}

/// SHA-256 of some parts behind a label that tells one use of it from another.
pub(crate) fn digest(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first half of it.
fn short_digest(domain: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest(domain, parts)[..16]);
    half
}

impl MailboxToken {
    /// The name under which this mailbox is known behind the gateway.
    pub fn hash(&self) -> MailboxHash {
        MailboxHash(digest("vauchi-relay/mailbox/v1\0", &[&self.0]))
    }
}

impl MailboxHash {
    /// The mailbox whose token is the public key itself: what clients name when they purge.
    pub fn of_public_key(key: &PublicKey) -> Self {
        MailboxToken(key.0).hash()
    }
}

impl RequestId {
    /// The name of what came sealed: whoever brings the same message again asks for the same thing, once. The seed of
    /// the key that it is sealed to keeps the name from those who see the message.
    pub fn of_sealed(seed: &WindowSeed, message: &[u8]) -> Self {
        Self(short_digest("vauchi-relay/sealed-request/v1\0", &[&seed.0, message]))
    }
}

/// Declares the names under which things are known behind the gateway, by the hashes that clients name them by.
macro_rules! names {
    ($($hash:ident => $name:ident, $label:literal;)*) => {$(
        impl $hash {
            /// The name under which what it names is known behind the gateway.
            pub fn name(&self) -> $name {
                $name(digest($label, &[&self.0]))
            }
        }
    )*};
}

names! {
    RecoveryKeyHash => RecoveryName, "vauchi-relay/recovery/v1\0";
    GuardianHash => GuardianName, "vauchi-relay/guardian/v1\0";
    GateHash => GateName, "vauchi-relay/gate/v1\0";
    SlotHash => SlotName, "vauchi-relay/slot/v1\0";
}

impl GuardianHash {
    /// The set of a designator.
    pub fn of_public_key(key: &PublicKey) -> Self {
        Self(digest("", &[&key.0, b"guardians"]))
    }
}

impl Commitment {
    /// Commits to the key that may take over from an anchor.
    pub fn to(backup: &PublicKey) -> Self {
        Self(digest("vauchi-ohttp-backup-anchor-v1", &[&backup.0]))
    }
}

/// Declares the identifiers that relays show and operators write.
macro_rules! shown {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads the base64url form in which relays show it and operators write it.
            ///
            /// # Errors
            /// [`Malformed`] unless the text is 43 characters of unpadded base64url.
            pub fn from_base64url(text: &str) -> Result<Self, Malformed> {
                Self::try_from(encoding::from_base64url(text)?.as_ref())
            }

            /// Writes that form.
            pub fn to_base64url(&self) -> String {
                encoding::to_base64url(&self.0)
            }
        }
    )*};
}

shown!(NoiseKey, PeerId);

impl NoiseSecret {
    /// The public half (X25519, RFC 7748).
    pub fn public(&self) -> NoiseKey {
        NoiseKey(x25519_dalek::x25519(self.0, x25519_dalek::X25519_BASEPOINT_BYTES))
    }
}

impl PeerSeed {
    /// The key that it is the seed of.
    pub fn signing_key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.0)
    }

    /// As whom it lets a relay prove itself.
    pub fn id(&self) -> PeerId {
        PeerId(self.signing_key().verifying_key().to_bytes())
    }
}

impl PublicKey {
    /// The name under which this owner is remembered at rest.
    pub fn owner(&self) -> OwnerHash {
        OwnerHash(digest("vauchi-relay/owner/v1\0", &[&self.0]))
    }
}

impl BlobId {
    /// Derives the id of a blob: the first 16 bytes of SHA-256(domain ‖ mailbox hash ‖ ciphertext).
    pub fn derive(mailbox: &MailboxHash, ciphertext: &[u8]) -> Self {
        Self(short_digest("vauchi-relay/blob/v1\0", &[&mailbox.0, ciphertext]))
    }

    /// The 32 hexadecimal digits that clients know the blob by.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl TokensDigest {
    /// Digests the tokens of one registration: 32 raw bytes each, sorted, concatenated.
    pub fn of(tokens: &[MailboxToken]) -> Self {
        let mut sorted: Vec<&MailboxToken> = tokens.iter().collect();
        sorted.sort_unstable();
        let mut hasher = Sha256::new();
        for token in sorted {
            hasher.update(token.0);
        }
        Self(hasher.finalize().into())
    }
}

impl AddressHash {
    /// Hashes an address (or a network prefix of one) under the relay's key of the hour.
    pub fn of(key: &AddressKey, address: &[u8]) -> Self {
        Self(short_digest("vauchi-relay/address/v1\0", &[&key.0, address]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_blob_id_never_changes() {
        // Stored databases and retried sends depend on these very bytes.
        let mailbox = MailboxToken::from_bytes([7; 32]).hash();
        assert_eq!(
            hex::encode(mailbox.as_bytes()),
            "1d75a7b728391fba310a63e3ae57202e19039ed854d98f990d08779ae465a5fc"
        );
        assert_eq!(BlobId::derive(&mailbox, b"hello").to_hex(), "b0897595ffe7fb53ee6f9a855c2fc29b");
    }

    #[test]
    fn debug_shows_a_type_and_a_length_and_no_byte() {
        let token = MailboxToken::from_bytes([0xab; 32]);
        assert_eq!(format!("{token:?}"), "MailboxToken(32 bytes)");
    }

    #[test]
    fn the_digest_of_tokens_ignores_their_order() {
        let [first, second] = [[1; 32], [2; 32]].map(MailboxToken::from_bytes);
        assert_eq!(TokensDigest::of(&[first, second]), TokensDigest::of(&[second, first]));
        assert_ne!(TokensDigest::of(&[first]), TokensDigest::of(&[first, first]));
    }

    #[test]
    fn a_guardian_hash_is_what_clients_compute() {
        let key = PublicKey::from_bytes([5; 32]);
        let expected: [u8; 32] = Sha256::digest([&[5; 32][..], b"guardians"].concat()).into();
        assert_eq!(GuardianHash::of_public_key(&key).as_bytes(), &expected);
    }

    #[test]
    fn a_noise_key_is_that_of_the_standard() {
        // RFC 7748, section 6.1: Alice's keys.
        let secret = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(NoiseSecret::from_hex(secret).unwrap().public(), NoiseKey::from_hex(public).unwrap());
    }

    #[test]
    fn keys_of_relays_travel_as_base64url() {
        let key = NoiseKey::from_bytes([0xfb; 32]);
        assert_eq!(NoiseKey::from_base64url(&key.to_base64url()), Ok(key));
        let id = PeerSeed::from_bytes([1; 32]).id();
        assert_eq!(PeerId::from_base64url(&id.to_base64url()), Ok(id));
        assert!(NoiseKey::from_base64url("AAAA").is_err() && PeerId::from_base64url("=").is_err());
    }

    #[test]
    fn one_hash_has_another_name_for_every_kind_of_thing() {
        let bytes = [9; 32];
        let names = [
            *RecoveryKeyHash::from_bytes(bytes).name().as_bytes(),
            *GuardianHash::from_bytes(bytes).name().as_bytes(),
            *GateHash::from_bytes(bytes).name().as_bytes(),
            *SlotHash::from_bytes(bytes).name().as_bytes(),
            *MailboxToken::from_bytes(bytes).hash().as_bytes(),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name));
        }
    }

    proptest! {
        #[test]
        fn ids_differ_by_mailbox_and_by_content(
            tokens in prop::array::uniform2(any::<[u8; 32]>()),
            contents in prop::array::uniform2(prop::collection::vec(any::<u8>(), 1..64)),
        ) {
            let [a, b] = tokens.map(|bytes| MailboxToken::from_bytes(bytes).hash());
            let [x, y] = &contents;
            prop_assert_eq!(BlobId::derive(&a, x), BlobId::derive(&a, x));
            prop_assert_eq!(BlobId::derive(&a, x) == BlobId::derive(&b, x), a == b);
            prop_assert_eq!(BlobId::derive(&a, x) == BlobId::derive(&a, y), x == y);
        }

        #[test]
        fn hex_round_trips_in_either_case(bytes: [u8; 16]) {
            let text = BlobId::from_bytes(bytes).to_hex();
            prop_assert_eq!(BlobId::from_hex(&text), Ok(BlobId::from_bytes(bytes)));
            prop_assert_eq!(BlobId::from_hex(&text.to_uppercase()), Ok(BlobId::from_bytes(bytes)));
        }
    }
}
