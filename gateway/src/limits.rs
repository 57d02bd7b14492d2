//! Cheap refusals. Storage counts what is true over all replicas; a gateway by itself only spares storage
//! what it can already know: an address that spends more than its share here alone, and a mailbox that
//! storage has just refused.

pub(crate) mod address;
pub(crate) mod memory;
pub(crate) mod places;

use crate::ops::metrics::Metrics;
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::caller::RateLimitSubject;
use relay_proto::{AddressHash, MailboxHash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Addresses, and refused mailboxes, that are remembered at once (1 MiB each).
const PLACES: usize = 1 << 16;

/// Oblivious relays that are remembered at once. The world has few.
const RELAY_PLACES: usize = 1 << 12;

/// How many times its rate whoever brings sealed requests is told inside that the rate is spent.
const FAR_BEYOND: u32 = 10;

/// Time between two log lines about refused relays that nobody named.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// What one gateway knows of limits.
#[derive(Debug)]
pub(crate) struct LocalLimits {
    addresses: Mutex<BucketTable>,
    relays: Mutex<BucketTable>,
    mailboxes: Mutex<BucketTable>,
    /// Refusals of sealed requests that were said inside.
    refused: Mutex<BucketTable>,
    /// When the log last said that a relay is refused which nobody named.
    told_unnamed: Mutex<Option<Duration>>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// Behind an address: the bucket of the keys that it fetches.
const KEYS: u8 = 1;

impl LocalLimits {
    pub(crate) fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        let table = |places| Mutex::new(BucketTable::new(places));
        Self {
            addresses: table(PLACES),
            relays: table(RELAY_PLACES),
            mailboxes: table(PLACES),
            refused: table(RELAY_PLACES),
            told_unnamed: Mutex::new(None),
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

    /// Charges a relay that the operator named for a key that it fetches: to a bucket of its own, so that keys cost it
    /// nothing of what it may bring, and can be had when that is spent.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn charge_for_key(&self, address: &AddressHash, rate: Rate) -> Result<(), Duration> {
        let mut key = [KEYS; AddressHash::LENGTH + 1];
        key[..AddressHash::LENGTH].copy_from_slice(address.as_bytes());
        let taken = lock(&self.relays).take(&key, rate, self.clock.monotonic());
        taken.inspect_err(|_| self.metrics.limited_relays.inc())
    }

    /// Charges whoever brings a sealed request: a relay that the operator named has a bucket of its own, anybody else
    /// the one of all its requests. Returns how long it has to wait, if it does.
    ///
    /// # Errors
    /// How long it has to wait, where it is so far beyond its rate that not even a refusal is worth the work of opening
    /// what it sends.
    pub(crate) fn charge_sealed(
        &self,
        payer: RateLimitSubject,
        rate: Rate,
    ) -> Result<Option<Duration>, Duration> {
        let (address, now) = (payer.address.as_bytes(), self.clock.monotonic());
        let table = if payer.is_named_relay() { &self.relays } else { &self.addresses };
        let taken = lock(table).take(address, rate, now);
        let Err(wait) = taken else { return Ok(None) };
        self.metrics.limited_relays.inc();
        if !payer.is_named_relay() && self.is_time_to_tell(now) {
            tracing::warn!(
                "sealed requests from an address that RELAY_OHTTP_RELAYS does not name are refused by \
                 RELAY_ADDR_RATE_LIMIT; if that is an oblivious relay, name it in RELAY_OHTTP_RELAYS"
            );
        }
        lock(&self.refused).take(address, rate.times(FAR_BEYOND), now).map(|()| Some(wait)).map_err(|_| wait)
    }

    /// Whether nothing was said of unnamed relays for an hour.
    fn is_time_to_tell(&self, now: Duration) -> bool {
        let mut told = self.told_unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|at| now.saturating_sub(at) >= TELL_AGAIN);
        if is_due {
            *told = Some(now);
        }
        is_due
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
    use relay_proto::caller::RateLimitClass;

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
    fn an_unnamed_relay_is_one_client_and_the_log_says_so_once_an_hour() {
        let clock = ManualClock::at(UnixSeconds::new(0));
        let metrics = Arc::new(Metrics::new().unwrap());
        let limits = LocalLimits::new(clock.clock(), Arc::clone(&metrics));
        let (address, rate) = (AddressHash::from_bytes([1; 16]), Rate::per_minute(2));
        let payer = RateLimitSubject::new(RateLimitClass::ObliviousRelay, address);
        limits.charge_address(&address, rate).unwrap();
        assert_eq!(limits.charge_sealed(payer, rate), Ok(None));
        let wait = Duration::from_secs(30);
        for _ in 0..20 {
            assert_eq!(limits.charge_sealed(payer, rate), Ok(Some(wait)), "said inside");
        }
        assert_eq!(limits.charge_sealed(payer, rate), Err(wait), "far beyond its rate");
        assert_eq!(limits.charge_address(&address, rate), Err(wait));
        assert_eq!((metrics.limited_relays.get(), metrics.limited_addresses.get()), (21, 1));
        let named = RateLimitSubject::new(RateLimitClass::KnownObliviousRelay, address);
        assert_eq!(limits.charge_sealed(named, rate), Ok(None), "a bucket of its own");
        let now = clock.clock().monotonic();
        assert!(!limits.is_time_to_tell(now), "it was said just now");
        assert!(limits.is_time_to_tell(now + TELL_AGAIN));
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
