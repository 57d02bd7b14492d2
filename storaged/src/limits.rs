//! The shared rate limits: what all gateways together let through. In memory, fixed in size.

use crate::metrics::{Metrics, Scope};
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::caller::{Budget, Caller, Payer, RELAY_SHARE};
use relay_proto::{MailboxHash, Refusal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Mailboxes and addresses that are remembered at once; 1 MiB each.
const PLACES: usize = 65_536;
/// Addresses that are remembered for what few clients do.
const FEW_PLACES: usize = 8192;

/// So many busy addresses are told apart and no more: whether there are many is what an operator needs to know.
const BUSY: usize = 10;

/// What may be done a minute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) mailbox: u32,
    pub(crate) address: u32,
    pub(crate) oblivious: u32,
    pub(crate) recovery: u32,
}

/// The relay's shared buckets.
#[derive(Debug)]
pub(crate) struct Limits {
    mailboxes: Mutex<BucketTable>,
    addresses: Mutex<BucketTable>,
    relays: Mutex<BucketTable>,
    recovery: Mutex<BucketTable>,
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
            addresses: table(PLACES),
            relays: table(FEW_PLACES),
            recovery: table(FEW_PLACES),
            rates,
            clock,
            metrics,
        }
    }

    /// Charges who asks, if there is somebody to charge.
    pub(crate) fn charge_caller(&self, caller: Caller) -> Result<(), Refusal> {
        let Some(Payer { budget, address }) = caller else { return Ok(()) };
        let (table, rate, scope) = match budget {
            Budget::Client => (&self.addresses, self.rates.address, Scope::Address),
            Budget::ObliviousRelay => (&self.relays, self.rates.oblivious, Scope::Relay),
            Budget::KnownObliviousRelay => {
                (&self.relays, self.rates.oblivious.saturating_mul(RELAY_SHARE), Scope::Relay)
            }
        };
        self.charge(table, address.as_bytes(), rate, scope)
    }

    /// Charges who asks for recovery proofs. An oblivious relay stands for many clients.
    pub(crate) fn charge_recovery(&self, caller: Caller) -> Result<(), Refusal> {
        let Some(Payer { budget, address }) = caller else { return Ok(()) };
        // An address that is both has a budget for each: they are of different sizes.
        let (kind, rate) = match budget {
            Budget::Client => (0, self.rates.recovery),
            Budget::ObliviousRelay | Budget::KnownObliviousRelay => {
                (1, self.rates.recovery.saturating_mul(RELAY_SHARE))
            }
        };
        self.charge(&self.recovery, &[&[kind], &address.as_bytes()[..]].concat(), rate, Scope::Recovery)
    }

    /// Notes how many client addresses have asked lately.
    pub(crate) fn note_busy(&self) {
        let busy = lock(&self.addresses).busy(BUSY, self.clock.monotonic());
        self.metrics.addresses_busy.set(i64::try_from(busy).unwrap_or(i64::MAX));
    }

    fn charge(&self, table: &Mutex<BucketTable>, key: &[u8], rate: u32, scope: Scope) -> Result<(), Refusal> {
        lock(table).take(key, Rate::per_minute(rate), self.clock.monotonic()).map_err(|retry_after| {
            self.metrics.rate_limited(scope);
            Refusal::AddressRateLimited { retry_after }
        })
    }

    /// Charges a mailbox.
    pub(crate) fn charge_mailbox(&self, mailbox: &MailboxHash) -> Result<(), Refusal> {
        self.try_mailbox(mailbox).map_err(|retry_after| Refusal::MailboxRateLimited { retry_after })
    }

    /// Charges a mailbox; answers when to come again where that is refused.
    pub(crate) fn try_mailbox(&self, mailbox: &MailboxHash) -> Result<(), Duration> {
        lock(&self.mailboxes)
            .take(mailbox.as_bytes(), Rate::per_minute(self.rates.mailbox), self.clock.monotonic())
            .inspect_err(|_| self.metrics.rate_limited(Scope::Mailbox))
    }
}

fn lock(table: &Mutex<BucketTable>) -> MutexGuard<'_, BucketTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
