//! The same world with backups: relays are put back in time while the others are not, and ask them what they hold.

use crate::tests::federation::simulation::*;
use std::collections::HashSet;
use std::path::PathBuf;

/// A backup of one relay, and what it had promised by then.
pub(super) struct Backup {
    file: PathBuf,
    promises: HashMap<Key, Promise>,
    /// What lay there then.
    here: HashSet<Key>,
    /// What peers were to be told to forget.
    over: HashSet<Key>,
}

impl World {
    /// Now and then a backup, a restore, or a list of what one relay holds for another.
    pub(super) async fn step_back(&mut self, directory: &std::path::Path) {
        let (one, other) = self.two();
        match self.chance.below(40) {
            0 => self.back_up(one, directory).await,
            1 if self.backups.contains_key(&one) => self.put_back(one).await,
            2..5 => {
                let listing = self.list(one, other).await;
                self.post(one, other, Says::Inventory(listing));
            }
            _ => {}
        }
    }

    async fn list(&self, at: usize, of: usize) -> Listing {
        self.relays[at].list(PEERS[of], None, true).await
    }

    async fn back_up(&mut self, at: usize, directory: &std::path::Path) {
        let file = directory.join(format!("{at}-{}", self.done[4]));
        drop(std::fs::remove_file(&file));
        self.relays[at].sql().execute("VACUUM INTO ?1", [file.to_str().unwrap()]).unwrap();
        let of_this = self.promises.iter().filter(|((relay, _), _)| *relay == at);
        let promises = of_this.map(|((_, key), promise)| (*key, *promise)).collect();
        let (mut here, mut over) = (HashSet::new(), HashSet::new());
        let sql = self.relays[at].sql();
        for key in keys() {
            if self.lies_at(at, key).await {
                here.insert(key);
            }
            let mut waits = sql.prepare("SELECT 1 FROM outbox WHERE id = ?1").unwrap();
            if waits.exists([blob_name(key).blob_id.as_bytes()]).unwrap() {
                over.insert(key);
            }
        }
        self.backups.insert(at, Backup { file, promises, here, over });
    }

    async fn lies_at(&self, at: usize, key: Key) -> bool {
        let page = self.relays[at].page(&[place(key).0]).await.unwrap();
        page.blobs.iter().any(|blob| blob.blob_id == blob_name(key).blob_id.as_bytes()[..])
    }

    /// Whether a client can have a blob at a relay, or at a peer that it names.
    async fn can_be_had_at(&self, at: usize, key: Key) -> bool {
        let name = blob_name(key);
        let page = self.relays[at].page(&[name.mailbox]).await.unwrap();
        let mut found = page.blobs.iter().any(|blob| blob.blob_id == name.blob_id.as_bytes()[..]);
        for moved in page.moved.iter().filter(|moved| moved.blob_id == name.blob_id.as_bytes()[..]) {
            let peer = PEERS.iter().position(|peer| moved.peer == peer.as_bytes()[..]).unwrap();
            found |= self.relays[peer].holds_for(PEERS[at], name).await;
        }
        found
    }

    /// Whether somebody else holds a blob for a relay.
    async fn lies_for(&self, at: usize, key: Key) -> bool {
        for other in (0..3).filter(|other| *other != at) {
            if self.relays[other].holds_for(PEERS[at], blob_name(key)).await {
                return true;
            }
        }
        false
    }

    async fn put_back(&mut self, at: usize) {
        let Some(Backup { file, promises, here, over }) = self.backups.remove(&at) else { return };
        let now = self.now();
        self.letters.retain(|letter| letter.from != at && letter.to != at);
        for key in keys() {
            let before = self.promises.get(&(at, key)).copied();
            let is_as_then = before == promises.get(&key).copied();
            let still_true = match before {
                None => true,
                // What was over by then and sent anew days later is over again: no content of a client's is sent twice.
                Some(Promise::Kept(_)) => {
                    (is_as_then && here.contains(&key))
                        || (self.lies_for(at, key).await && !over.contains(&key))
                }
                Some(Promise::Acked(_) | Promise::Either(_)) => is_as_then,
            };
            if !still_true {
                self.promises.insert((at, key), Promise::Either(now));
            }
        }
        let relay = self.relays.remove(at);
        self.relays.insert(at, relay.put_back(&file, VARIABLES).await);
        self.done[4] += 1;
        for other in (0..3).filter(|other| *other != at) {
            for (holder, origin) in [(other, at), (at, other)] {
                let listing = self.list(holder, origin).await;
                let settled = self.relays[origin].reconcile(PEERS[holder], None, true, listing).await;
                self.done[5] += u64::from(settled.unwrap().claimed);
            }
            self.release(other, at).await;
        }
        // Until now whatever was signed may have been used.
        self.wait(61);
    }

    /// What a relay's restore took from another relay, or brought back to it after its memory, is nobody's promise.
    async fn release(&mut self, other: usize, restored: usize) {
        let now = self.now();
        for key in keys() {
            let is_lost = !self.can_be_had_at(other, key).await;
            let is_back = self.relays[restored].holds_for(PEERS[other], blob_name(key)).await;
            let loose = match self.promises.get(&(other, key)) {
                Some(Promise::Kept(_)) => is_lost,
                Some(Promise::Acked(since)) => is_back && now >= since.plus(MEMORY),
                Some(Promise::Either(_)) | None => false,
            };
            if loose {
                self.promises.insert((other, key), Promise::Either(now));
            }
        }
    }
}

impl Relay {
    /// Starts anew from a backup.
    async fn put_back(self, backup: &std::path::Path, variables: &[(&str, &str)]) -> Self {
        let Self { mailbox, offload, vault, sweep, store, clock, ended, directory, .. } = self;
        store.writer.stop();
        ended.await.unwrap().unwrap();
        drop((mailbox, offload, vault, sweep, store));
        let vars = Vars::from_pairs([("RELAY_DATA_DIR", directory.path().to_str().unwrap())]);
        crate::offline::restore(&vars, backup, true, clock.clock().now()).unwrap();
        Self::open(directory, clock, variables)
    }
}

#[tokio::test]
async fn whoever_is_put_back_to_a_backup_serves_every_unacked_blob_that_a_peer_holds_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut done = [0; 6];
    for seed in RESTORING {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step().await;
            world.step_back(directory.path()).await;
            world.check().await;
            if step % 400 == 399 {
                world.settle().await;
            }
        }
        world.settle().await;
        for (all, one) in done.iter_mut().zip(world.done) {
            *all += one;
        }
    }
    assert!(done[4] > 30 && done[5] > 5, "{done:?}");
}

/// Runs.
const RESTORING: [u64; 8] = [10, 11, 12, 13, 14, 15, 16, 17];
