//! What operators and peers may know of the store. The admin service's messages are spoken as they are; here is what they
//! are called when they are shown, and what of storage's replies is checked before anything reads them.

use crate::field::{enumerated, identifier, optional, required};
use crate::messages::{
    ClockStanding, ClockStatus, KeyStatus, KindUsage, Link, PeersReply, RowKind, StatusReply, TrustClockReply,
};
use crate::telemetry::Role;
use crate::{Commitment, NoiseKey, PeerId, PublicKey, StorageError};

/// How full the store is.
pub use crate::messages::CapacityReply as Capacity;

impl Capacity {
    /// Which part of the ceiling is in use.
    pub fn fill(&self) -> f64 {
        fill(self.live_bytes, self.ceiling_bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn fill(live_bytes: u64, ceiling_bytes: u64) -> f64 {
    live_bytes as f64 / ceiling_bytes.max(1) as f64
}

impl StatusReply {
    /// Returns it if every role and the clock's standing are known.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] with the field that is not.
    pub fn checked(self) -> Result<Self, StorageError> {
        for process in &self.processes {
            enumerated::<Role>("role", process.role)?;
        }
        self.clock.map(ClockStatus::checked).transpose()?;
        Ok(self)
    }

    /// Which part of the ceiling is in use.
    pub fn fill(&self) -> f64 {
        fill(self.live_bytes, self.ceiling_bytes)
    }
}

impl ClockStatus {
    fn checked(self) -> Result<Self, StorageError> {
        enumerated::<ClockStanding>("standing", self.standing)?;
        Ok(self)
    }
}

impl TrustClockReply {
    /// Returns how the clock stood before.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] when that is missing or not known.
    pub fn checked(self) -> Result<ClockStatus, StorageError> {
        required("before", self.before)?.checked()
    }
}

impl ClockStanding {
    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unknown",
            Self::Trusted => "trusted",
            Self::Ahead => "ahead",
            Self::Behind => "behind",
            Self::BeforeBuild => "before build",
        }
    }
}

impl KeyStatus {
    /// Returns it if its keys and hashes have their lengths.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] with the field that has not.
    pub fn checked(self) -> Result<Self, StorageError> {
        if self.windows.iter().any(|window| window.fingerprint.len() != 32) {
            return Err(StorageError::invalid("fingerprint"));
        }
        optional::<PublicKey>("anchor", &self.anchor)?;
        optional::<Commitment>("commitment", &self.commitment)?;
        Ok(self)
    }
}

impl PeersReply {
    /// Returns it if its keys and identities have their lengths, and every link is of a known kind.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] with the field that is not.
    pub fn checked(self) -> Result<Self, StorageError> {
        optional::<NoiseKey>("noise_key", &self.noise_key)?;
        optional::<PeerId>("identity", &self.identity)?;
        for peer in &self.peers {
            optional::<PeerId>("identity", &peer.identity)?;
            enumerated::<Link>("link", peer.link)?;
        }
        for pin in &self.pins {
            identifier::<NoiseKey>("noise_key", &pin.noise_key)?;
            identifier::<PeerId>("identity", &pin.identity)?;
        }
        for holdings in &self.holdings {
            identifier::<PeerId>("identity", &holdings.identity)?;
        }
        Ok(self)
    }
}

impl KindUsage {
    /// Returns it if its kind is known.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] when it is not.
    pub fn checked(self) -> Result<Self, StorageError> {
        enumerated::<RowKind>("kind", self.kind)?;
        Ok(self)
    }
}

/// Declares the names of kinds of rows, in the order in which they are shown.
macro_rules! row_kinds {
    ($($Kind:ident = $name:literal),*) => {
        impl RowKind {
            /// All of them, in the order in which they are shown.
            pub const ALL: [Self; 11] = [$(Self::$Kind),*];

            /// Its name for people and programs.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Unspecified => "unknown",
                    $(Self::$Kind => $name,)*
                }
            }
        }
    };
}

row_kinds! {
    Mail = "mail", Held = "held", Moved = "moved", Outbox = "outbox",
    Registrations = "registrations", Offers = "offers", Proofs = "proofs", Guardians = "guardians",
    Escrow = "escrow", Tombstones = "tombstones", Used = "used"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{PeerHoldings, PeerState, Pin, Process, WindowStatus};
    use bytes::Bytes;

    fn refused<T>(outcome: Result<T, StorageError>, field: &'static str) {
        assert_eq!(outcome.err(), Some(StorageError::invalid(field)));
    }

    #[test]
    fn a_status_has_known_roles_and_a_known_standing_of_the_clock() {
        assert!(StatusReply::default().checked().is_ok(), "an older storage says nothing of its clock");
        let process = Process { role: 99, ..Process::default() };
        refused(StatusReply { processes: vec![process], ..StatusReply::default() }.checked(), "role");
        for standing in [0, 99] {
            let clock = Some(ClockStatus { standing, ..ClockStatus::default() });
            refused(StatusReply { clock, ..StatusReply::default() }.checked(), "standing");
            refused(TrustClockReply { before: clock }.checked(), "standing");
        }
        refused(TrustClockReply { before: None }.checked(), "before");
    }

    #[test]
    fn keys_and_hashes_have_their_lengths() {
        let (short, whole) = (Bytes::from_static(&[1; 31]), Bytes::from_static(&[1; 32]));
        let windows = vec![WindowStatus { number: 1, fingerprint: short.clone() }];
        refused(KeyStatus { windows, ..KeyStatus::default() }.checked(), "fingerprint");
        refused(KeyStatus { anchor: short.clone(), ..KeyStatus::default() }.checked(), "anchor");
        refused(KeyStatus { commitment: short, ..KeyStatus::default() }.checked(), "commitment");
        let whole = KeyStatus { anchor: whole.clone(), commitment: whole, ..KeyStatus::default() };
        assert!(whole.checked().is_ok() && KeyStatus::default().checked().is_ok());
    }

    #[test]
    fn peers_have_identities_and_known_links() {
        let (identity, short) = (Bytes::from_static(&[1; 32]), Bytes::from_static(&[1; 31]));
        let peer =
            |link, identity: &Bytes| PeerState { link, identity: identity.clone(), ..PeerState::default() };
        let with = |peers| PeersReply { peers, ..PeersReply::default() }.checked();
        assert!(with(vec![peer(Link::Up.into(), &identity), peer(Link::Down.into(), &Bytes::new())]).is_ok());
        refused(with(vec![peer(Link::Up.into(), &short)]), "identity");
        for link in [0, 99] {
            refused(with(vec![peer(link, &identity)]), "link");
        }
        let pins = vec![Pin { identity: identity.clone(), ..Pin::default() }];
        refused(PeersReply { pins, ..PeersReply::default() }.checked(), "noise_key");
        let holdings = vec![PeerHoldings::default()];
        refused(PeersReply { holdings, ..PeersReply::default() }.checked(), "identity");
    }

    #[test]
    fn every_kind_is_shown_and_an_unknown_one_is_none() {
        for (number, kind) in (1..).zip(RowKind::ALL) {
            assert_eq!(i32::from(kind), number);
        }
        for kind in [0, 12, -1] {
            refused(KindUsage { kind, ages: Vec::new() }.checked(), "kind");
        }
    }
}
