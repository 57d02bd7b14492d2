//! What federation told of its peers, and whether the relay is being emptied into them.

use relay_daemon::Clock;
use relay_proto::PeerId;
use relay_proto::messages::{Link, Orders, PeerState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How old a report may be. Federation tells every second.
const FRESH: Duration = Duration::from_secs(5);

/// The peers as federation last told.
#[derive(Debug)]
pub(crate) struct Peering {
    told: Mutex<Option<(Duration, Vec<PeerState>)>>,
    draining: AtomicBool,
    clock: Clock,
}

impl Peering {
    /// Nothing is known yet.
    pub(crate) fn new(draining: bool, clock: Clock) -> Self {
        Self { told: Mutex::default(), draining: AtomicBool::new(draining), clock }
    }

    /// Takes a report; says what is to be done.
    pub(crate) fn hear(&self, peers: Vec<PeerState>) -> Orders {
        *self.lock() = Some((self.clock.monotonic(), peers));
        Orders { draining: self.is_draining() }
    }

    /// Forgets what was told: federation has started anew, without links.
    pub(crate) fn restart(&self) {
        *self.lock() = None;
    }

    /// The last report, if federation still reports.
    pub(crate) fn peers(&self) -> Option<Vec<PeerState>> {
        let told = self.lock();
        let (at, peers) = told.as_ref()?;
        (self.clock.monotonic().saturating_sub(*at) <= FRESH).then(|| peers.clone())
    }

    /// The peers that can be asked for what they hold.
    pub(crate) fn reachable(&self) -> Vec<PeerId> {
        let peers = self.peers().unwrap_or_default();
        let is_up = |peer: &&PeerState| matches!(peer.link(), Link::Up | Link::Leaving);
        peers.iter().filter(is_up).filter_map(|peer| PeerId::try_from(peer.identity.as_ref()).ok()).collect()
    }

    /// For how long the peers that take mail keep it at most, in seconds, where all of them say so.
    pub(crate) fn longest_kept(&self) -> Option<u64> {
        let peers = self.peers().unwrap_or_default();
        let taking = || peers.iter().filter(|peer| peer.link() == Link::Up);
        let longest = taking().map(|peer| peer.keeps_secs).max()?;
        taking().all(|peer| peer.keeps_secs > 0).then_some(longest)
    }

    /// Whether the relay is being emptied.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Begins or ends that, once it is durable.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Duration, Vec<PeerState>)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;

    #[test]
    fn a_peer_can_be_asked_while_its_link_is_up_and_somebody_says_so() {
        let clock = ManualClock::at(UnixSeconds::new(0));
        let peering = Peering::new(false, clock.clock());
        assert!(peering.peers().is_none() && peering.reachable().is_empty());
        let links = [Link::Down, Link::Up, Link::Leaving, Link::PinChanged];
        let states = (0..).zip(links).map(|(number, link)| PeerState {
            identity: PeerId::from_bytes([number; 32]).into(),
            link: link.into(),
            keeps_secs: 3600,
            ..PeerState::default()
        });
        assert!(!peering.hear(states.collect()).draining);
        assert_eq!(peering.longest_kept(), Some(3600));
        assert_eq!(peering.reachable(), [1, 2].map(|number| PeerId::from_bytes([number; 32])));
        clock.advance(FRESH + Duration::from_secs(1));
        assert!(peering.peers().is_none() && peering.reachable().is_empty());
        peering.set_draining(true);
        assert!(peering.hear(Vec::new()).draining);
        peering.restart();
        assert!(peering.peers().is_none());
    }
}
