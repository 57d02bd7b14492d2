//! Mail between relays as federation and storage speak of it.

use crate::limits::MAX_CLOCKS_APART_SECS;
use crate::mail::BlobName;
use crate::{
    BlobId, Ciphertext, MailboxHash, NoiseKey, NoiseSecret, OriginHint, OwnerHash, PeerId, PeerSeed,
    UnixSeconds,
};

/// This relay's keys as a peer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Of its end of the Noise channel.
    pub noise_secret: NoiseSecret,
    /// Of the key by which it proves itself.
    pub signing_seed: PeerSeed,
}

/// A blob on its way between relays: everything about it that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedBlob {
    /// Where it lies, at every relay.
    pub mailbox: MailboxHash,
    /// Its name, at every relay.
    pub blob_id: BlobId,
    /// What it is.
    pub ciphertext: Ciphertext,
    /// The sender's sealed note, if there was one.
    pub origin_hint: Option<OriginHint>,
    /// The hour it arrived in, at its origin.
    pub created_at: UnixSeconds,
    /// When it is over.
    pub expires_at: UnixSeconds,
    /// Who may purge it besides whoever holds the mailbox's own key.
    pub owner: Option<OwnerHash>,
}

impl CarriedBlob {
    /// Its name.
    pub const fn name(&self) -> BlobName {
        BlobName { mailbox: self.mailbox, blob_id: self.blob_id }
    }

    /// Whether it has the content that it is named after.
    pub fn is_sound(&self) -> bool {
        BlobId::derive(&self.mailbox, self.ciphertext.as_bytes()) == self.blob_id
    }
}

/// What becomes of a blob that was offered to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is durable there.
    Accepted,
    /// This blob is not taken, now or later.
    Refused,
    /// Not now.
    NotNow,
}

/// Asks for blobs to offer to a peer.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// To whom.
    pub peer: PeerId,
    /// What is held for that peer, to give it back, instead of this relay's own.
    pub home: bool,
    /// At most so many, and at most [`crate::limits::MAX_CARRIED_BLOBS`].
    pub max_blobs: u32,
    /// At most so many bytes of ciphertext, or one blob.
    pub max_bytes: u64,
    /// For so long, in seconds, nobody else gets them.
    pub lease_secs: u32,
    /// Only those that are over by then, because the peer keeps none for longer.
    pub latest_expiry: Option<UnixSeconds>,
}

/// What a peer said of blobs that were leased for it.
#[derive(Debug, Clone)]
pub struct Settle {
    /// Who.
    pub peer: PeerId,
    /// As in the lease.
    pub home: bool,
    /// Which blobs, and what of them. What is not named stays leased until its time is over.
    pub settlements: Vec<(BlobName, Verdict)>,
}

/// Blobs that a peer brings.
#[derive(Debug, Clone)]
pub struct Accept {
    /// Who.
    pub peer: PeerId,
    /// Whether the peer held them for this relay and gives them back.
    pub home: bool,
    /// The blobs, at most [`crate::limits::MAX_CARRIED_BLOBS`].
    pub blobs: Vec<CarriedBlob>,
}

/// Blobs that one peer is asked about, or asks about; at most [`crate::limits::MAX_CARRIED_BLOBS`].
#[derive(Debug, Clone)]
pub struct BlobNames {
    /// Who.
    pub peer: PeerId,
    /// Which blobs.
    pub names: Vec<BlobName>,
}

/// What of some names was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// As many as fit into one message.
    pub blobs: Vec<CarriedBlob>,
    /// What is certainly not there.
    pub missing: Vec<BlobName>,
}

/// A deletion that waits to be told to a peer.
#[derive(Debug, Clone, Copy)]
pub struct OutboxEntry {
    /// Its number, to say that it was told.
    pub number: u64,
    /// What was deleted.
    pub name: BlobName,
}

/// What a peer's address is pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// As the operator wrote it, without the key.
    pub url: String,
    /// The key of its end of the Noise channel.
    pub noise_key: NoiseKey,
    /// Who it proved to be.
    pub identity: PeerId,
}

/// A peer that has proved who it is.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Who.
    pub identity: PeerId,
    /// Where and with which key it was met, for a peer that this relay dials.
    pub met: Option<Met>,
    /// Where it serves clients.
    pub client_url: String,
}

/// Where a peer was met.
#[derive(Debug, Clone)]
pub struct Met {
    /// As the operator wrote it, without the key.
    pub url: String,
    /// The key it had.
    pub noise_key: NoiseKey,
    /// Whether the operator wrote that key down: it then takes the place of another that was seen before.
    pub configured: bool,
}

/// What federation knows of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// As the operator wrote it, without the key; empty for a peer that dials.
    pub url: String,
    /// Who it proved to be, once it did.
    pub identity: Option<PeerId>,
    /// How it stands with it.
    pub link: Link,
    /// Bytes it says it has room for.
    pub free_bytes: u64,
    /// The last word from it.
    pub last_seen: Option<UnixSeconds>,
    /// Blobs it took, in the life of this process.
    pub blobs_sent: u64,
    /// Blobs it brought.
    pub blobs_received: u64,
    /// Blobs it gave back to be fetched.
    pub blobs_recalled: u64,
    /// Why there is no link, or no mail moves, in a few fixed words.
    pub trouble: String,
    /// How far its clock is ahead of this relay's, in seconds, if it said so.
    pub clock_ahead_secs: Option<i64>,
    /// For how long it keeps mail, in seconds; 0 when it does not say.
    pub keeps_secs: u64,
}

impl PeerState {
    /// Whether its clock is so far from this relay's that no mail moves between the two.
    pub fn is_clock_apart(&self) -> bool {
        self.clock_ahead_secs.is_some_and(|ahead| ahead.unsigned_abs() > MAX_CLOCKS_APART_SECS)
    }
}

/// How it stands with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Being dialled, or waiting to be.
    Down,
    /// Up.
    Up,
    /// Up, and the peer said that it leaves.
    Leaving,
    /// Its key is not the one it is pinned to.
    PinChanged,
}

impl Link {
    /// Its name for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Leaving => "leaving",
            Self::PinChanged => "pin changed",
        }
    }

    /// Whether the peer can be asked.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Leaving)
    }
}

/// What federation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orders {
    /// Empty the relay into its peers.
    pub draining: bool,
}

/// A blob that a fetch wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// From whom.
    pub peer: PeerId,
    /// Which.
    pub name: BlobName,
}

/// What an operator is shown of peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// Whether federation reports.
    pub reporting: bool,
    /// By which peers reach this relay, once it has peered.
    pub noise_key: Option<NoiseKey>,
    /// By which it proves itself.
    pub identity: Option<PeerId>,
    /// The peers, configured ones first.
    pub peers: Vec<PeerState>,
    /// What addresses are pinned to.
    pub pins: Vec<Pin>,
    /// What lies where.
    pub holdings: Vec<Holdings>,
    /// Whether the relay is being emptied into its peers.
    pub draining: bool,
    /// For how long this relay keeps mail, in seconds.
    pub keeps_secs: u64,
    /// Blobs of this relay's own that last longer than any peer that is up keeps mail, counted up to
    /// [`crate::limits::MAX_OUTLASTING`].
    pub outlasting: u64,
}

/// What became of giving what is held for one relay to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reassigned {
    /// So many blobs belong to the other one now.
    Blobs(u64),
    /// Nothing: the first one is connected, and so has not lost its keys.
    FromIsConnected,
    /// Nothing: the other one never proved itself here.
    ToIsUnknown,
}

/// What lies with a peer, or waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Who.
    pub identity: PeerId,
    /// Blobs of this relay's that it holds.
    pub moved: u64,
    /// Blobs of its that this relay holds.
    pub held: u64,
    /// Deletions that wait to be told to it.
    pub outbox: u64,
}
