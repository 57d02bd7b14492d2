//! Owners of mailboxes and guardian sets: the keys with which clients sign what only they may ask for.

use crate::deadline::unix_now;
use crate::fields::random_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An Ed25519 key and what its holder can sign.
#[derive(Debug)]
pub struct Owner(SigningKey);

impl Owner {
    /// An owner that nobody met before.
    pub fn random() -> Self {
        let seed = random_bytes(32).try_into().expect("32 bytes were asked for");
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public key in hex.
    pub fn public_key(&self) -> String {
        hex::encode(self.0.verifying_key().as_bytes())
    }

    /// The mailbox that belongs to the key without any registration.
    pub fn mailbox(&self) -> String {
        self.public_key()
    }

    /// The fields of a purge of a mailbox, signed now.
    pub fn purge(&self, mailbox: &str) -> Value {
        self.purge_at(mailbox, unix_now())
    }

    /// The fields of a purge, signed at some moment.
    pub fn purge_at(&self, mailbox: &str, timestamp: u64) -> Value {
        self.purge_with(mailbox, &random_bytes(32), timestamp)
    }

    /// The fields of a purge with a chosen single-use token.
    pub fn purge_with(&self, mailbox: &str, token: &[u8], timestamp: u64) -> Value {
        let mut message = self.0.verifying_key().as_bytes().to_vec();
        message.extend(token);
        message.extend(timestamp.to_be_bytes());
        json!({
            "recipient_id": mailbox,
            "public_key": self.public_key(),
            "purge_token": hex::encode(token),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        })
    }

    /// The fields of a registration that binds mailboxes to this owner, signed now.
    pub fn register<M: AsRef<str>>(&self, mailboxes: &[M]) -> Value {
        self.register_at(mailboxes, unix_now())
    }

    /// The fields of a registration, signed at some moment.
    pub fn register_at<M: AsRef<str>>(&self, mailboxes: &[M], timestamp: u64) -> Value {
        let mut tokens: Vec<Vec<u8>> = mailboxes
            .iter()
            .map(|mailbox| hex::decode(mailbox.as_ref()).expect("a mailbox is hex"))
            .collect();
        tokens.sort_unstable();
        let mut message = b"vauchi-register-v1".to_vec();
        message.extend(self.0.verifying_key().as_bytes());
        message.extend(Sha256::digest(tokens.concat()));
        message.extend(timestamp.to_be_bytes());
        let mailboxes: Vec<&str> = mailboxes.iter().map(AsRef::as_ref).collect();
        json!({
            "mailbox_tokens": mailboxes,
            "public_key": self.public_key(),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        })
    }

    /// The name of this owner's guardian set.
    pub fn guardian_hash(&self) -> String {
        let key = self.0.verifying_key();
        hex::encode(Sha256::new_with_prefix(key.as_bytes()).chain_update("guardians").finalize())
    }

    /// The fields that replace the guardian set, signed now.
    pub fn guardian_store<E: AsRef<[u8]>>(&self, entries: &[E]) -> Value {
        self.guardian_store_at(entries, unix_now())
    }

    /// The fields that replace the guardian set, signed at some moment. The signature covers no entry: two of one
    /// second are the same.
    pub fn guardian_store_at<E: AsRef<[u8]>>(&self, entries: &[E], timestamp: u64) -> Value {
        let mut fields = self.guardian_order("guardian-store", timestamp);
        let data = |entry: &E| json!({ "data": STANDARD.encode(entry) });
        fields["entries"] = entries.iter().map(data).collect();
        fields
    }

    /// The fields that delete the guardian set, signed now.
    pub fn guardian_delete(&self) -> Value {
        self.guardian_delete_at(unix_now())
    }

    /// The fields that delete the guardian set, signed at some moment.
    pub fn guardian_delete_at(&self, timestamp: u64) -> Value {
        self.guardian_order("guardian-delete", timestamp)
    }

    fn guardian_order(&self, label: &str, timestamp: u64) -> Value {
        let hash = self.guardian_hash();
        let mut message = label.as_bytes().to_vec();
        message.extend(self.0.verifying_key().as_bytes());
        message.extend(hex::decode(&hash).expect("a hash is hex"));
        message.extend(timestamp.to_be_bytes());
        json!({
            "guardian_hash": hash,
            "designator_pk": self.public_key(),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        })
    }

    fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.0.sign(message).to_bytes())
    }
}
