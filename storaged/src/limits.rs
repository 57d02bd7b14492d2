//! The shared rate limits: what all gateways together let through. In memory, fixed in size.

use crate::metrics::{Metrics, Scope};
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::mail::Caller;
use relay_proto::{MailboxHash, Refusal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Mailboxes and addresses that are remembered at once; 1 MiB each.
const PLACES: usize = 65_536;

/// The relay's shared buckets.
#[derive(Debug)]
pub(crate) struct Limits {
    mailboxes: Mutex<BucketTable>,
    addresses: Mutex<BucketTable>,
    mailbox_rate: Rate,
    address_rate: Rate,
    clock: Clock,
    metrics: Metrics,
}

impl Limits {
    /// Full buckets for everybody.
    pub(crate) fn new(mailbox_rate: u32, address_rate: u32, clock: Clock, metrics: Metrics) -> Self {
        Self {
            mailboxes: Mutex::new(BucketTable::new(PLACES)),
            addresses: Mutex::new(BucketTable::new(PLACES)),
            mailbox_rate: Rate::per_minute(mailbox_rate),
            address_rate: Rate::per_minute(address_rate),
            clock,
            metrics,
        }
    }

    /// Charges a client's address, if there is one to charge.
    pub(crate) fn charge_caller(&self, caller: Caller) -> Result<(), Refusal> {
        let Some(address) = caller else { return Ok(()) };
        lock(&self.addresses).take(address.as_bytes(), self.address_rate, self.clock.monotonic()).map_err(
            |retry_after| {
                self.metrics.rate_limited(Scope::Address);
                Refusal::AddressRateLimited { retry_after }
            },
        )
    }

    /// Charges a mailbox.
    pub(crate) fn charge_mailbox(&self, mailbox: &MailboxHash) -> Result<(), Refusal> {
        self.try_mailbox(mailbox).map_err(|retry_after| Refusal::MailboxRateLimited { retry_after })
    }

    /// Charges a mailbox; answers when to come again where that is refused.
    pub(crate) fn try_mailbox(&self, mailbox: &MailboxHash) -> Result<(), Duration> {
        lock(&self.mailboxes)
            .take(mailbox.as_bytes(), self.mailbox_rate, self.clock.monotonic())
            .inspect_err(|_| self.metrics.rate_limited(Scope::Mailbox))
    }
}

fn lock(table: &Mutex<BucketTable>) -> MutexGuard<'_, BucketTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
