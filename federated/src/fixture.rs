//! For tests: a store behind a real socket that remembers what it was asked, and peers that answer what a test wants.

use crate::context::Context;
use crate::metrics::Metrics;
use crate::registry::tests::{hello, id};
use crate::registry::{Command, Joined, PeerRegistry};
use crate::session::Answer;
use bytes::Bytes;
use relay_daemon::{Clock, Shutdown};
use relay_proto::client::StorageClient;
use relay_proto::messages::offload_server::Offload;
use relay_proto::messages::{
    self, AcceptReply, AcceptRequest, BlobNames, CapacityReply, CapacityRequest, CarriedBlobs,
    DeliveredReply, DeliveredRequest, ForgetReply, Identity, IdentityRequest, IntroduceReply, Introduction,
    LeaseRequest, ListRequest, Listing, MissingReply, Orders, OutboxEntry, OutboxReply, OutboxRequest,
    PeerReport, PinsReply, PinsRequest, ReadReply, ReconcileReply, ReconcileRequest, ResumeReply,
    ResumeRequest, SettleReply, SettleRequest,
};
use relay_proto::peer::Hello;
use relay_proto::peer_messages::message::Body;
use relay_proto::server::Services;
use relay_proto::socket::{AllowedUsers, SocketRole, bind};
use relay_proto::transfer::{NameSum, OfferResult, TransferBlob, blob_names};
use relay_proto::{BlobId, Ciphertext, MailboxHash, PeerId, StorageError, UnixSeconds};
use std::sync::{Arc, Mutex, MutexGuard};
use tempfile::TempDir;
use tonic::{Request, Response, Status};

/// What the store has and was asked.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) capacity: CapacityReply,
    /// To be leased: its own mail, and what it holds for peers.
    pub(crate) own: Vec<TransferBlob>,
    pub(crate) held: Vec<TransferBlob>,
    pub(crate) leases: Vec<LeaseRequest>,
    /// A peer for whom there is nothing to be leased.
    pub(crate) nothing_for: Option<PeerId>,
    pub(crate) settled: Vec<SettleRequest>,
    pub(crate) outbox: Vec<OutboxEntry>,
    pub(crate) missing: Vec<BlobNames>,
    pub(crate) accepted: Vec<AcceptRequest>,
    pub(crate) forgotten: Vec<BlobNames>,
    /// What peers listed, and whether names are needed of parts without.
    pub(crate) reconciled: Vec<ReconcileRequest>,
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

    fn asked(&self) -> Result<MutexGuard<'_, Inside>, StorageError> {
        let inside = self.inside();
        if inside.is_away { Err(StorageError::Internal) } else { Ok(inside) }
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Offload for Store {
    async fn capacity(&self, _: Request<CapacityRequest>) -> Reply<CapacityReply> {
        Ok(Response::new(self.inside().capacity))
    }

    async fn identity(&self, _: Request<IdentityRequest>) -> Reply<Identity> {
        let key = Bytes::from_static(&[1; 32]);
        Ok(Response::new(Identity { noise_secret: key.clone(), signing_seed: key }))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Reply<ResumeReply> {
        self.asked()?.resumed += 1;
        Ok(Response::new(ResumeReply {}))
    }

    async fn tell(&self, _: Request<PeerReport>) -> Reply<Orders> {
        Ok(Response::new(Orders::default()))
    }

    async fn pins(&self, _: Request<PinsRequest>) -> Reply<PinsReply> {
        Ok(Response::new(PinsReply::default()))
    }

    async fn introduce(&self, _: Request<Introduction>) -> Reply<IntroduceReply> {
        Ok(Response::new(IntroduceReply {}))
    }

    async fn lease(&self, request: Request<LeaseRequest>) -> Reply<CarriedBlobs> {
        let lease = request.into_inner();
        let mut inside = self.asked()?;
        inside.leases.push(lease.clone());
        if inside.nothing_for.is_some_and(|peer| lease.peer == peer.as_bytes()[..]) {
            return Ok(Response::new(CarriedBlobs::default()));
        }
        let from = if lease.home { &mut inside.held } else { &mut inside.own };
        let count = from.len().min(lease.max_blobs as usize).min(2);
        let blobs = from.drain(..count).map(messages::CarriedBlob::from).collect();
        Ok(Response::new(CarriedBlobs { blobs }))
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Reply<SettleReply> {
        let settle = request.into_inner();
        let accepted =
            settle.settlements.iter().filter(|said| said.verdict() == messages::OfferResult::Accepted);
        let moved = accepted.count() as u32;
        self.asked()?.settled.push(settle);
        Ok(Response::new(SettleReply { moved }))
    }

    async fn outbox(&self, request: Request<OutboxRequest>) -> Reply<OutboxReply> {
        let limit = request.into_inner().limit as usize;
        let entries = self.asked()?.outbox.iter().take(limit).cloned().collect();
        Ok(Response::new(OutboxReply { entries }))
    }

    async fn delivered(&self, request: Request<DeliveredRequest>) -> Reply<DeliveredReply> {
        let DeliveredRequest { numbers } = request.into_inner();
        self.asked()?.outbox.retain(|entry| !numbers.contains(&entry.number));
        Ok(Response::new(DeliveredReply {}))
    }

    async fn missing(&self, request: Request<BlobNames>) -> Reply<MissingReply> {
        self.asked()?.missing.push(request.into_inner());
        Ok(Response::new(MissingReply { forgotten: 0 }))
    }

    async fn accept(&self, request: Request<AcceptRequest>) -> Reply<AcceptReply> {
        let accept = request.into_inner();
        let verdicts = vec![OfferResult::Accepted.into(); accept.blobs.len()];
        self.asked()?.accepted.push(accept);
        Ok(Response::new(AcceptReply { verdicts }))
    }

    async fn read(&self, request: Request<BlobNames>) -> Reply<ReadReply> {
        let names = blob_names(request.into_inner().names)?;
        let inside = self.asked()?;
        let mut found = ReadReply::default();
        for name in names {
            match inside.held.iter().find(|blob| blob.name() == name) {
                Some(blob) => found.blobs.push(blob.clone().into()),
                None => found.missing.push(name.into()),
            }
        }
        Ok(Response::new(found))
    }

    async fn forget(&self, request: Request<BlobNames>) -> Reply<ForgetReply> {
        self.asked()?.forgotten.push(request.into_inner());
        Ok(Response::new(ForgetReply { deleted: 0 }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Reply<Listing> {
        let mut sum = NameSum::default();
        self.asked()?.held.iter().for_each(|blob| sum.add(&blob.blob_id));
        Ok(Response::new(Listing { count: sum.count, ids: sum.ids(), ..Listing::default() }))
    }

    async fn reconcile(&self, request: Request<ReconcileRequest>) -> Reply<ReconcileReply> {
        let part = request.into_inner();
        let mut inside = self.asked()?;
        let needs_names = inside.needs_names && !part.names;
        inside.reconciled.push(part);
        Ok(Response::new(ReconcileReply { needs_names, ..ReconcileReply::default() }))
    }
}

/// A store, a registry and what they count.
pub(crate) struct Scene {
    pub(crate) store: Arc<Store>,
    pub(crate) storage: StorageClient,
    pub(crate) registry: Arc<PeerRegistry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    _directory: TempDir,
}

impl Scene {
    pub(crate) fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store(Mutex::new(Inside {
            capacity: CapacityReply { live_bytes: 0, ceiling_bytes: 1000, durable: true, foreign_bytes: 0 },
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
        let path = SocketRole::Federation.storage_socket(directory.path());
        let listener = bind(&path).unwrap();
        let serving = Services::default().offload(&store).serve(
            listener,
            AllowedUsers::new(Vec::new()),
            shutdown.begun(),
        );
        tokio::spawn(serving);
        let metrics = Arc::new(Metrics::new().unwrap().0);
        let registry = PeerRegistry::new(Vec::new(), 1_000_000, Clock::system(), Arc::clone(&metrics));
        Self {
            store,
            storage: StorageClient::new(path),
            registry: Arc::new(registry),
            metrics,
            shutdown,
            _directory: directory,
        }
    }

    /// What parts work with that give a peer so much time.
    pub(crate) fn context(&self, patience: std::time::Duration) -> Arc<Context> {
        let (storage, registry) = (self.storage.clone(), Arc::clone(&self.registry));
        let (metrics, clock) = (Arc::clone(&self.metrics), Clock::system());
        Arc::new(Context { storage, registry, metrics, clock, patience })
    }

    /// A peer with a connection, whose questions a test answers; `None` leaves one unanswered.
    pub(crate) fn peer(
        &self,
        number: u8,
        mut answer: impl FnMut(Body) -> Option<Body> + Send + 'static,
    ) -> Joined {
        let (joined, mut commands) = self.registry.join(&hello(number)).unwrap();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(command) = commands.recv().await {
                let Command::Ask(question, _, reply) = command else { continue };
                match answer(*question) {
                    Some(answer) => drop(reply.send(Answer::read(answer).unwrap())),
                    None => unanswered.push(reply),
                }
            }
        });
        joined
    }

    /// A peer of a version that lists nothing.
    pub(crate) fn older_peer(&self, number: u8) -> Joined {
        self.registry.join(&Hello { lists: false, ..hello(number) }).unwrap().0
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
pub(crate) fn blob(number: u8) -> TransferBlob {
    let mailbox = MailboxHash::from_bytes([number; 32]);
    let content = vec![number; 10];
    TransferBlob {
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
