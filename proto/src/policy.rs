//! Policy that every gateway replica must share, so that clients meet one relay.

use crate::{AddressKey, NoiseKey, UnixSeconds};

/// What every gateway replica must share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For hashing client addresses.
    pub address_key: AddressKey,
    /// Direct requests a minute for one client address.
    pub address_rate: u32,
    /// Oblivious requests a minute for one relay that the operator named.
    pub oblivious_rate: u32,
    /// Which client versions are served.
    pub versions: VersionPolicy,
    /// By which other relays know this one, where it peers.
    pub federation_key: Option<NoiseKey>,
}

/// Which client versions are served (`X-Min-Version`, `X-Warn-Version`, `X-Upgrade-Deadline`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VersionPolicy {
    /// Older clients are refused once the deadline has passed.
    pub minimum: u16,
    /// Older clients should tell their users.
    pub warn: u16,
    /// When clients below the minimum are refused.
    pub deadline: UnixSeconds,
}
