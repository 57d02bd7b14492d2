//! How many connections each address has, and which connection ends for a new one.
//!
//! Against one address that takes all connections, and, on the operator's port, against silent connections that keep the
//! operator out. axum and hyper know one connection at a time.

use super::connection_state::ConnectionState;
use crate::limits::address::prefix;
use crate::limits::places::{self, Places};
use ipnet::IpNet;
use prometheus::IntCounter;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What one address may have of a listener's connections.
pub(crate) struct PerAddress {
    /// Connections of one address at once.
    pub(crate) most: usize,
    /// Body of the reply to connections beyond that.
    pub(crate) turned_away: &'static str,
    pub(crate) refused: IntCounter,
}

/// Whose connections many clients share: proxies and outer relays that the operator named. No limit holds for such a
/// connection, or for how many there are, that one of those clients could use up for the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedPeers(pub(crate) Vec<IpNet>);

impl SharedPeers {
    pub(super) fn contain(&self, peer: IpAddr) -> bool {
        crate::limits::address::is_among(peer.to_canonical(), &self.0)
    }
}

/// Connections by address, of which an IPv6 customer has a /64.
#[derive(Debug, Default)]
pub(super) struct Addresses(Arc<Places<[u8; 8]>>);

impl Addresses {
    /// A place for one connection more, unless its address has `most` already.
    pub(super) fn place(&self, peer: IpAddr, most: usize) -> Option<ConnectionSlot> {
        self.0.take(prefix(peer), most)
    }
}

/// One connection of an address, until dropped.
pub(super) type ConnectionSlot = places::ClientSlot<[u8; 8]>;

/// Connections of a listener on which a new one takes the place of one that waits.
#[derive(Debug, Default)]
pub(super) struct Replaceable(Mutex<Vec<Weak<ConnectionState>>>);

impl Replaceable {
    pub(super) fn add(&self, state: &Arc<ConnectionState>) {
        let mut open = lock(&self.0);
        open.retain(|other| other.strong_count() > 0);
        open.push(Arc::downgrade(state));
    }

    /// Ends the connection that has waited longest, if one waits: for a request, or for its peer to take a reply.
    pub(super) fn end_one(&self) -> bool {
        let mut open = lock(&self.0);
        let waiting = open.iter().enumerate().filter_map(|(index, state)| {
            let state = state.upgrade()?;
            Some((state.waits_since()?, index, state))
        });
        let Some((_, index, state)) = waiting.min_by_key(|(since, ..)| *since) else { return false };
        state.replace();
        open.swap_remove(index);
        true
    }
}

/// What is locked here is whole after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_only_those_that_have_one_are_kept() {
        let addresses = Addresses::default();
        let place = |peer: &str| addresses.place(peer.parse().unwrap(), 2);
        let held = [place("192.0.2.1").unwrap(), place("::ffff:192.0.2.1").unwrap()];
        assert!(place("192.0.2.1").is_none());
        let other =
            [place("192.0.2.2").unwrap(), place("2001:db8::1").unwrap(), place("2001:db8::2").unwrap()];
        assert!(place("2001:db8:0:0:9::1").is_none(), "a customer has a /64");
        drop(held);
        assert_eq!(addresses.0.clients(), 2);
        assert!(place("192.0.2.1").is_some());
        drop(other);
        assert_eq!(addresses.0.clients(), 0);
    }
}
