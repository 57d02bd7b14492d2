//! A storage that answers operators what a test wants, and peers for it to tell of.

use relay_daemon::Vars;
use relay_proto::admin::{
    AgeUsage, BackupPart, Capacity, ClockStanding, ClockStatus, Evict, Evicted, KeyStatus, KindUsage,
    RowKind, Slack, Status,
};
use relay_proto::federation::{Holdings, Link, PeerState, Peering, Pin, Reassigned};
use relay_proto::server::{AdminHandler, Services};
use relay_proto::socket::{self, AllowedUsers, Door};
use relay_proto::{NoiseKey, PeerId, Refusal, UnixSeconds};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_stream::Stream;

pub(crate) const fn id(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

/// A peer that is up.
pub(crate) fn peer(url: &str, number: u8) -> PeerState {
    PeerState {
        url: url.to_owned(),
        identity: Some(id(number)),
        link: Link::Up,
        free_bytes: 1 << 30,
        last_seen: Some(UnixSeconds::new(1_000_000)),
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
        identity,
        link,
        free_bytes: 0,
        last_seen: None,
        blobs_sent: 0,
        blobs_received: 0,
        blobs_recalled: 0,
        trouble: trouble.to_owned(),
        clock_ahead_secs: None,
        ..peer(url, 0)
    }
}

pub(crate) fn pin(url: &str, number: u8) -> Pin {
    Pin { url: url.to_owned(), noise_key: NoiseKey::from_bytes([number; 32]), identity: id(number) }
}

pub(crate) const fn holdings(number: u8, moved: u64) -> Holdings {
    Holdings { identity: id(number), moved, held: 3, outbox: 4 }
}

/// What a relay says that has no peers and wants none.
pub(crate) const fn nobody() -> Peering {
    Peering {
        reporting: false,
        noise_key: None,
        identity: None,
        peers: Vec::new(),
        pins: Vec::new(),
        holdings: Vec::new(),
        draining: false,
        keeps_secs: 120 * 86_400,
        outlasting: 0,
    }
}

/// What a relay says with peers of every kind.
pub(crate) fn sample() -> Peering {
    Peering {
        reporting: true,
        noise_key: Some(NoiseKey::from_bytes([8; 32])),
        identity: Some(id(9)),
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
    ClockStatus { standing: ClockStanding::Trusted, apart_secs: 0, trusted_in_secs: 0 };

/// What is to be answered.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) peering: Peering,
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
    pub(crate) reassigned: Reassigned,
    /// What a backup is made of.
    pub(crate) parts: Vec<Result<BackupPart, Refusal>>,
    /// Pages of the database; all but one are free.
    pub(crate) pages: u64,
    /// How the clock stands.
    pub(crate) clock: ClockStatus,
    /// Rows that can be deleted.
    pub(crate) rows: u64,
}

#[derive(Debug)]
struct Handler(Mutex<Answers>);

impl AdminHandler for Handler {
    async fn status(&self) -> Result<Status, Refusal> {
        let mut answers = self.0.lock().unwrap();
        if answers.peering.draining && answers.away > 0 {
            answers.away -= 1;
            return Err(Refusal::Unavailable);
        }
        if answers.withdrawn {
            answers.peering.draining = false;
        }
        if answers.peering.draining {
            answers.peering.reporting &= !answers.falls_silent;
            answers.blobs = answers.blobs.saturating_sub(answers.moving);
        }
        Ok(Status {
            processes: Vec::new(),
            capacity: Capacity {
                live_bytes: 0,
                ceiling_bytes: 1,
                durable: answers.durable,
                foreign_bytes: 0,
            },
            blobs: answers.blobs,
            registrations: 0,
            schema_version: 1,
            sqlite_version: String::new(),
            sweep_suspended: false,
            keys: Vec::new(),
            clock: Some(answers.clock),
        })
    }

    async fn keys(&self) -> Result<KeyStatus, Refusal> {
        Err(Refusal::Unavailable)
    }

    async fn peers(&self) -> Result<Peering, Refusal> {
        Ok(self.0.lock().unwrap().peering.clone())
    }

    async fn forget_peer(&self, url: String) -> Result<bool, Refusal> {
        let pins = &mut self.0.lock().unwrap().peering.pins;
        let before = pins.len();
        pins.retain(|pin| pin.url != url);
        Ok(pins.len() < before)
    }

    async fn reassign_peer(&self, _: PeerId, _: PeerId) -> Result<Reassigned, Refusal> {
        Ok(self.0.lock().unwrap().reassigned)
    }

    async fn drain(&self, draining: bool) -> Result<u64, Refusal> {
        let mut answers = self.0.lock().unwrap();
        answers.peering.draining = draining;
        Ok(answers.blobs)
    }

    async fn backup(
        &self,
    ) -> Result<impl Stream<Item = Result<BackupPart, Refusal>> + Send + 'static, Refusal> {
        Ok(tokio_stream::iter(self.0.lock().unwrap().parts.clone()))
    }

    async fn compact(&self, give: bool) -> Result<Slack, Refusal> {
        // One page at a time, down to one.
        let pages = &mut self.0.lock().unwrap().pages;
        *pages -= u64::from(give && *pages > 1);
        Ok(Slack { free_bytes: (*pages - 1) * 4096, file_bytes: *pages * 4096 })
    }

    async fn usage(
        &self,
    ) -> Result<impl Stream<Item = Result<KindUsage, Refusal>> + Send + 'static, Refusal> {
        let usage = |kind, [hour, day, rest]: [(u64, u64); 3]| {
            let age = |below_secs, (rows, kib)| AgeUsage { below_secs, rows, bytes: kib << 10 };
            let ages = vec![age(Some(3600), hour), age(Some(86_400), day), age(None, rest)];
            Ok(KindUsage { kind, ages })
        };
        Ok(tokio_stream::iter([
            usage(RowKind::Mail, [(1000, 1024), (0, 0), (200, 200)]),
            usage(RowKind::Proofs, [(0, 0), (3, 3), (0, 0)]),
        ]))
    }

    async fn evict(
        &self,
        evict: Evict,
    ) -> Result<impl Stream<Item = Result<Evicted, Refusal>> + Send + 'static, Refusal> {
        let rows = &mut self.0.lock().unwrap().rows;
        let all = *rows;
        if !evict.dry_run {
            *rows = 0;
        }
        let told = |rows| Ok(Evicted { rows, bytes: rows << 10 });
        Ok(tokio_stream::iter([told(all / 2), told(all)]))
    }

    async fn trust_clock(&self) -> Result<ClockStatus, Refusal> {
        let clock = &mut self.0.lock().unwrap().clock;
        if clock.standing == ClockStanding::BeforeBuild {
            return Err(Refusal::ClockWrong);
        }
        Ok(std::mem::replace(clock, TRUSTED))
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
    pub(crate) fn start(peering: Peering) -> Self {
        let answers = Answers {
            peering,
            blobs: 1200,
            moving: 0,
            durable: true,
            away: 0,
            withdrawn: false,
            falls_silent: false,
            reassigned: Reassigned::Blobs(0),
            parts: Vec::new(),
            pages: 1,
            clock: TRUSTED,
            rows: 10,
        };
        let handler = Arc::new(Handler(Mutex::new(answers)));
        let directory = tempfile::tempdir().unwrap();
        let path = Door::Admin.storage_socket(&directory.path().join("run"));
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
    pub(crate) fn answering(peering: Peering, change: impl FnOnce(&mut Answers)) -> Self {
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
