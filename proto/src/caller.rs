//! Who pays for a request.

use crate::AddressHash;

/// Who pays for a request; `None` when nobody is to be charged.
pub type Caller = Option<Payer>;

/// An address and the kind of budget it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payer {
    /// Which budget is charged.
    pub budget: Budget,
    /// Whose.
    pub address: AddressHash,
}

impl Payer {
    /// Whether what is asked came sealed, by way of somebody who can bring the same message again.
    pub const fn is_oblivious(&self) -> bool {
        !matches!(self.budget, Budget::Client)
    }
}

/// The kinds of budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// A client that came by itself.
    Client,
    /// An oblivious relay, for all clients behind it.
    ObliviousRelay,
    /// An oblivious relay that the operator knows and allows ten times as much (`RELAY_OHTTP_RELAYS`).
    KnownObliviousRelay,
}

/// How many times as much a known oblivious relay may ask as one that nobody knows, and how many times as many
/// recovery queries any oblivious relay may ask as a single client.
pub const RELAY_SHARE: u32 = 10;
