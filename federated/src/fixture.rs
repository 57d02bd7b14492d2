//! For tests: a store behind a real socket that remembers what it was asked, and peers that answer what a test wants.

use crate::metrics::Metrics;
use crate::roster::tests::{hello, id};
use crate::roster::{Command, Joined, Roster};
use bytes::Bytes;
use relay_daemon::{Clock, Shutdown};
use relay_proto::admin::Capacity;
use relay_proto::client::StorageClient;
use relay_proto::federation::{
    Accept, BlobNames, CarriedBlob, Found, Identity, Introduction, Lease, Orders, OutboxEntry, PeerState,
    Pin, Settle, Verdict,
};
use relay_proto::inventory::{List, Listing, Reconcile, Reconciled};
use relay_proto::peer::{Body, Hello};
use relay_proto::server::{OffloadHandler, Services};
use relay_proto::socket::{AllowedUsers, Door, bind};
use relay_proto::{BlobId, Ciphertext, MailboxHash, NoiseSecret, PeerId, PeerSeed, Refusal, UnixSeconds};
use std::sync::{Arc, Mutex, MutexGuard};
use tempfile::TempDir;

/// What the store has and was asked.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) capacity: Capacity,
    /// To be leased: its own mail, and what it holds for peers.
    pub(crate) own: Vec<CarriedBlob>,
    pub(crate) held: Vec<CarriedBlob>,
    pub(crate) leases: Vec<Lease>,
    /// A peer for whom there is nothing to be leased.
    pub(crate) nothing_for: Option<PeerId>,
    pub(crate) settled: Vec<Settle>,
    pub(crate) outbox: Vec<OutboxEntry>,
    pub(crate) missing: Vec<BlobNames>,
    pub(crate) accepted: Vec<Accept>,
    pub(crate) forgotten: Vec<BlobNames>,
    /// What peers listed, and whether names are needed of parts without.
    pub(crate) reconciled: Vec<Reconcile>,
    pub(crate) needs_names: bool,
    /// How often all leases were ended.
    pub(crate) resumed: usize,
    /// Whether it says no to everything.
    pub(crate) is_away: bool,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store(Mutex<Inside>);

impl Store {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    fn asked(&self) -> Result<MutexGuard<'_, Inside>, Refusal> {
        let inside = self.inside();
        if inside.is_away { Err(Refusal::Internal) } else { Ok(inside) }
    }
}

impl OffloadHandler for Store {
    fn capacity(&self) -> Capacity {
        self.inside().capacity
    }

    async fn identity(&self) -> Result<Identity, Refusal> {
        Ok(Identity {
            noise_secret: NoiseSecret::from_bytes([1; 32]),
            signing_seed: PeerSeed::from_bytes([1; 32]),
        })
    }

    async fn resume(&self) -> Result<(), Refusal> {
        self.asked()?.resumed += 1;
        Ok(())
    }

    fn tell(&self, _: Vec<PeerState>) -> Orders {
        Orders::default()
    }

    async fn pins(&self) -> Result<Vec<Pin>, Refusal> {
        Ok(Vec::new())
    }

    async fn introduce(&self, _: Introduction) -> Result<(), Refusal> {
        Ok(())
    }

    async fn lease(&self, lease: Lease) -> Result<Vec<CarriedBlob>, Refusal> {
        let mut inside = self.asked()?;
        inside.leases.push(lease);
        if inside.nothing_for == Some(lease.peer) {
            return Ok(Vec::new());
        }
        let from = if lease.home { &mut inside.held } else { &mut inside.own };
        let count = from.len().min(lease.max_blobs as usize).min(2);
        Ok(from.drain(..count).collect())
    }

    async fn settle(&self, settle: Settle) -> Result<u32, Refusal> {
        let mut inside = self.asked()?;
        let moved = settle.settlements.iter().filter(|(_, verdict)| *verdict == Verdict::Accepted).count();
        inside.settled.push(settle);
        Ok(moved as u32)
    }

    async fn outbox(&self, _: PeerId, limit: u32) -> Result<Vec<OutboxEntry>, Refusal> {
        Ok(self.asked()?.outbox.iter().take(limit as usize).copied().collect())
    }

    async fn delivered(&self, numbers: Vec<u64>) -> Result<(), Refusal> {
        self.asked()?.outbox.retain(|entry| !numbers.contains(&entry.number));
        Ok(())
    }

    async fn missing(&self, names: BlobNames) -> Result<u32, Refusal> {
        self.asked()?.missing.push(names);
        Ok(0)
    }

    async fn accept(&self, accept: Accept) -> Result<Vec<Verdict>, Refusal> {
        let verdicts = vec![Verdict::Accepted; accept.blobs.len()];
        self.asked()?.accepted.push(accept);
        Ok(verdicts)
    }

    async fn read(&self, names: BlobNames) -> Result<Found, Refusal> {
        let inside = self.asked()?;
        let (blobs, missing) = names.names.iter().fold((Vec::new(), Vec::new()), |mut found, name| {
            match inside.held.iter().find(|blob| blob.name() == *name) {
                Some(blob) => found.0.push(blob.clone()),
                None => found.1.push(*name),
            }
            found
        });
        Ok(Found { blobs, missing })
    }

    async fn forget(&self, names: BlobNames) -> Result<u32, Refusal> {
        self.asked()?.forgotten.push(names);
        Ok(0)
    }

    async fn list(&self, _: List) -> Result<Listing, Refusal> {
        let mut listing = Listing::default();
        self.asked()?.held.iter().for_each(|blob| listing.sum.add(&blob.blob_id));
        Ok(listing)
    }

    async fn reconcile(&self, part: Reconcile) -> Result<Reconciled, Refusal> {
        let mut inside = self.asked()?;
        let needs_names = inside.needs_names && !part.names;
        inside.reconciled.push(part);
        Ok(Reconciled { needs_names, ..Reconciled::default() })
    }
}

/// A store, a roster and what they count.
pub(crate) struct Scene {
    pub(crate) store: Arc<Store>,
    pub(crate) storage: StorageClient,
    pub(crate) roster: Arc<Roster>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    _directory: TempDir,
}

impl Scene {
    pub(crate) fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store(Mutex::new(Inside {
            capacity: Capacity { live_bytes: 0, ceiling_bytes: 1000, durable: true, foreign_bytes: 0 },
            own: Vec::new(),
            held: Vec::new(),
            leases: Vec::new(),
            nothing_for: None,
            settled: Vec::new(),
            outbox: Vec::new(),
            missing: Vec::new(),
            accepted: Vec::new(),
            forgotten: Vec::new(),
            reconciled: Vec::new(),
            needs_names: false,
            resumed: 0,
            is_away: false,
        })));
        let shutdown = Shutdown::default();
        let path = Door::Federation.storage_socket(directory.path());
        let listener = bind(&path).unwrap();
        let serving = Services::default().offload(&store).serve(
            listener,
            AllowedUsers::new(Vec::new()),
            shutdown.begun(),
        );
        tokio::spawn(serving);
        let metrics = Arc::new(Metrics::new().unwrap());
        let roster = Roster::new(Vec::new(), 1_000_000, Clock::system(), Arc::clone(&metrics));
        Self {
            store,
            storage: StorageClient::new(path),
            roster: Arc::new(roster),
            metrics,
            shutdown,
            _directory: directory,
        }
    }

    /// A peer with a connection, whose questions a test answers; `None` leaves one unanswered.
    pub(crate) fn peer(
        &self,
        number: u8,
        mut answer: impl FnMut(Body) -> Option<Body> + Send + 'static,
    ) -> Joined {
        let (joined, mut commands) = self.roster.join(&hello(number)).unwrap();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(command) = commands.recv().await {
                let Command::Ask(question, _, reply) = command else { continue };
                match answer(*question) {
                    Some(answer) => drop(reply.send(answer)),
                    None => unanswered.push(reply),
                }
            }
        });
        joined
    }

    /// A peer of a version that lists nothing.
    pub(crate) fn older_peer(&self, number: u8) -> Joined {
        self.roster.join(&Hello { lists: false, ..hello(number) }).unwrap().0
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Inside) -> bool) {
        let waiting = async {
            while !holds(&self.store.inside()) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(waited.is_ok(), "waited in vain for {what}");
    }
}

/// A sound blob.
pub(crate) fn blob(number: u8) -> CarriedBlob {
    let mailbox = MailboxHash::from_bytes([number; 32]);
    let content = vec![number; 10];
    CarriedBlob {
        mailbox,
        blob_id: BlobId::derive(&mailbox, &content),
        ciphertext: Ciphertext::try_from(Bytes::from(content)).unwrap(),
        origin_hint: None,
        created_at: UnixSeconds::new(3600),
        expires_at: UnixSeconds::new(7200),
        owner: None,
    }
}

pub(crate) fn peer_id(number: u8) -> PeerId {
    id(number)
}
