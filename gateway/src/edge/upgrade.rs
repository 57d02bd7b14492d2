//! How a connection stops being HTTP and becomes a tunnel: a request that asks for an upgrade carries an [`UpgradeHandle`]
//! to its handler, which puts the tunnel in and replies 101.
//!
//! Against tunnels that outlive what bounds connections: with hyper's `OnUpgrade` alone the handler would start a task of its
//! own, and the connection's place among all connections and among those of its address would be free again.

use crate::peers::tunnel::Tunnel;
use hyper::http::Extensions;
use hyper::upgrade::OnUpgrade;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The way out of HTTP, for one request.
#[derive(Clone)]
pub(crate) struct UpgradeHandle {
    upgrade: OnUpgrade,
    slot: UpgradeSlot,
}

impl UpgradeHandle {
    /// Gives the connection to a tunnel, as soon as the reply has gone out, which is to be 101.
    pub(crate) fn take(self, tunnel: Tunnel) {
        let Self { upgrade, slot } = self;
        *slot.lock() = Some((upgrade, tunnel));
    }
}

/// Where a connection learns that it is to become a tunnel.
#[derive(Clone, Default)]
pub(super) struct UpgradeSlot(Arc<Mutex<Option<(OnUpgrade, Tunnel)>>>);

impl UpgradeSlot {
    /// Puts a handle in the place of what a request carries when it asks for an upgrade.
    pub(super) fn show(&self, extensions: &mut Extensions) {
        if let Some(upgrade) = extensions.remove::<OnUpgrade>() {
            extensions.insert(UpgradeHandle { upgrade, slot: self.clone() });
        }
    }

    /// The tunnel, if a handler has put one in.
    pub(super) fn taken(&self) -> Option<(OnUpgrade, Tunnel)> {
        self.lock().take()
    }

    /// Nothing panics while it is locked.
    fn lock(&self) -> MutexGuard<'_, Option<(OnUpgrade, Tunnel)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
