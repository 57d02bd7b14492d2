//! The memory that the bodies and replies of all requests share.
//!
//! Each payer has an account: a client's address (IPv6: its /64), or an outer relay that the operator named. An account
//! may hold a part of the whole, so that nobody alone uses it up, and the last quarter, of the whole as of an account, is
//! kept for small requests. An account exists for as long as something of it is in progress, and nobody can read from it
//! whose it is.

use crate::limits::address::prefix;
use prometheus::IntCounter;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bytes that all requests together may hold.
const WHOLE: usize = 24 << 20;

/// Bytes that memory is counted in.
const UNIT: usize = 1024;

/// How long a request waits for others to finish before it is refused.
const PATIENCE: Duration = Duration::from_millis(500);

/// Requests of at most so many bytes may use what is kept for small ones.
pub(crate) const SMALL: usize = 8 << 10;

/// Which part of the memory a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// All of it.
    Small,
    /// All but the last quarter.
    Large,
}

impl Size {
    /// Of a request whose body has, or will have, so many bytes.
    pub(crate) const fn of(bytes: usize) -> Self {
        if bytes <= SMALL { Self::Small } else { Self::Large }
    }
}

/// Why there is no memory for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// Its own payer holds all that one may hold.
    Account,
    /// All payers together hold everything.
    Whole,
}

/// The whole.
#[derive(Debug)]
pub(crate) struct Memory {
    pool: Pool,
    /// Units of a client's account, and of a named outer relay's. Behind such a relay are many clients, who cannot be told
    /// apart: it may hold half of the whole.
    client: usize,
    relay: usize,
    /// Dead entries are removed when their account is dropped. The keys are hashes with a seed of this process.
    accounts: Mutex<HashMap<u64, Weak<Account>>>,
    seed: RandomState,
    refused: IntCounter,
}

impl Memory {
    /// Memory of which each payer can hold one request of `largest` bytes at least. `refused` counts requests that were
    /// refused because of what their own payer holds.
    pub(crate) fn new(largest: usize, refused: IntCounter) -> Self {
        Self::of_bytes(WHOLE, largest, refused)
    }

    /// The same for one of several who must not use up each other's: an even part, or a quarter where they are more.
    pub(crate) fn part(parts: usize, largest: usize, refused: IntCounter) -> Self {
        Self::of_bytes(WHOLE / parts.clamp(1, 4), largest, refused)
    }

    fn of_bytes(whole: usize, largest: usize, refused: IntCounter) -> Self {
        let client = (whole / 4).max(largest.div_ceil(3) * 4 + 4 * UNIT).div_ceil(UNIT);
        let whole = 4 * client;
        Self {
            pool: Pool::new(whole),
            client,
            relay: whole / 2,
            accounts: Mutex::default(),
            seed: RandomState::new(),
            refused,
        }
    }

    /// The account of a payer.
    pub(crate) fn account(self: &Arc<Self>, payer: IpAddr, is_relay: bool) -> Arc<Account> {
        let key = self.seed.hash_one((prefix(payer), is_relay));
        let mut accounts = self.accounts();
        if let Some(account) = accounts.get(&key).and_then(Weak::upgrade) {
            return account;
        }
        let pool = Pool::new(if is_relay { self.relay } else { self.client });
        let account = Arc::new(Account { key, is_relay, pool, memory: Arc::clone(self) });
        accounts.insert(key, Arc::downgrade(&account));
        account
    }

    /// It is whole after any panic: nothing is done with it halfway.
    fn accounts(&self) -> MutexGuard<'_, HashMap<u64, Weak<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one payer holds.
#[derive(Debug)]
pub(crate) struct Account {
    key: u64,
    is_relay: bool,
    pool: Pool,
    memory: Arc<Memory>,
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut accounts = self.memory.accounts();
        // The payer may have a new account by now.
        if accounts.get(&self.key).is_some_and(|account| account.strong_count() == 0) {
            accounts.remove(&self.key);
        }
    }
}

impl Account {
    /// Takes memory for a request.
    ///
    /// # Errors
    /// When there is none for half a second.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize, size: Size) -> Result<MemoryPermit, Exhausted> {
        let permits = self.permits(bytes.div_ceil(UNIT), size).await?;
        Ok(MemoryPermit(Some(Held { account: Arc::clone(self), permits, size })))
    }

    async fn permits(&self, units: usize, size: Size) -> Result<Permits, Exhausted> {
        let deadline = Instant::now() + PATIENCE;
        let Some(account) = self.pool.take(units, size, deadline).await else {
            self.memory.refused.inc();
            return Err(Exhausted::Account);
        };
        let whole = self.memory.pool.take(units, size, deadline).await.ok_or(Exhausted::Whole)?;
        Ok(Permits { account, whole })
    }
}

/// Units in two parts, of which large requests get the first only.
#[derive(Debug)]
struct Pool {
    common: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Pool {
    fn new(units: usize) -> Self {
        let reserve = units / 4;
        Self { common: Arc::new(Semaphore::new(units - reserve)), reserve: Arc::new(Semaphore::new(reserve)) }
    }

    async fn take(&self, units: usize, size: Size, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(units).ok()?;
        let now = |part: &Arc<Semaphore>| Arc::clone(part).try_acquire_many_owned(units).ok();
        let later = |part: &Arc<Semaphore>| Arc::clone(part).acquire_many_owned(units);
        if let Some(permit) = now(&self.common) {
            return Some(permit);
        }
        match size {
            Size::Large => timeout_at(deadline, later(&self.common)).await.ok()?.ok(),
            Size::Small => {
                if let Some(permit) = now(&self.reserve) {
                    return Some(permit);
                }
                let either = async {
                    tokio::select! {
                        permit = later(&self.common) => permit,
                        permit = later(&self.reserve) => permit,
                    }
                };
                timeout_at(deadline, either).await.ok()?.ok()
            }
        }
    }
}

/// Units of an account and of the whole, as many of each.
#[derive(Debug)]
struct Permits {
    account: OwnedSemaphorePermit,
    whole: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Held {
    // Dropped before the account is.
    permits: Permits,
    size: Size,
    account: Arc<Account>,
}

/// Memory of one request, given back when dropped. `None` is a request whose memory another one holds for it.
#[derive(Debug)]
pub(crate) struct MemoryPermit(Option<Held>);

impl MemoryPermit {
    /// The share of a request inside another one, which holds memory for both.
    pub(crate) const fn of_another() -> Self {
        Self(None)
    }

    /// Whether it belongs to an outer relay that the operator named.
    pub(crate) fn is_of_a_relay(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.account.is_relay)
    }

    /// Makes it at least so large. A small request stays one, however large its reply.
    ///
    /// # Errors
    /// When there is no memory for half a second; it is as large as before then.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Some(size) = self.0.as_ref().map(|held| held.size) else { return Ok(()) };
        self.grow_as(bytes, size).await
    }

    /// The same for a request that may have turned out to be large.
    pub(crate) async fn grow_as(&mut self, bytes: usize, size: Size) -> Result<(), Exhausted> {
        let Some(held) = &mut self.0 else { return Ok(()) };
        let (before, after) = (held.permits.whole.num_permits(), bytes.div_ceil(UNIT));
        if after <= before {
            return Ok(());
        }
        if held.size == Size::Large {
            let more = held.account.permits(after - before, Size::Large).await?;
            held.permits.account.merge(more.account);
            held.permits.whole.merge(more.whole);
        } else {
            // What it has may be of either part.
            held.permits = held.account.permits(after, size).await?;
            held.size = size;
        }
        Ok(())
    }

    /// Makes it at most so large.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let Some(held) = &mut self.0 else { return };
        let surplus = held.permits.whole.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(held.permits.account.split(surplus));
        drop(held.permits.whole.split(surplus));
    }

    /// Bytes that hold this share until the last of them is written out.
    pub(crate) fn hold(self, bytes: Vec<u8>) -> bytes::Bytes {
        struct Owner(Vec<u8>, #[expect(dead_code, reason = "dropped with the bytes")] MemoryPermit);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        bytes::Bytes::from_owner(Owner(bytes, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(1 << 20, IntCounter::new("refused", "Refused.").unwrap()))
    }

    fn account(memory: &Arc<Memory>, address: &str) -> Arc<Account> {
        memory.account(address.parse().unwrap(), false)
    }

    /// Takes pieces of a size until there is no more, and says why.
    async fn fill(account: &Arc<Account>, bytes: usize) -> (Vec<MemoryPermit>, Exhausted) {
        let mut shares = Vec::new();
        loop {
            match account.take(bytes, Size::of(bytes)).await {
                Ok(share) => shares.push(share),
                Err(exhausted) => return (shares, exhausted),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_of_one_part_is_not_of_another() {
        let refused = || IntCounter::new("refused", "Refused.").unwrap();
        let parts = [2, 16].map(|parts| Arc::new(Memory::part(parts, 192 << 10, refused())));
        let payers = (0..200_u32).map(|number| IpAddr::from(number.to_be_bytes()));
        let mut held = Vec::new();
        let exhausted = 'all: {
            for payer in payers {
                match parts[0].account(payer, false).take(192 << 10, Size::Large).await {
                    Ok(permit) => held.push(permit),
                    Err(exhausted) => break 'all Some(exhausted),
                }
            }
            None
        };
        assert_eq!(exhausted, Some(Exhausted::Whole));
        assert_eq!(held.len() * (192 << 10), (WHOLE / 2) * 3 / 4);
        let payer = "192.0.2.1".parse().unwrap();
        assert!(parts[1].account(payer, false).take(192 << 10, Size::Large).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_payer_holds_a_quarter_at_most_and_keeps_a_quarter_of_that_for_small_requests() {
        let memory = memory();
        let greedy = account(&memory, "192.0.2.1");
        let (large, why) = fill(&greedy, 64 << 10).await;
        assert_eq!((large.len(), why), (WHOLE * 3 / 16 / (64 << 10), Exhausted::Account));
        let (small, why) = fill(&greedy, SMALL).await;
        assert_eq!((small.len(), why), (WHOLE / 16 / SMALL, Exhausted::Account));
        assert_eq!(memory.refused.get(), 2);
        assert!(account(&memory, "192.0.2.2").take(1 << 20, Size::Large).await.is_ok());
        drop(large);
        assert!(greedy.take(1 << 20, Size::Large).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_quarter_of_everything_is_for_small_requests() {
        let memory = memory();
        let mut held = Vec::new();
        let mut why = Vec::new();
        for host in 1..=5 {
            let (shares, exhausted) = fill(&account(&memory, &format!("192.0.2.{host}")), 64 << 10).await;
            held.extend(shares);
            why.push(exhausted);
        }
        assert_eq!(why.last(), Some(&Exhausted::Whole));
        assert_eq!(held.len(), WHOLE * 3 / 4 / (64 << 10));
        let late = account(&memory, "192.0.2.9");
        assert_eq!(late.take(SMALL + 1, Size::of(SMALL + 1)).await.unwrap_err(), Exhausted::Whole);
        let mut small = late.take(SMALL, Size::of(SMALL)).await.unwrap();
        assert!(small.grow_as(SMALL + 1, Size::Large).await.is_err(), "it has turned out to be large");
        assert!(small.grow(100 << 10).await.is_ok(), "an answer to a small request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_relay_may_hold_half() {
        let memory = memory();
        let relay = memory.account("192.0.2.1".parse().unwrap(), true);
        let (shares, why) = fill(&relay, 64 << 10).await;
        assert_eq!((shares.len(), why), (WHOLE * 3 / 8 / (64 << 10), Exhausted::Account));
        assert!(shares[0].is_of_a_relay());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_moment_for_others_to_finish() {
        let memory = memory();
        let payer = account(&memory, "192.0.2.1");
        let (mut shares, _) = fill(&payer, 1 << 20).await;
        let waiting = tokio::spawn(async move { payer.take(1 << 20, Size::Large).await.is_ok() });
        tokio::time::sleep(PATIENCE / 2).await;
        drop(shares.pop());
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_shrinks_or_is_dropped_is_there_for_the_next() {
        let memory = memory();
        let payer = account(&memory, "192.0.2.1");
        let mut share = payer.take(4 << 20, Size::Large).await.unwrap();
        assert!(payer.take(4 << 20, Size::Large).await.is_err());
        share.shrink(1000);
        drop(payer.take(4 << 20, Size::Large).await.unwrap());
        share.grow(4 << 20).await.unwrap();
        let bytes = share.hold(vec![1, 2, 3]);
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert!(payer.take(4 << 20, Size::Large).await.is_err(), "a slice still holds the memory");
        drop(slice);
        assert!(payer.take(4 << 20, Size::Large).await.is_ok());
    }

    #[tokio::test]
    async fn accounts_are_those_of_payers_with_something_in_progress() {
        let memory = memory();
        let one = account(&memory, "2001:db8::1");
        assert!(Arc::ptr_eq(&one, &account(&memory, "2001:db8:0:0:9::2")), "one customer has a /64");
        let mapped = account(&memory, "::ffff:192.0.2.1");
        assert!(Arc::ptr_eq(&mapped, &account(&memory, "192.0.2.1")));
        assert!(!Arc::ptr_eq(&mapped, &memory.account("192.0.2.1".parse().unwrap(), true)));
        let share = one.take(1, Size::Small).await.unwrap();
        assert_eq!(memory.accounts().len(), 2);
        drop((one, mapped));
        assert_eq!(memory.accounts().len(), 1, "something is still held");
        drop(share);
        assert!(memory.accounts().is_empty());
    }

    #[test]
    fn the_largest_request_fits_whatever_its_size() {
        for largest in [1 << 10, 1 << 20, 16 << 20] {
            let memory = Memory::new(largest, IntCounter::new("refused", "Refused.").unwrap());
            assert!(memory.client - memory.client / 4 >= largest.div_ceil(UNIT));
            assert!(memory.client * UNIT >= WHOLE / 4);
        }
    }
}
