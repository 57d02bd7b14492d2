//! What must be true throughout, and what in the end.

use crate::tests::federation::simulation::*;

impl World {
    /// Holds every relay to its word.
    pub(super) async fn check(&self) {
        let mailboxes: Vec<_> = (0..MAILBOXES).map(|to| place((to, 0)).0).collect();
        let now = self.now();
        for (at, relay) in self.relays.iter().enumerate() {
            let page = relay.page(&mailboxes).await.unwrap();
            for key in keys() {
                let Some(promise) = self.promises.get(&(at, key)).copied() else { continue };
                let name = blob_name(key);
                let here = page.blobs.iter().any(|blob| blob.blob_id == name.blob_id.as_bytes()[..]);
                let moved: Vec<_> =
                    page.moved.iter().filter(|blob| blob.blob_id == name.blob_id.as_bytes()[..]).collect();
                match promise {
                    Promise::Kept(since) if now < since.plus(TTL) => {
                        let mut there = false;
                        for blob in &moved {
                            let peer =
                                PEERS.iter().position(|peer| blob.peer == peer.as_bytes()[..]).unwrap();
                            there |= self.relays[peer].holds_for(PEERS[at], name).await;
                        }
                        assert!(here || there, "{key:?} is lost to relay {at}");
                    }
                    Promise::Acked(since) if now < since.plus(MEMORY) => {
                        assert!(!here && moved.is_empty(), "{key:?} came back to relay {at}");
                    }
                    _ => {}
                }
            }
        }
    }

    /// Lets everything that is to be told arrive, and looks whether it was heeded.
    pub(super) async fn settle(&mut self) {
        self.wait(DELAY);
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            loop {
                let entries = self.relays[from].outbox(PEERS[to], 100).await;
                if entries.is_empty() {
                    break;
                }
                let (numbers, names) = entries.into_iter().unzip();
                self.hear(from, to, names).await;
                self.relays[from].delivered(numbers).await;
            }
        }
        self.check().await;
        for (at, relay) in self.relays.iter().enumerate() {
            relay.recount();
            assert_eq!(relay.store.gauges.of(Total::OUTBOX), 0);
            for key in keys() {
                let gone = matches!(self.promises.get(&(at, key)), Some(Promise::Acked(_)));
                for other in (0..3).filter(|other| gone && *other != at) {
                    let held = self.relays[other].holds_for(PEERS[at], blob_name(key)).await;
                    assert!(!held, "relay {other} still holds {key:?} for relay {at}");
                }
            }
        }
    }
}
