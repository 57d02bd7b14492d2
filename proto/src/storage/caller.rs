//! Who pays for a request.

use crate::AddressHash;

/// Who pays for a request; `None` when nobody is to be charged.
pub type Caller = Option<RateLimitSubject>;

/// An address and the kind of budget it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitSubject {
    /// Which budget is charged.
    pub budget: RateLimitClass,
    /// Whose.
    pub address: AddressHash,
    /// The wider network that the address is in, where one customer often holds all of it (IPv6 /48); else the address
    /// again. Who guesses codes is counted by it.
    pub network: AddressHash,
}

impl RateLimitSubject {
    /// A subject of whom no wider network is known.
    pub const fn new(budget: RateLimitClass, address: AddressHash) -> Self {
        Self { budget, address, network: address }
    }

    /// Whether what is asked came sealed, by way of somebody who can bring the same message again.
    pub const fn is_oblivious(&self) -> bool {
        !matches!(self.budget, RateLimitClass::Client)
    }

    /// Whether it is an oblivious relay that the operator named, and so stands for many clients. Everybody else is one
    /// client, sealed or not.
    pub const fn is_named_relay(&self) -> bool {
        matches!(self.budget, RateLimitClass::KnownObliviousRelay)
    }
}

/// The kinds of budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitClass {
    /// A client that came by itself.
    Client,
    /// A sealed request from an address that the operator did not name: a client that seals to the relay by itself, or
    /// an oblivious relay that nobody knows. Either is charged as a client, together with its direct requests.
    ObliviousRelay,
    /// An oblivious relay that the operator named (`RELAY_OHTTP_RELAYS`), for all clients behind it.
    KnownObliviousRelay,
}

/// How many times a single client's share of recovery queries, fetches of one mailbox and places in line an oblivious
/// relay has that the operator named.
pub const RELAY_SHARE: u32 = 10;
