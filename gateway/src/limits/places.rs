//! How many of something each client has: connections, tunnels. Only clients that have one are kept.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places by client, whatever a client is known by.
#[derive(Debug)]
pub(crate) struct Places<K: Eq + Hash>(Mutex<HashMap<K, usize>>);

impl<K: Eq + Hash> Default for Places<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// A place for one more of a client, unless it has `most` already.
    pub(crate) fn take(self: &Arc<Self>, client: K, most: usize) -> Option<ClientSlot<K>> {
        let mut taken = self.lock();
        let count = taken.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ClientSlot { client, places: Arc::clone(self) })
    }
}

impl<K: Eq + Hash> Places<K> {
    /// Clients that have a place.
    #[cfg(test)]
    pub(crate) fn clients(&self) -> usize {
        self.lock().len()
    }

    /// It is whole after any panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of a client, until dropped.
#[derive(Debug)]
pub(crate) struct ClientSlot<K: Eq + Hash> {
    client: K,
    places: Arc<Places<K>>,
}

impl<K: Eq + Hash> Drop for ClientSlot<K> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}
