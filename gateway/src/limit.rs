//! Cheap refusals. Storage counts what is true over all replicas; a gateway by itself only spares storage
//! what it can already know: an address that spends more than its share here alone, and a mailbox that
//! storage has just refused.

use crate::metrics::Metrics;
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::{AddressHash, MailboxHash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Addresses, and refused mailboxes, that are remembered at once (1 MiB each).
const PLACES: usize = 1 << 16;

/// Oblivious relays that are remembered at once. The world has few.
const RELAY_PLACES: usize = 1 << 12;

/// What one gateway knows of limits.
#[derive(Debug)]
pub(crate) struct LocalLimits {
    addresses: Mutex<BucketTable>,
    relays: Mutex<BucketTable>,
    mailboxes: Mutex<BucketTable>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl LocalLimits {
    pub(crate) fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        let table = |places| Mutex::new(BucketTable::new(places));
        Self {
            addresses: table(PLACES),
            relays: table(RELAY_PLACES),
            mailboxes: table(PLACES),
            clock,
            metrics,
        }
    }

    /// Charges an address for one request.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn charge_address(&self, address: &AddressHash, rate: Rate) -> Result<(), Duration> {
        let taken = lock(&self.addresses).take(address.as_bytes(), rate, self.clock.monotonic());
        taken.inspect_err(|_| self.metrics.limited_addresses.inc())
    }

    /// Charges an oblivious relay for one request.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn charge_relay(&self, relay: &AddressHash, rate: Rate) -> Result<(), Duration> {
        let taken = lock(&self.relays).take(relay.as_bytes(), rate, self.clock.monotonic());
        taken.inspect_err(|_| self.metrics.limited_relays.inc())
    }

    /// How long storage will go on refusing sends to a mailbox, as far as it told this gateway.
    pub(crate) fn refused_mailbox(&self, mailbox: &MailboxHash) -> Option<Duration> {
        let wait = lock(&self.mailboxes).deferred(mailbox.as_bytes(), self.clock.monotonic());
        wait.inspect(|_| self.metrics.limited_mailboxes.inc())
    }

    /// Remembers that storage refused a mailbox.
    pub(crate) fn remember_refusal(&self, mailbox: &MailboxHash, retry_after: Duration) {
        lock(&self.mailboxes).defer(mailbox.as_bytes(), self.clock.monotonic().saturating_add(retry_after));
    }
}

/// A table is whole after any panic: its entries are plain numbers.
fn lock(table: &Mutex<BucketTable>) -> MutexGuard<'_, BucketTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::ManualClock;
    use relay_proto::UnixSeconds;

    #[test]
    fn an_address_is_refused_after_its_share_and_told_how_long_to_wait() {
        let clock = ManualClock::at(UnixSeconds::new(0));
        let metrics = Arc::new(Metrics::new().unwrap());
        let limits = LocalLimits::new(clock.clock(), Arc::clone(&metrics));
        let (address, other) = (AddressHash::from_bytes([1; 16]), AddressHash::from_bytes([2; 16]));
        let rate = Rate::per_minute(3);
        for _ in 0..3 {
            limits.charge_address(&address, rate).unwrap();
        }
        assert_eq!(limits.charge_address(&address, rate), Err(Duration::from_secs(20)));
        limits.charge_address(&other, rate).unwrap();
        assert_eq!(metrics.limited_addresses.get(), 1);
        clock.advance(Duration::from_secs(20));
        limits.charge_address(&address, rate).unwrap();
    }

    #[test]
    fn a_refused_mailbox_is_remembered_until_its_time() {
        let clock = ManualClock::at(UnixSeconds::new(0));
        let metrics = Arc::new(Metrics::new().unwrap());
        let limits = LocalLimits::new(clock.clock(), Arc::clone(&metrics));
        let mailbox = MailboxHash::from_bytes([1; 32]);
        assert_eq!(limits.refused_mailbox(&mailbox), None);
        limits.remember_refusal(&mailbox, Duration::from_millis(1500));
        assert_eq!(limits.refused_mailbox(&mailbox), Some(Duration::from_millis(1500)));
        assert_eq!(metrics.limited_mailboxes.get(), 1);
        clock.advance(Duration::from_millis(1500));
        assert_eq!(limits.refused_mailbox(&mailbox), None);
    }
}
