//! Those who have dialled and are not peers yet. Anybody can dial and then say nothing: so there are only so many at
//! once, fewer of one address, and whoever has waited longest gives way to whoever comes. A true peer is through within
//! a few round trips.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// So many at once of one address: a few relays in one house, and the next connection of each.
const MOST_EACH: usize = 8;

/// Bits of an IPv6 address that belong to the customer's provider.
const NETWORK_BITS: u32 = 64;

/// Those who wait to become peers.
#[derive(Debug)]
pub(crate) struct Arrivals {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came.
    line: VecDeque<One>,
}

#[derive(Debug)]
struct One {
    number: u64,
    source: Option<IpAddr>,
    gives_way: CancellationToken,
}

/// The place of one of them, left when dropped.
#[derive(Debug)]
pub(crate) struct Arrival {
    arrivals: Arc<Arrivals>,
    number: u64,
    gives_way: CancellationToken,
}

impl Arrivals {
    /// Places for so many at once.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, waiting: Mutex::default() })
    }

    /// A place for somebody from an address, where that is known here; `None` where there are as many from it as may be.
    pub(crate) fn enter(self: &Arc<Self>, source: Option<IpAddr>) -> Option<Arrival> {
        let source = source.map(network);
        let mut waiting = self.lock();
        let same = || waiting.line.iter().filter(|one| one.source == source).count();
        if source.is_some() && same() >= MOST_EACH {
            return None;
        }
        if waiting.line.len() >= self.most
            && let Some(longest) = waiting.line.pop_front()
        {
            longest.gives_way.cancel();
        }
        let (number, gives_way) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.line.push_back(One { number, source, gives_way: gives_way.clone() });
        Some(Arrival { arrivals: Arc::clone(self), number, gives_way })
    }

    /// Nothing panics while it is locked.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// Returns what a piece of work comes to; `None` if it has to give way before that is done.
    pub(crate) async fn unless_crowded<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.gives_way.run_until_cancelled(work).await
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.arrivals.lock().line.retain(|one| one.number != self.number);
    }
}

/// What one customer of a provider has: an IPv4 address, or an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> NETWORK_BITS << NETWORK_BITS))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn whoever_waits_longest_gives_way_to_whoever_comes() {
        let arrivals = Arrivals::new(3);
        let silent: Vec<_> = (0..3).filter_map(|_| arrivals.enter(None)).collect();
        let newcomer = arrivals.enter(None).unwrap();
        assert_eq!(silent[0].unless_crowded(pending::<()>()).await, None);
        assert_eq!(silent[1].unless_crowded(ready(1)).await, Some(1));
        assert_eq!(newcomer.unless_crowded(ready(1)).await, Some(1));
        drop(silent);
        let _more: Vec<_> = (0..2).filter_map(|_| arrivals.enter(None)).collect();
        assert_eq!(newcomer.unless_crowded(ready(1)).await, Some(1), "there was room again");
    }

    #[test]
    fn one_address_has_a_few_places_and_takes_nobody_elses() {
        let arrivals = Arrivals::new(16);
        let from = |text: &str| arrivals.enter(Some(text.parse().unwrap()));
        let mut silent: Vec<_> = (0..MOST_EACH).filter_map(|_| from("192.0.2.1")).collect();
        assert_eq!(silent.len(), MOST_EACH);
        assert!(from("192.0.2.1").is_none() && from("::ffff:192.0.2.1").is_none());
        silent.extend((0..MOST_EACH).filter_map(|number| from(&format!("2001:db8::{number}"))));
        assert!(from("2001:db8::ffff").is_none(), "a customer has a whole network");
        assert!(from("2001:db8:0:1::1").is_some() && from("192.0.2.2").is_some());
        silent.pop();
        assert!(from("2001:db8::ffff").is_some());
    }
}
