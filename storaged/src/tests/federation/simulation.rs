//! Three relays that are peers of one another, and a network that loses, delays and reorders what they say, while
//! clients send, ack and purge, clocks move on and processes start anew.
//!
//! Throughout: what a relay said it has, and nobody acked or purged, can be had there, or at the peer that it names
//! and that does hold it; what was acked or purged does not come back. In the end: what was acked or purged is gone at the
//! peers too, and all sums are right.

mod judge;
mod restoring;

use crate::tests::federation::*;
use std::collections::HashMap;

/// Where a blob goes, and what it is: a mailbox and a content, each by number.
type Key = (u8, u8);

const PEERS: [PeerId; 3] = [A, B, C];
const MAILBOXES: u8 = 4;
const CONTENTS: u8 = 4;
const TTL: u64 = 5 * 86_400;
const VARIABLES: &[(&str, &str)] = &[("RELAY_BLOB_TTL_SECS", "432000")];
/// For how long an ack or a purge is remembered.
const MEMORY: u64 = 3 * 86_400;
/// The longest way, in seconds.
const DELAY: u64 = 600;

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn key(&mut self) -> Key {
        let mut number = |end: u8| u8::try_from(self.below(end.into())).unwrap();
        (number(MAILBOXES), number(CONTENTS))
    }
}

/// What a relay owes its clients about a blob, since when.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    Kept(UnixSeconds),
    /// It was acked or purged.
    Acked(UnixSeconds),
    /// A client acked or purged it at the peer that held it, or its time is just over: both may be.
    Either(UnixSeconds),
}

/// Something on its way between the federations of two relays.
#[derive(Debug, Clone)]
struct Letter {
    from: usize,
    to: usize,
    sent: UnixSeconds,
    says: Says,
}

#[derive(Debug, Clone)]
enum Says {
    Offload {
        home: bool,
        blobs: Vec<TransferBlob>,
    },
    OffloadAck {
        home: bool,
        offered: UnixSeconds,
        said: Vec<(BlobName, OfferResult)>,
    },
    Forget(Vec<(u64, BlobName)>),
    ForgetAck(Vec<u64>),
    Recall(Vec<BlobName>),
    RecallAck(Vec<BlobName>),
    /// What the sender holds for the receiver.
    Inventory(Listing),
}

impl Says {
    const fn is_answer(&self) -> bool {
        matches!(self, Self::OffloadAck { .. } | Self::ForgetAck(_) | Self::RecallAck(_))
    }
}

struct World {
    relays: Vec<Relay>,
    letters: Vec<Letter>,
    promises: HashMap<(usize, Key), Promise>,
    chance: Chance,
    purges: u8,
    /// How many blobs moved, came home, were told and were recalled in vain, how often a relay was put back and how many
    /// blobs it claimed then: a run that does nothing proves nothing.
    done: [u64; 6],
    /// The last backup of each relay.
    backups: HashMap<usize, restoring::Backup>,
}

fn owner() -> SigningKey {
    key(1)
}

fn place((to, content): Key) -> (MailboxHash, Vec<u8>) {
    // The first mailbox is one that can be purged.
    let to = if to == 0 { MailboxHash::of_public_key(&public(&owner())) } else { mailbox(to) };
    (to, vec![content; 20])
}

fn blob_name(key: Key) -> BlobName {
    let (to, content) = place(key);
    name(to, &content)
}

fn keys() -> impl Iterator<Item = Key> {
    (0..MAILBOXES).flat_map(|to| (0..CONTENTS).map(move |content| (to, content)))
}

impl World {
    fn new(seed: u64) -> Self {
        let relays = PEERS.iter().map(|_| Relay::start(VARIABLES)).collect();
        let chance = Chance(seed);
        Self {
            relays,
            letters: Vec::new(),
            promises: HashMap::new(),
            chance,
            purges: 0,
            done: [0; 6],
            backups: HashMap::new(),
        }
    }

    fn now(&self) -> UnixSeconds {
        self.relays[0].clock.clock().now()
    }

    /// Two different relays.
    fn two(&mut self) -> (usize, usize) {
        let one = self.chance.below(3);
        (one, (one + 1 + self.chance.below(2)) % 3)
    }

    fn post(&mut self, from: usize, to: usize, says: Says) {
        let is_empty = match &says {
            Says::Forget(entries) => entries.is_empty(),
            Says::Recall(names) | Says::RecallAck(names) => names.is_empty(),
            _ => false,
        };
        if is_empty {
            return;
        }
        self.letters.push(Letter { from, to, sent: self.now(), says });
    }

    async fn step(&mut self) {
        let (one, other) = self.two();
        let key = self.chance.key();
        match self.chance.below(100) {
            0..14 => self.send(one, key).await,
            14..18 => self.ack(one, key).await,
            18 => self.purge(one).await,
            19..41 => self.offer(one, other).await,
            41..46 => {
                let entries = self.relays[one].outbox(PEERS[other], 10).await;
                self.post(one, other, Says::Forget(entries));
            }
            46..50 => self.recall(one, other).await,
            50..87 => self.deliver().await,
            87 => self.letters.clear(),
            88..94 => {
                let seconds = [1, 5, 20, 61, 300, 3700, 8000, 90_000][self.chance.below(8)];
                // A whole day is rare.
                let is_cut = seconds > 4000 && self.chance.below(3) > 0;
                self.wait(if is_cut { 10 } else { seconds });
            }
            94..96 => self.relays[one].sweep.sweep().await.unwrap(),
            96..98 => {
                let relay = self.relays.remove(one);
                self.relays.insert(one, relay.restart(VARIABLES).await);
            }
            _ => {
                // A new life of its federation knows nothing of what the old one asked.
                self.letters.retain(|letter| letter.to != one || !letter.says.is_answer());
                self.relays[one].resume().await;
            }
        }
    }

    fn wait(&self, seconds: u64) {
        for relay in &self.relays {
            relay.clock.advance(Duration::from_secs(seconds));
        }
    }

    async fn send(&mut self, at: usize, key: Key) {
        let (to, content) = place(key);
        // Some have an origin hint, and always the same ones.
        let make = if content[0] % 2 == 0 { blob } else { hinted };
        self.relays[at].send_blob(make(to, &content)).await.unwrap();
        let now = self.now();
        // What is repeated within the last hour of its time ends with it.
        let last_hour = |since: UnixSeconds| now <= since.plus(TTL + 2 * 3600);
        let promise = match self.promises.get(&(at, key)) {
            Some(known @ Promise::Kept(since)) if now < since.plus(TTL) => *known,
            Some(Promise::Kept(since) | Promise::Either(since)) if last_hour(*since) => Promise::Either(now),
            Some(known @ Promise::Acked(since)) if now < since.plus(MEMORY) => *known,
            Some(Promise::Acked(since)) if now < since.plus(MEMORY + 3600) => Promise::Either(now),
            _ => Promise::Kept(now),
        };
        self.promises.insert((at, key), promise);
    }

    /// A client deletes a blob at a relay that may hold it for another.
    async fn loosen(&mut self, at: usize, key: Key) {
        for other in (0..3).filter(|other| *other != at) {
            let kept = matches!(self.promises.get(&(other, key)), Some(Promise::Kept(_)));
            if kept && self.relays[at].holds_for(PEERS[other], blob_name(key)).await {
                self.promises.insert((other, key), Promise::Either(self.now()));
            }
        }
    }

    async fn ack(&mut self, at: usize, key: Key) {
        self.loosen(at, key).await;
        let BlobName { mailbox, blob_id } = blob_name(key);
        let was_known = self.knows(at, key);
        let removed = self.relays[at].ack(mailbox, blob_id).await.unwrap();
        let now = self.now();
        if let Some(Promise::Kept(since)) = self.promises.get(&(at, key)) {
            assert!(removed || now >= since.plus(TTL), "a kept blob can be acked");
        }
        if removed {
            self.promises.insert((at, key), Promise::Acked(now));
        } else if was_known {
            // Its time was over: nothing was there for the client, and the ack is remembered all the same.
            self.promises.insert((at, key), Promise::Either(now));
        }
    }

    /// Whether a relay has a blob or a hint to it, expired or not.
    fn knows(&self, at: usize, key: Key) -> bool {
        let known =
            "SELECT EXISTS (SELECT 1 FROM blobs WHERE id = ?1) OR EXISTS (SELECT 1 FROM hints WHERE id = ?1)
                    OR EXISTS (SELECT 1 FROM claims WHERE id = ?1)";
        let id = blob_name(key).blob_id;
        self.relays[at].sql().query_row(known, [id.as_bytes()], |row| row.get(0)).unwrap()
    }

    async fn purge(&mut self, at: usize) {
        for content in 0..CONTENTS {
            self.loosen(at, (0, content)).await;
        }
        let known: Vec<u8> = (0..CONTENTS).filter(|content| self.knows(at, (0, *content))).collect();
        self.purges += 1;
        let purge = self.relays[at].purge_request(&owner(), self.purges);
        self.relays[at].purge(purge).await.unwrap();
        let now = self.now();
        for content in known {
            self.promises.insert((at, (0, content)), Promise::Acked(now));
        }
    }

    async fn offer(&mut self, from: usize, to: usize) {
        let home = self.chance.below(4) == 0;
        let most = 1 + u32::try_from(self.chance.below(4)).unwrap();
        let blobs = self.relays[from].lease(PEERS[to], home, most).await;
        if !blobs.is_empty() {
            self.post(from, to, Says::Offload { home, blobs });
        }
    }

    async fn recall(&mut self, from: usize, to: usize) {
        let mailboxes: Vec<_> = (0..MAILBOXES).map(|to| place((to, 0)).0).collect();
        let page = self.relays[from].page(&mailboxes).await.unwrap();
        let moved = page.moved.iter().filter(|blob| blob.peer == PEERS[to].as_bytes()[..]);
        let names = moved.map(|blob| BlobName {
            mailbox: mailboxes[blob.mailbox_index as usize],
            blob_id: BlobId::try_from(&blob.blob_id[..]).unwrap(),
        });
        let names = names.collect();
        self.post(from, to, Says::Recall(names));
    }

    /// A relay hears what another wants forgotten. What lies there for it was acked or purged there.
    async fn hear(&mut self, from: usize, to: usize, names: Vec<BlobName>) {
        let now = self.now();
        let mut gone = Vec::new();
        for key in keys().filter(|key| names.contains(&blob_name(*key))) {
            let id = blob_name(key).blob_id;
            let lies_there = "SELECT EXISTS (SELECT 1 FROM hints WHERE id = ?1 AND peer = ?2)";
            let ids = [id.as_bytes().as_slice(), PEERS[from].as_bytes()];
            if self.relays[to].sql().query_row(lies_there, ids, |row| row.get::<_, bool>(0)).unwrap() {
                gone.push((to, key));
            }
        }
        self.relays[to].forget(PEERS[from], names).await;
        for key in gone {
            let former = self.promises.insert(key, Promise::Acked(now));
            let was_kept = matches!(former, Some(Promise::Kept(since)) if now < since.plus(TTL));
            assert!(!was_kept, "{key:?} was kept, and nobody acked it");
        }
    }

    /// Some letter arrives, in no order; one in ten is lost instead.
    async fn deliver(&mut self) {
        if self.letters.is_empty() {
            return;
        }
        let which = self.chance.below(self.letters.len());
        let Letter { from, to, sent, says } = self.letters.swap_remove(which);
        let now = self.now();
        if self.chance.below(10) == 0 || now > sent.plus(DELAY) {
            return;
        }
        let (relay, sender) = (&self.relays[to], PEERS[from]);
        match says {
            Says::Offload { home, blobs } => {
                let verdicts = relay.accept(sender, home, blobs.clone()).await;
                let said = blobs.iter().map(TransferBlob::name).zip(verdicts).collect();
                self.post(to, from, Says::OffloadAck { home, offered: sent, said });
            }
            Says::OffloadAck { home, offered, said } => {
                // Federation waits no longer than the lease lasts.
                if now < offered.plus(LEASE_SECS.into()) {
                    self.done[usize::from(home)] += u64::from(relay.settle_each(sender, home, said).await);
                }
            }
            Says::Forget(entries) => {
                self.hear(from, to, entries.iter().map(|(_, name)| *name).collect()).await;
                self.post(to, from, Says::ForgetAck(entries.iter().map(|(number, _)| *number).collect()));
            }
            Says::ForgetAck(numbers) => {
                self.done[2] += numbers.len() as u64;
                relay.delivered(numbers).await;
            }
            Says::Recall(names) => {
                let (_, missing) = relay.find_all(sender, names).await;
                self.post(to, from, Says::RecallAck(missing));
            }
            Says::RecallAck(names) => {
                self.done[3] += u64::from(relay.lose(sender, names).await);
            }
            Says::Inventory(listing) => {
                relay.reconcile(sender, None, true, listing).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn whatever_happens_no_blob_is_lost_and_none_comes_back() {
    let mut done = [0; 6];
    for seed in SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step().await;
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
    assert!(done[..4].iter().all(|times| *times > 3), "{done:?}");
}

/// Runs. The last one met a peer that let go of what it had just taken again.
const SEEDS: [u64; 7] = [0, 1, 2, 3, 4, 5, 123];
/// Steps of each.
const STEPS: u32 = 800;
