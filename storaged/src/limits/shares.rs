//! Fair shares: how much of what all fill together one payer may add. Rows of every table and bytes of the store are
//! shared by everybody, and a stranger who takes the last of them shuts out everybody else for as long as they live.
//!
//! A *client* (an address) may add so many bytes and so many names in an hour: a thirty-second of the whole, so that
//! filling anything takes one address more than a day. A *named relay* stands for many clients and may take half of what
//! is free, refilled over a day: the other half is always left. So may a *peer*, which brings mail of others. Only what is new is charged, right before it is stored,
//! on the writer thread: a repetition costs nothing, and nothing has to be given back.
//!
//! Everything is in memory: a restart of the process fills every bucket once.

use crate::config::Allowance;
use crate::db::{Space, Total, Totals};
use crate::metrics::{Metrics, Scope};
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_proto::caller::{Caller, RateLimitSubject};
use relay_proto::{AddressHash, PeerId, StorageError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Clients that are remembered at once; 1 MiB for each of two tables. What all of them together can add is bounded by
/// what there is to fill, so that newcomers find their buckets nearly full however many others there are.
const CLIENTS: usize = 65_536;
/// Relays that are remembered at once, each for everything that it can fill.
const RELAYS: usize = 8192;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Which part of the whole a client may add in an hour. A bucket holds an hour's worth, so that in a day a client adds
/// 25 of them: less than the 95 % of the store at which it is full.
const PART: u64 = 32;
/// Names that a client may add in an hour, where that is less than its part.
const NAMES: u64 = 2000;
/// Names that a client may add in an hour, however small the tables are.
const FEW_NAMES: u64 = 16;

/// Bytes that a row takes besides its content: its name, its times, and what the indexes keep of it.
const ROW_BYTES: u64 = 256;
/// Bytes of a page of the database.
const PAGE_BYTES: u64 = 4096;

/// What payers fill together, and how much of it one may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FairShare {
    of: Total,
    /// Which part of the whole a client may add in an hour.
    part: u64,
    /// How long it takes a relay's share to fill again: as long as what it took is there, and a day at most.
    refill: Duration,
}

impl FairShare {
    /// Bytes of the store.
    pub(crate) const BYTES: Self = Self::rows(Total::BYTES);

    /// Rows of a table, by the total that counts them.
    pub(crate) const fn rows(of: Total) -> Self {
        Self { of, part: PART, refill: DAY }
    }

    /// The same for rows that are never older than an hour.
    pub(crate) const fn short_lived(of: Total) -> Self {
        Self { of, part: 4, refill: HOUR }
    }

    fn is_of_bytes(self) -> bool {
        self == Self::BYTES
    }

    /// What somebody may take who stands for many: half of what is free.
    fn half(self, free: u64) -> Rate {
        Rate::per(free / 2, self.refill)
    }

    fn scope(self) -> Scope {
        if self.is_of_bytes() { Scope::Bytes } else { Scope::Names }
    }
}

/// Everybody's shares.
#[derive(Debug)]
pub(crate) struct Shares {
    client_bytes: Mutex<BucketTable>,
    client_names: Mutex<BucketTable>,
    relays: Mutex<BucketTable>,
    allowance: Allowance,
    clock: Clock,
    metrics: Metrics,
}

/// Charges one payer for what is stored for it. Without a payer nobody is charged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payment<'a> {
    shares: &'a Shares,
    payer: Caller,
}

impl Shares {
    pub(crate) fn new(allowance: Allowance, clock: Clock, metrics: Metrics) -> Self {
        let table = |places| Mutex::new(BucketTable::new(places));
        Self {
            client_bytes: table(CLIENTS),
            client_names: table(CLIENTS),
            relays: table(RELAYS),
            allowance,
            clock,
            metrics,
        }
    }

    /// Charges a payer from here on.
    pub(crate) const fn payment(&self, payer: Caller) -> Payment<'_> {
        Payment { shares: self, payer }
    }

    /// Charges a peer for content that it brings: as a named relay, it may take half of what is free. Returns whether that is
    /// within its share.
    pub(crate) fn charge_peer(&self, peer: &PeerId, gauges: &Totals, content: u64) -> bool {
        let rate = FairShare::BYTES.half(gauges.byte_space().free);
        let now = self.clock.monotonic();
        lock(&self.relays).take_units(peer.as_bytes(), stored_bytes(content), rate, now).is_ok()
    }

    /// The table, key and rate of a payer's bucket.
    fn bucket(
        &self,
        payer: RateLimitSubject,
        share: FairShare,
        space: Space,
    ) -> (&Mutex<BucketTable>, Key, Rate) {
        if payer.is_named_relay() {
            return (&self.relays, Key::new(payer.address, share.of.number()), share.half(space.free));
        }
        // One bucket for all names: a row takes the more of it, the fewer its table has.
        let part = space.whole / share.part;
        let (table, most) = if share.is_of_bytes() {
            let part = part.max(stored_bytes(self.allowance.largest_blob));
            (&self.client_bytes, self.allowance.bytes.unwrap_or(part))
        } else {
            let part = part.clamp(FEW_NAMES, NAMES);
            (&self.client_names, self.allowance.names.unwrap_or(part))
        };
        (table, Key::new(payer.address, 0), Rate::per(most, HOUR))
    }
}

impl Payment<'_> {
    /// Charges the room that new content takes.
    ///
    /// # Errors
    /// As [`Payment::rows`].
    pub(crate) fn bytes(self, gauges: &Totals, content: usize) -> Result<(), StorageError> {
        self.rows(FairShare::BYTES, gauges.byte_space(), stored_bytes(content as u64))
    }

    /// Charges a new row and the room that its content takes.
    ///
    /// # Errors
    /// As [`Payment::rows`].
    pub(crate) fn row(
        self,
        share: FairShare,
        space: Space,
        gauges: &Totals,
        content: usize,
    ) -> Result<(), StorageError> {
        self.rows(share, space, 1)?;
        self.bytes(gauges, content)
    }

    /// Refuses what could not be charged, without charging.
    ///
    /// # Errors
    /// As [`Payment::rows`].
    pub(crate) fn expect_share(self, share: FairShare, space: Space, rows: u64) -> Result<(), StorageError> {
        let Some(payer) = self.payer.filter(|_| rows > 0) else { return Ok(()) };
        let (table, key, rate) = self.shares.bucket(payer, share, space);
        let peeked = lock(table).peek_units(&key.0, rows, rate, self.shares.clock.monotonic());
        peeked.map_err(|retry_after| self.refuse(share, retry_after))
    }

    fn refuse(self, share: FairShare, retry_after: Duration) -> StorageError {
        self.shares.metrics.rate_limited(share.scope());
        StorageError::AddressRateLimited { retry_after }
    }

    /// Gives back what content took that is gone, where the payer stands for many clients: some of them bring mail, and
    /// others take it away, so that the share bounds what lies here and not what passes through.
    pub(crate) fn give_bytes_back(self, gauges: &Totals, content: u64) {
        self.give_back(FairShare::BYTES, gauges.byte_space(), stored_bytes(content));
    }

    /// The same for a row and its content.
    pub(crate) fn give_row_back(self, share: FairShare, space: Space, gauges: &Totals, content: u64) {
        self.give_back(share, space, 1);
        self.give_bytes_back(gauges, content);
    }

    fn give_back(self, share: FairShare, space: Space, units: u64) {
        let Some(payer) = self.payer.filter(RateLimitSubject::is_named_relay) else { return };
        let (table, key, rate) = self.shares.bucket(payer, share, space);
        lock(table).give_back(&key.0, units, rate);
    }

    /// Charges new rows, all or none.
    ///
    /// # Errors
    /// [`StorageError::AddressRateLimited`] when the payer's share is used up.
    pub(crate) fn rows(self, share: FairShare, space: Space, units: u64) -> Result<(), StorageError> {
        let Some(payer) = self.payer.filter(|_| units > 0) else { return Ok(()) };
        let (table, key, rate) = self.shares.bucket(payer, share, space);
        let taken = lock(table).take_units(&key.0, units, rate, self.shares.clock.monotonic());
        taken.map_err(|retry_after| self.refuse(share, retry_after))
    }
}

/// What a bucket is found by.
struct Key([u8; AddressHash::LENGTH + 1]);

impl Key {
    fn new(address: AddressHash, kind: u8) -> Self {
        let mut key = [kind; AddressHash::LENGTH + 1];
        key[..AddressHash::LENGTH].copy_from_slice(address.as_bytes());
        Self(key)
    }
}

/// Bytes of the database that a row with this content takes at most: as many rows as fit share a page, and what is
/// longer has pages of its own.
fn stored_bytes(content: u64) -> u64 {
    let row = content.saturating_add(ROW_BYTES);
    if row > PAGE_BYTES { row.next_multiple_of(PAGE_BYTES) } else { PAGE_BYTES / (PAGE_BYTES / row) }
}

fn lock(table: &Mutex<BucketTable>) -> MutexGuard<'_, BucketTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
