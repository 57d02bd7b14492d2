//! Owners of mailboxes and guardian sets: the keys with which clients sign what only they may ask for.

use crate::deadline::unix_now;
use crate::fields::random_bytes;
use serde_json::{Value, json};

/// An Ed25519 key and what its holder can sign.
#[derive(Debug)]
pub struct Owner(relay_client::Owner);

impl Owner {
    /// An owner that nobody met before.
    pub fn random() -> Self {
        let seed = random_bytes(32).try_into().expect("32 bytes were asked for");
        Self(relay_client::Owner::new(&seed))
    }

    /// The public key in hex.
    pub fn public_key(&self) -> String {
        self.0.public_key()
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
        self.0.purge(mailbox, token, timestamp)
    }

    /// The fields of a registration that binds mailboxes to this owner, signed now.
    pub fn register<M: AsRef<str>>(&self, mailboxes: &[M]) -> Value {
        self.register_at(mailboxes, unix_now())
    }

    /// The fields of a registration, signed at some moment. The mailboxes are written as they are given.
    pub fn register_at<M: AsRef<str>>(&self, mailboxes: &[M], timestamp: u64) -> Value {
        let token = |mailbox: &M| {
            let bytes = hex::decode(mailbox.as_ref()).expect("a mailbox is hex");
            <[u8; 32]>::try_from(bytes).expect("32 bytes")
        };
        let tokens: Vec<[u8; 32]> = mailboxes.iter().map(token).collect();
        let mut fields = self.0.register(&tokens, timestamp);
        fields["mailbox_tokens"] = mailboxes.iter().map(|mailbox| json!(mailbox.as_ref())).collect();
        fields
    }

    /// The name of this owner's guardian set.
    pub fn guardian_hash(&self) -> String {
        self.0.guardian_hash()
    }

    /// The fields that replace the guardian set, signed now.
    pub fn guardian_store<E: AsRef<[u8]>>(&self, entries: &[E]) -> Value {
        self.guardian_store_at(entries, unix_now())
    }

    /// The fields that replace the guardian set, signed at some moment. The signature covers no entry: two of one
    /// second are the same.
    pub fn guardian_store_at<E: AsRef<[u8]>>(&self, entries: &[E], timestamp: u64) -> Value {
        self.0.guardian_store(entries, timestamp)
    }

    /// The fields that delete the guardian set, signed now.
    pub fn guardian_delete(&self) -> Value {
        self.guardian_delete_at(unix_now())
    }

    /// The fields that delete the guardian set, signed at some moment.
    pub fn guardian_delete_at(&self, timestamp: u64) -> Value {
        self.0.guardian_delete(timestamp)
    }
}

/// Times of signatures, and whether a relay takes one of that time: a minute early or late is the most.
pub fn signed_around_now() -> [(u64, bool); 6] {
    let now = unix_now();
    [(now - 40, true), (now + 40, true), (now - 90, false), (now + 90, false), (0, false), (u64::MAX, false)]
}
