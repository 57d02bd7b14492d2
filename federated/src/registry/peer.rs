//! What is known of one peer.

use super::Command;
use super::peer_clock::PeerClock;
use bytes::Bytes;
use relay_daemon::Clock;
use relay_daemon::bucket::Rate;
use relay_proto::limits::MAX_CLOCKS_APART_SECS;
use relay_proto::messages::{Link, PeerState};
use relay_proto::peer::Hello;
use relay_proto::peer_messages::Capacity;
use relay_proto::{PeerId, UnixSeconds};
use std::time::Duration;
use tokio::sync::mpsc;

/// Why no mail moves to or from a peer that is connected.
pub(super) const CLOCKS_APART: &str =
    "its clock and this relay's are more than 5 minutes apart: no mail moves";

/// A peer that is or was connected.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) links: Vec<(u64, mpsc::Sender<Command>)>,
    pub(super) room: Capacity,
    pub(super) leaving: bool,
    /// For how long it keeps mail, in seconds; 0 when it does not say.
    pub(super) keeps_secs: u64,
    /// Whether it says what it holds when it is asked.
    pub(super) lists: bool,
    pub(super) last_seen: UnixSeconds,
    clock: Option<PeerClock>,
    pub(super) allowance: Rate,
    pub(super) avoided_until: Option<Duration>,
    pub(super) counts: Counts,
}

/// Blobs that went one way or the other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) recalled: u64,
}

impl Peer {
    /// A peer that says hello now, with what is kept of it as it was before.
    pub(super) fn greeted(hello: &Hello, clock: &Clock, before: Option<Self>) -> Self {
        let kept = before.map(|peer| (peer.links, peer.leaving, peer.avoided_until, peer.counts));
        let (links, leaving, avoided_until, counts) = kept.unwrap_or_default();
        let is_new = links.is_empty();
        Self {
            links,
            room: hello.capacity,
            leaving: leaving && !is_new,
            keeps_secs: hello.keeps_secs,
            lists: hello.lists,
            last_seen: clock.now(),
            clock: hello.time.map(|said| PeerClock::said_now(said, clock)),
            // A little less than allowed: on the way, messages bunch up.
            allowance: Rate::per_minute((hello.messages_per_minute / 10).saturating_mul(9).max(1)),
            avoided_until: avoided_until.filter(|_| !is_new),
            counts,
        }
    }

    pub(super) const fn is_connected(&self) -> bool {
        !self.links.is_empty()
    }

    /// Whether it left a recall unanswered a short while ago.
    pub(super) fn is_avoided(&self, clock: &Clock) -> bool {
        self.avoided_until.is_some_and(|until| until > clock.monotonic())
    }

    /// How far its clock is ahead of this relay's, in seconds, while it is connected.
    fn clock_ahead(&self, clock: &Clock) -> Option<i64> {
        self.clock.filter(|_| self.is_connected()).map(|theirs| theirs.ahead(clock))
    }

    pub(super) fn is_clock_apart(&self, clock: &Clock) -> bool {
        self.clock_ahead(clock).is_some_and(|ahead| ahead.unsigned_abs() > MAX_CLOCKS_APART_SECS)
    }

    /// Whether mail may move to it.
    pub(super) fn takes_mail(&self, clock: &Clock) -> bool {
        self.is_connected() && !self.leaving && self.room.accepting && !self.is_clock_apart(clock)
    }

    /// What operators are shown.
    pub(super) fn state(&self, identity: PeerId, clock: &Clock) -> PeerState {
        let avoided = self.is_avoided(clock);
        let link = match self.is_connected() {
            true if self.leaving => Link::Leaving,
            true if !avoided => Link::Up,
            _ => Link::Down,
        };
        let trouble = match avoided {
            true => "does not answer",
            false if self.is_clock_apart(clock) => CLOCKS_APART,
            false => "",
        };
        PeerState {
            url: String::new(),
            identity: Bytes::from(identity),
            link: link.into(),
            free_bytes: if self.room.accepting { self.room.free_bytes } else { 0 },
            last_seen: self.last_seen.get(),
            blobs_sent: self.counts.sent,
            blobs_received: self.counts.received,
            blobs_recalled: self.counts.recalled,
            trouble: trouble.to_owned(),
            clock_ahead_secs: self.clock_ahead(clock),
            keeps_secs: self.keeps_secs,
        }
    }
}

/// A peer that this relay is to be connected to.
#[derive(Debug, Clone)]
pub(super) struct Dialled {
    pub(super) url: String,
    pub(super) identity: Option<PeerId>,
    pub(super) pin_changed: bool,
    pub(super) trouble: &'static str,
}

impl Dialled {
    /// One that has not been dialled yet.
    pub(super) const fn new(url: String) -> Self {
        Self { url, identity: None, pin_changed: false, trouble: "not reached yet" }
    }

    /// What operators are shown, of the peer behind the address where that is known.
    pub(super) fn state(&self, peer: Option<&Peer>, clock: &Clock) -> PeerState {
        let mut state = match (self.identity, peer) {
            (Some(identity), Some(peer)) => peer.state(identity, clock),
            (identity, _) => PeerState {
                identity: identity.map(Bytes::from).unwrap_or_default(),
                link: Link::Down.into(),
                ..PeerState::default()
            },
        };
        state.url.clone_from(&self.url);
        if !matches!(state.link(), Link::Up | Link::Leaving) {
            if !self.trouble.is_empty() {
                self.trouble.clone_into(&mut state.trouble);
            }
            if self.pin_changed {
                state.set_link(Link::PinChanged);
            }
        }
        state
    }
}
