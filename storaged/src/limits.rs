//! The shared rate limits: what all gateways together let through. In memory, fixed in size.

pub(crate) mod shares;

pub(crate) use shares::{FairShare, Payment};

use crate::config::Rates;
use crate::db::Totals;
use crate::limits::shares::Shares;
use crate::metrics::{Metrics, Scope};
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::caller::{Caller, RELAY_SHARE, RateLimitClass, RateLimitSubject};
use relay_proto::{MailboxHash, PeerId, StorageError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Mailboxes and addresses that are remembered at once; 1 MiB each.
const PLACES: usize = 65_536;
/// Addresses that are remembered for what few clients do.
const FEW_PLACES: usize = 8192;

/// So many busy addresses are told apart and no more: whether there are many is what an operator needs to know.
const BUSY: usize = 10;

/// The relay's shared buckets.
#[derive(Debug)]
pub(crate) struct Limits {
    mailboxes: Mutex<BucketTable>,
    fetches: Mutex<BucketTable>,
    addresses: Mutex<BucketTable>,
    relays: Mutex<BucketTable>,
    recovery: Mutex<BucketTable>,
    shares: Shares,
    rates: Rates,
    clock: Clock,
    metrics: Metrics,
}

impl Limits {
    /// Full buckets for everybody.
    pub(crate) fn new(rates: Rates, clock: Clock, metrics: Metrics) -> Self {
        let table = |places| Mutex::new(BucketTable::new(places));
        Self {
            mailboxes: table(PLACES),
            fetches: table(PLACES),
            addresses: table(PLACES),
            relays: table(FEW_PLACES),
            recovery: table(FEW_PLACES),
            shares: Shares::new(rates.allowance, clock.clone(), metrics.clone()),
            rates,
            clock,
            metrics,
        }
    }

    /// Charges who asks, if there is somebody to charge.
    pub(crate) fn charge_caller(&self, caller: Caller) -> Result<(), StorageError> {
        let Some(RateLimitSubject { budget, address, .. }) = caller else { return Ok(()) };
        let (table, rate, scope) = match budget {
            RateLimitClass::Client => (&self.addresses, self.rates.address, Scope::Address),
            // The same bucket, counted apart: it may be an oblivious relay that nobody named.
            RateLimitClass::ObliviousRelay => (&self.addresses, self.rates.address, Scope::Relay),
            RateLimitClass::KnownObliviousRelay => (&self.relays, self.rates.oblivious, Scope::Relay),
        };
        self.charge(table, address.as_bytes(), rate, scope)
    }

    /// Charges who asks for recovery proofs. An oblivious relay that the operator named stands for many clients.
    pub(crate) fn charge_recovery(&self, caller: Caller) -> Result<(), StorageError> {
        let Some(payer) = caller else { return Ok(()) };
        self.charge(&self.recovery, &key(payer), share(self.rates.recovery, payer), Scope::Recovery)
    }

    /// Charges a payer for what it adds to the store.
    pub(crate) const fn payment(&self, payer: Caller) -> Payment<'_> {
        self.shares.payment(payer)
    }

    /// Charges a peer for content that it brings. Returns whether that is within its share.
    pub(crate) fn charge_peer(&self, peer: &PeerId, gauges: &Totals, content: u64) -> bool {
        self.shares.charge_peer(peer, gauges, content)
    }

    /// Notes how many client addresses have asked lately.
    pub(crate) fn note_busy(&self) {
        let busy = lock(&self.addresses).busy(BUSY, self.clock.monotonic());
        self.metrics.addresses_busy.set(i64::try_from(busy).unwrap_or(i64::MAX));
    }

    /// Charges who reads a mailbox that holds something; returns when to come again where that is refused. Each payer
    /// has a bucket of its own for each mailbox, so that nobody who knows a token keeps its owner from reading.
    pub(crate) fn try_fetch(&self, mailbox: &MailboxHash, caller: Caller) -> Result<(), Duration> {
        let (payer, rate) = match caller {
            Some(payer) => (key(payer), share(self.rates.mailbox, payer)),
            None => (Vec::new(), self.rates.mailbox),
        };
        self.take(&self.fetches, &[mailbox.as_bytes(), &payer[..]].concat(), rate, Scope::Mailbox)
    }

    /// Charges a mailbox.
    pub(crate) fn charge_mailbox(&self, mailbox: &MailboxHash) -> Result<(), StorageError> {
        self.take(&self.mailboxes, mailbox.as_bytes(), self.rates.mailbox, Scope::Mailbox)
            .map_err(|retry_after| StorageError::MailboxRateLimited { retry_after })
    }

    fn charge(
        &self,
        table: &Mutex<BucketTable>,
        key: &[u8],
        rate: u32,
        scope: Scope,
    ) -> Result<(), StorageError> {
        self.take(table, key, rate, scope)
            .map_err(|retry_after| StorageError::AddressRateLimited { retry_after })
    }

    fn take(&self, table: &Mutex<BucketTable>, key: &[u8], rate: u32, scope: Scope) -> Result<(), Duration> {
        lock(table)
            .take(key, Rate::per_minute(rate), self.clock.monotonic())
            .inspect_err(|_| self.metrics.rate_limited(scope))
    }
}

/// What a payer is told apart by. A named relay whose address also sends requests of its own is two.
fn key(payer: RateLimitSubject) -> Vec<u8> {
    [&[u8::from(payer.is_named_relay())], &payer.address.as_bytes()[..]].concat()
}

/// A payer's rate where a single client has this one.
const fn share(rate: u32, payer: RateLimitSubject) -> u32 {
    if payer.is_named_relay() { rate.saturating_mul(RELAY_SHARE) } else { rate }
}

fn lock(table: &Mutex<BucketTable>) -> MutexGuard<'_, BucketTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
