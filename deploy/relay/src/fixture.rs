//! A storage whose answers a test chooses, and peers for it to report.

use relay_daemon::Vars;
use relay_proto::messages::admin_server::Admin;
use relay_proto::messages::{
    AgeUsage, BackupPart, BackupRequest, ClockStanding, ClockStatus, CompactReply, CompactRequest,
    DrainReply, DrainRequest, EvictReply, EvictRequest, ForgetPeerReply, ForgetPeerRequest, KeyStatus,
    KeyStatusRequest, KindUsage, Link, PeerHoldings, PeerState, PeersReply, PeersRequest, Pin,
    ReassignPeerReply, ReassignPeerRequest, RowKind, StatusReply, StatusRequest, TrustClockReply,
    TrustClockRequest, UsageRequest,
};
use relay_proto::server::Services;
use relay_proto::socket::{self, AllowedUsers, SocketRole};
use relay_proto::{PeerId, StorageError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

pub(crate) const fn id(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

/// A peer that is up.
pub(crate) fn peer(url: &str, number: u8) -> PeerState {
    PeerState {
        url: url.to_owned(),
        identity: id(number).into(),
        link: Link::Up.into(),
        free_bytes: 1 << 30,
        last_seen: 1_000_000,
        blobs_sent: 1200,
        blobs_received: 3,
        blobs_recalled: 20,
        trouble: String::new(),
        clock_ahead_secs: Some(0),
        keeps_secs: 120 * 86_400,
    }
}

fn absent(url: &str, identity: Option<PeerId>, link: Link, trouble: &str) -> PeerState {
    PeerState {
        url: url.to_owned(),
        identity: identity.map(Into::into).unwrap_or_default(),
        link: link.into(),
        trouble: trouble.to_owned(),
        keeps_secs: 120 * 86_400,
        ..PeerState::default()
    }
}

pub(crate) fn pin(url: &str, number: u8) -> Pin {
    Pin { url: url.to_owned(), noise_key: vec![number; 32].into(), identity: id(number).into() }
}

pub(crate) fn holdings(number: u8, moved: u64) -> PeerHoldings {
    PeerHoldings { identity: id(number).into(), moved, held: 3, outbox: 4 }
}

/// What a relay says that has no peers and wants none.
pub(crate) fn nobody() -> PeersReply {
    PeersReply { keeps_secs: 120 * 86_400, ..PeersReply::default() }
}

/// What a relay says with peers of every kind.
pub(crate) fn sample() -> PeersReply {
    PeersReply {
        reporting: true,
        noise_key: vec![8; 32].into(),
        identity: id(9).into(),
        peers: vec![
            peer("wss://relay-b.example", 1),
            absent("ws://10.0.0.7:8080", Some(id(2)), Link::PinChanged, "its key has changed"),
            absent("ws://10.0.0.8:8080", None, Link::Down, "not reached yet"),
            peer("", 4),
        ],
        pins: vec![pin("ws://10.0.0.7:8080", 2), pin("wss://relay-b.example", 1)],
        holdings: vec![holdings(1, 1180)],
        draining: false,
        keeps_secs: 120 * 86_400,
        outlasting: 0,
    }
}

/// A clock that is trusted.
pub(crate) const TRUSTED: ClockStatus =
    ClockStatus { standing: ClockStanding::Trusted as i32, apart_secs: 0, trusted_in_secs: 0 };

/// What is to be answered.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) peering: PeersReply,
    /// Blobs in the store.
    pub(crate) blobs: u64,
    /// How many of them move between two looks, while the relay is being emptied.
    pub(crate) moving: u64,
    pub(crate) durable: bool,
    /// Looks at the blobs that storage does not answer once it is being emptied, as if it were started again.
    pub(crate) away: u64,
    /// Somebody else withdraws the order to empty at the next look at the blobs.
    pub(crate) withdrawn: bool,
    /// Federated does not report any more from the next look at the blobs on.
    pub(crate) falls_silent: bool,
    /// What becomes of giving what is held to another relay.
    pub(crate) reassigned: ReassignPeerReply,
    /// What a backup is made of.
    pub(crate) parts: Vec<Result<BackupPart, StorageError>>,
    /// Pages of the database; all but one are free.
    pub(crate) pages: u64,
    /// How the clock stands.
    pub(crate) clock: ClockStatus,
    /// Rows that can be deleted.
    pub(crate) rows: u64,
}

#[derive(Debug)]
struct Handler(Mutex<Answers>);

type Reply<T> = Result<Response<T>, Status>;

/// A stream of parts that are all there.
type Parts<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

fn reply<T>(message: T) -> Reply<T> {
    Ok(Response::new(message))
}

fn parts<T>(parts: Vec<Result<T, Status>>) -> Reply<Parts<T>> {
    Ok(Response::new(tokio_stream::iter(parts)))
}

#[tonic::async_trait]
impl Admin for Handler {
    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusReply> {
        let mut answers = self.0.lock().unwrap();
        if answers.peering.draining && answers.away > 0 {
            answers.away -= 1;
            return Err(StorageError::Unavailable.into());
        }
        if answers.withdrawn {
            answers.peering.draining = false;
        }
        if answers.peering.draining {
            answers.peering.reporting &= !answers.falls_silent;
            answers.blobs = answers.blobs.saturating_sub(answers.moving);
        }
        reply(StatusReply {
            ceiling_bytes: 1,
            durable: answers.durable,
            blobs: answers.blobs,
            schema_version: 1,
            clock: Some(answers.clock),
            ..StatusReply::default()
        })
    }

    async fn keys(&self, _: Request<KeyStatusRequest>) -> Reply<KeyStatus> {
        Err(StorageError::Unavailable.into())
    }

    async fn peers(&self, _: Request<PeersRequest>) -> Reply<PeersReply> {
        reply(self.0.lock().unwrap().peering.clone())
    }

    async fn forget_peer(&self, request: Request<ForgetPeerRequest>) -> Reply<ForgetPeerReply> {
        let ForgetPeerRequest { url } = request.into_inner();
        let pins = &mut self.0.lock().unwrap().peering.pins;
        let before = pins.len();
        pins.retain(|pin| pin.url != url);
        reply(ForgetPeerReply { forgotten: pins.len() < before })
    }

    async fn reassign_peer(&self, _: Request<ReassignPeerRequest>) -> Reply<ReassignPeerReply> {
        reply(self.0.lock().unwrap().reassigned)
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Reply<DrainReply> {
        let mut answers = self.0.lock().unwrap();
        answers.peering.draining = request.into_inner().draining;
        reply(DrainReply { blobs: answers.blobs })
    }

    type BackupStream = Parts<BackupPart>;

    async fn backup(&self, _: Request<BackupRequest>) -> Reply<Self::BackupStream> {
        let all = self.0.lock().unwrap().parts.clone();
        parts(all.into_iter().map(|part| part.map_err(Into::into)).collect())
    }

    async fn compact(&self, request: Request<CompactRequest>) -> Reply<CompactReply> {
        // One page at a time, down to one.
        let pages = &mut self.0.lock().unwrap().pages;
        *pages -= u64::from(request.into_inner().give && *pages > 1);
        reply(CompactReply { free_bytes: (*pages - 1) * 4096, file_bytes: *pages * 4096 })
    }

    type UsageStream = Parts<KindUsage>;

    async fn usage(&self, _: Request<UsageRequest>) -> Reply<Self::UsageStream> {
        let usage = |kind: RowKind, [hour, day, rest]: [(u64, u64); 3]| {
            let age = |below_secs, (rows, kib)| AgeUsage { below_secs, rows, bytes: kib << 10 };
            let ages = vec![age(3600, hour), age(86_400, day), age(0, rest)];
            Ok(KindUsage { kind: kind.into(), ages })
        };
        parts(vec![
            usage(RowKind::Mail, [(1000, 1024), (0, 0), (200, 200)]),
            usage(RowKind::Proofs, [(0, 0), (3, 3), (0, 0)]),
        ])
    }

    type EvictStream = Parts<EvictReply>;

    async fn evict(&self, request: Request<EvictRequest>) -> Reply<Self::EvictStream> {
        let rows = &mut self.0.lock().unwrap().rows;
        let all = *rows;
        if !request.into_inner().dry_run {
            *rows = 0;
        }
        let done = |rows| Ok(EvictReply { rows, bytes: rows << 10 });
        parts(vec![done(all / 2), done(all)])
    }

    async fn trust_clock(&self, _: Request<TrustClockRequest>) -> Reply<TrustClockReply> {
        let clock = &mut self.0.lock().unwrap().clock;
        if clock.standing() == ClockStanding::BeforeBuild {
            return Err(StorageError::ClockWrong.into());
        }
        reply(TrustClockReply { before: Some(std::mem::replace(clock, TRUSTED)) })
    }
}

/// A storage behind its operator's socket. It ends with this value.
pub(crate) struct Storage {
    handler: Arc<Handler>,
    directory: TempDir,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Storage {
    /// Serves when this returns.
    pub(crate) fn start(peering: PeersReply) -> Self {
        let answers = Answers {
            peering,
            blobs: 1200,
            moving: 0,
            durable: true,
            away: 0,
            withdrawn: false,
            falls_silent: false,
            reassigned: ReassignPeerReply::default(),
            parts: Vec::new(),
            pages: 1,
            clock: TRUSTED,
            rows: 10,
        };
        let handler = Arc::new(Handler(Mutex::new(answers)));
        let directory = tempfile::tempdir().unwrap();
        let path = SocketRole::Admin.storage_socket(&directory.path().join("run"));
        let (end, ended) = oneshot::channel();
        let (bound, ready) = std::sync::mpsc::channel();
        let services = Services::default().admin(&handler);
        // A thread of its own: commands wait for their answers on the caller's.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = socket::bind(&path).unwrap();
                bound.send(()).unwrap();
                let users = AllowedUsers::new(Vec::new());
                services.serve(listener, users, async { drop(ended.await) }).await.unwrap();
            });
        });
        ready.recv().unwrap();
        Self { handler, directory, end: Some(end), thread: Some(thread) }
    }

    /// As [`Storage::start`], with other answers.
    pub(crate) fn answering(peering: PeersReply, change: impl FnOnce(&mut Answers)) -> Self {
        let storage = Self::start(peering);
        storage.change(change);
        storage
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.handler.0.lock().unwrap());
    }

    /// Whether the relay is being emptied.
    pub(crate) fn is_draining(&self) -> bool {
        self.handler.0.lock().unwrap().peering.draining
    }

    /// Rows that are left to be deleted.
    pub(crate) fn rows(&self) -> u64 {
        self.handler.0.lock().unwrap().rows
    }

    /// What points a command to it.
    pub(crate) fn vars(&self) -> Vars {
        Vars::from_pairs([("RELAY_DATA_DIR", self.directory.path().display().to_string())])
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Without its sender the server ends as well.
        drop(self.end.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}
