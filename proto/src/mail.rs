//! Mail as gateway and storage speak of it.

use crate::{
    BlobId, Ciphertext, MailboxHash, OriginHint, PeerId, PublicKey, PurgeToken, Refusal, RequestId,
    Signature, TokensDigest, UnixSeconds, page,
};

pub use crate::caller::Caller;

/// One small write, as it travels with others in a write message.
#[derive(Debug, Clone)]
pub struct WriteCommand {
    /// Who is charged.
    pub caller: Caller,
    /// What is to be done.
    pub action: WriteAction,
}

/// What a [`WriteCommand`] does.
#[derive(Debug, Clone)]
pub enum WriteAction {
    /// Leave a blob in a mailbox.
    Send(NewBlob),
    /// Remove a blob that was received.
    Ack {
        /// Where the blob lies.
        mailbox: MailboxHash,
        /// Which blob.
        blob_id: BlobId,
    },
}

/// A blob on its way in.
#[derive(Debug, Clone)]
pub struct NewBlob {
    /// Where it goes.
    pub mailbox: MailboxHash,
    /// What it is.
    pub ciphertext: Ciphertext,
    /// The sender's sealed note, if there is one.
    pub origin_hint: Option<OriginHint>,
}

/// What became of a [`WriteCommand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The blob is durable under this id.
    Stored(BlobId),
    /// Whether the ack removed a blob.
    Acknowledged(bool),
}

/// Outcome of each command of a write message, in the order of the commands.
pub type WriteOutcomes = Vec<Result<Written, Refusal>>;

/// Asks for the oldest mail of some mailboxes.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Who is charged.
    pub caller: Caller,
    /// Which mailboxes, at most [`crate::limits::MAX_MAILBOXES`].
    pub mailboxes: Vec<MailboxHash>,
    /// Whether the answer will be sealed, so that blobs that do not fit are left out and counted.
    pub sealed: bool,
}

/// A page of mail, oldest first.
#[derive(Debug, Clone, Default)]
pub struct MailPage {
    /// The blobs of this page.
    pub blobs: Vec<StoredBlob>,
    /// Whether more waits to be fetched after these are acked.
    pub truncated: bool,
    /// What else belongs here and lies at peers, oldest first, at most [`crate::limits::MAX_MOVED_BLOBS`].
    pub moved: Vec<MovedBlob>,
    /// How many blobs were left out because they fit no sealed answer.
    pub oversized: u64,
    /// Where nothing here fits the page: the oldest blob that is larger.
    pub larger: Option<LargerBlob>,
}

/// A blob that is larger than a page, and is read by itself when there is room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargerBlob {
    /// Which of the fetched mailboxes it lies in: a position in [`Fetch::mailboxes`].
    pub mailbox_index: usize,
    /// Its place in the order of arrival.
    pub place: u64,
    /// Bytes of its ciphertext.
    pub bytes: u64,
}

/// A blob that was moved to a peer.
#[derive(Debug, Clone, Copy)]
pub struct MovedBlob {
    /// Which of the fetched mailboxes it belongs to: a position in [`Fetch::mailboxes`].
    pub mailbox_index: usize,
    /// Its name.
    pub blob_id: BlobId,
    /// The hour it arrived in.
    pub created_at: UnixSeconds,
    /// Its place in the order of arrival among what arrived in the same hour.
    pub place: u64,
    /// Who holds it.
    pub peer: PeerId,
    /// Whether the peer can be asked now.
    pub reachable: bool,
}

/// A blob by its mailbox and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName {
    /// Where it lies.
    pub mailbox: MailboxHash,
    /// Its name.
    pub blob_id: BlobId,
}

/// Where a client finds a blob that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Which blob.
    pub blob_id: BlobId,
    /// Base URL of the relay that has it.
    pub relay_url: String,
    /// When it is over.
    pub expires_at: UnixSeconds,
}

/// Hints, and this relay's word that they are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHints {
    /// Sorted by the blobs' names.
    pub hints: Vec<Hint>,
    /// Of this relay.
    pub signing_key: PublicKey,
    /// Over [`SignedHints::message`].
    pub signature: Signature,
}

impl SignedHints {
    /// The bytes that are signed: for each hint its blob's name, its URL and the end of its time.
    pub fn message(hints: &[Hint]) -> Vec<u8> {
        let mut message = Vec::new();
        for Hint { blob_id, relay_url, expires_at } in hints {
            message.extend_from_slice(blob_id.as_bytes());
            message.extend_from_slice(relay_url.as_bytes());
            message.extend_from_slice(&expires_at.get().to_be_bytes());
        }
        message
    }
}

/// A blob as it lies in the store.
#[derive(Debug, Clone)]
pub struct StoredBlob {
    /// Which of the fetched mailboxes it lay in: a position in [`Fetch::mailboxes`].
    pub mailbox_index: usize,
    /// Its name.
    pub blob_id: BlobId,
    /// What it is.
    pub ciphertext: Ciphertext,
    /// The hour it arrived in.
    pub created_at: UnixSeconds,
    /// The sender's sealed note, if there was one.
    pub origin_hint: Option<OriginHint>,
    /// Its place in the order of arrival among what arrived in the same hour.
    pub place: u64,
}

impl StoredBlob {
    /// Whether it fits a page of mail.
    pub fn fits_page(&self) -> bool {
        let hint = self.origin_hint.as_ref().map_or(0, |hint| hint.as_bytes().len());
        page::fits(self.ciphertext.as_bytes().len() + hint)
    }
}

/// Makes mailboxes known to the relay, and binds them to an owner if one proves itself.
#[derive(Debug, Clone)]
pub struct Register {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry gets the first answer.
    pub request_id: RequestId,
    /// Which mailboxes, at most [`crate::limits::MAX_MAILBOXES`].
    pub mailboxes: Vec<MailboxHash>,
    /// The owner's proof.
    pub ownership: Option<Ownership>,
}

/// How the mailboxes of a [`Register`] stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registered {
    /// How many they are.
    pub registered: u32,
    /// How many of them another key has or asks for; where no key was given, any key.
    pub bound_elsewhere: u32,
    /// How many the caller's key has to wait for, because somebody registered them without a key.
    pub waiting: u32,
}

/// Proof that the holder of a key asks for a set of mailboxes.
#[derive(Debug, Clone)]
pub struct Ownership {
    /// The key.
    pub public_key: PublicKey,
    /// When it was signed.
    pub timestamp: UnixSeconds,
    /// Over [`Ownership::message`].
    pub signature: Signature,
    /// Of the tokens behind the mailboxes.
    pub tokens_digest: TokensDigest,
}

impl Ownership {
    /// The bytes that the owner signs.
    pub fn message(&self) -> Vec<u8> {
        let mut message = b"vauchi-register-v1".to_vec();
        message.extend_from_slice(self.public_key.as_bytes());
        message.extend_from_slice(self.tokens_digest.as_bytes());
        message.extend_from_slice(&self.timestamp.get().to_be_bytes());
        message
    }
}

/// Asks for everything of an owner's to be deleted.
#[derive(Debug, Clone)]
pub struct Purge {
    /// Who is charged.
    pub caller: Caller,
    /// Names this call, so that a retry gets the first answer.
    pub request_id: RequestId,
    /// The mailbox named as recipient: the key's own, or one registered to the key.
    pub mailbox: MailboxHash,
    /// The owner's key.
    pub public_key: PublicKey,
    /// Used once, ever.
    pub purge_token: PurgeToken,
    /// When it was signed.
    pub timestamp: UnixSeconds,
    /// Over [`Purge::message`].
    pub signature: Signature,
}

impl Purge {
    /// The bytes that the owner signs.
    pub fn message(&self) -> Vec<u8> {
        let mut message = self.public_key.as_bytes().to_vec();
        message.extend_from_slice(self.purge_token.as_bytes());
        message.extend_from_slice(&self.timestamp.get().to_be_bytes());
        message
    }
}
