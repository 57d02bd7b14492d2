//! Mail between relays as federation and storage speak of it.

use crate::limits::MAX_CLOCKS_APART_SECS;
use crate::{NoiseKey, PeerId, UnixSeconds};

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
