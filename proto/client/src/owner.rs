//! Owners of mailboxes and guardian sets: the keys with which clients sign what only they may ask for.

use crate::fields::mailbox_fields;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An Ed25519 key and what its holder can sign.
#[derive(Debug)]
pub struct Owner(SigningKey);

impl Owner {
    /// The owner of a random seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key in hex. It is also the mailbox that belongs to the key without any registration.
    pub fn public_key(&self) -> String {
        hex::encode(self.0.verifying_key().as_bytes())
    }

    /// The fields of a purge, with a token that is used once.
    pub fn purge(&self, mailbox: &str, token: &[u8], timestamp: u64) -> Value {
        let key = self.0.verifying_key();
        let message = [key.as_bytes(), token, &timestamp.to_be_bytes()].concat();
        json!({
            "recipient_id": mailbox,
            "public_key": self.public_key(),
            "purge_token": hex::encode(token),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        })
    }

    /// The fields of a registration that binds mailboxes to this owner.
    pub fn register(&self, mailboxes: &[[u8; 32]], timestamp: u64) -> Value {
        let mut sorted = mailboxes.to_vec();
        sorted.sort_unstable();
        let mut message = b"vauchi-register-v1".to_vec();
        message.extend(self.0.verifying_key().as_bytes());
        message.extend(Sha256::digest(sorted.concat()));
        message.extend(timestamp.to_be_bytes());
        let mut fields = mailbox_fields(&mailboxes.iter().map(hex::encode).collect::<Vec<_>>());
        fields["public_key"] = self.public_key().into();
        fields["timestamp"] = timestamp.into();
        fields["signature"] = self.sign(&message).into();
        fields
    }

    /// The name of this owner's guardian set.
    pub fn guardian_hash(&self) -> String {
        hex::encode(self.guardian_hash_bytes())
    }

    fn guardian_hash_bytes(&self) -> [u8; 32] {
        let key = self.0.verifying_key();
        Sha256::new_with_prefix(key.as_bytes()).chain_update("guardians").finalize().into()
    }

    /// The fields that replace the guardian set. The signature covers no entry: two of one second are the same.
    pub fn guardian_store<E: AsRef<[u8]>>(&self, entries: &[E], timestamp: u64) -> Value {
        let mut fields = self.designation("guardian-store", timestamp);
        let data = |entry: &E| json!({ "data": STANDARD.encode(entry) });
        fields["entries"] = entries.iter().map(data).collect();
        fields
    }

    /// The fields that delete the guardian set.
    pub fn guardian_delete(&self, timestamp: u64) -> Value {
        self.designation("guardian-delete", timestamp)
    }

    fn designation(&self, label: &str, timestamp: u64) -> Value {
        let (key, hash) = (self.0.verifying_key(), self.guardian_hash_bytes());
        let message = [label.as_bytes(), key.as_bytes(), &hash, &timestamp.to_be_bytes()].concat();
        json!({
            "guardian_hash": hex::encode(hash),
            "designator_pk": self.public_key(),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        })
    }

    fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.0.sign(message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, VerifyingKey};
    use relay_proto::guardian::Designating;
    use relay_proto::{PublicKey, UnixSeconds};

    #[test]
    fn a_designation_is_signed_as_the_relay_reads_it() {
        let owner = Owner::new(&[7; 32]);
        let key =
            VerifyingKey::from_bytes(&hex::decode(owner.public_key()).unwrap().try_into().unwrap()).unwrap();
        for (what, fields) in [
            (Designating::Store, owner.guardian_store(&[b"guardian"], 9)),
            (Designating::Delete, owner.guardian_delete(9)),
        ] {
            let message = what.message(&PublicKey::from_bytes(key.to_bytes()), UnixSeconds::new(9));
            let signature = hex::decode(fields["signature"].as_str().unwrap()).unwrap();
            let signature = Signature::from_slice(&signature).unwrap();
            assert!(key.verify_strict(&message, &signature).is_ok());
        }
    }
}
