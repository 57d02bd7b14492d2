//! What was seen of a set-up. Probes fill this in, checks read it; a part that could not be looked at is not there.

pub(crate) use crate::selftest::probe::{Health, Probe, ProbeError};
use relay_daemon::variables::Backend;
use relay_proto::UnixSeconds;
use relay_proto::messages::{KeyStatus, PeersReply, StatusReply};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Facts {
    /// This machine's time.
    pub(crate) now: UnixSeconds,
    /// The user that looks.
    pub(crate) user: u32,
    /// What the variables say.
    pub(crate) settings: Settings,
    /// The data directory, unless the store is in memory.
    pub(crate) data: Option<Data>,
    /// The volume that it is on.
    pub(crate) volume: Option<Volume>,
    /// Sockets that this user can see.
    pub(crate) sockets: Vec<Socket>,
    /// How far a connection to storage gets.
    pub(crate) reached: Reached,
    /// What storage reports, if it answers.
    pub(crate) report: Option<StorageReport>,
    /// Files that each gateway of this machine may open.
    pub(crate) files: Vec<u64>,
    /// What a gateway answered its operator.
    pub(crate) operator: Option<Operator>,
    /// What answers at the public URL, or at a gateway's own port.
    pub(crate) proxy: Option<Proxy>,
}

/// What the variables say, as far as it matters here. Secrets are not in it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Why no process would start.
    pub(crate) mistakes: Vec<String>,
    /// Why a socket cannot be.
    pub(crate) socket_path: Option<String>,
    pub(crate) data: PathBuf,
    pub(crate) sockets: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) listen: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) has_token: bool,
    /// Trusted proxies that are everybody.
    pub(crate) trusts_everybody: bool,
    /// Whether an outer relay is named.
    pub(crate) names_relays: bool,
    /// Networks of peers that are everything.
    pub(crate) allows_everywhere: bool,
    pub(crate) public_url: Option<String>,
    /// `RELAY_GATEWAYS`, if it is set.
    pub(crate) gateways: Option<u16>,
    pub(crate) max_connections: usize,
    pub(crate) rotation_secs: u64,
    pub(crate) federates: bool,
    /// Whether peers come to a port of federated's own.
    pub(crate) own_peer_port: bool,
}

impl Settings {
    /// Whether any process would start with them. Where none does, there is nothing else to look at.
    pub(crate) fn make_sense(&self) -> bool {
        self.mistakes.is_empty() && self.socket_path.is_none()
    }
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing is there, or something else.
    Missing,
    /// It is there, and this user may not look into it.
    Closed { owner: u32, mode: u32 },
    /// It can be looked into.
    Open(Contents),
}

/// What is in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(crate) owner: u32,
    pub(crate) mode: u32,
    /// Files of the store: name, owner, mode.
    pub(crate) files: Vec<(String, u32, u32)>,
    /// How the database begins, where it can be read.
    pub(crate) header: Option<Header>,
}

impl Contents {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|(file, _, _)| file == name)
    }
}

/// How a database file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing was written yet.
    Empty,
    /// Not as a database does.
    Damaged,
    /// With this schema version.
    Schema(u32),
}

/// A volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) total: u64,
    pub(crate) free: u64,
    /// What the database file takes of it already, where that can be seen.
    pub(crate) database: u64,
}

/// A socket between the processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) path: PathBuf,
    /// Modes of all directories above it that are the relay's own, and of itself.
    pub(crate) modes: Vec<u32>,
}

/// How far a connection to storage gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reached {
    /// There is no socket.
    Missing,
    /// No process listens.
    Dead,
    /// This user may not connect.
    Denied,
    /// The connection is ended at once.
    Refused,
    /// No answer comes.
    Silent,
    /// It says that it is not ready, and why.
    NotReady(String),
    /// It is ready.
    Ready,
}

/// What storage reports.
#[derive(Debug)]
pub(crate) struct StorageReport {
    pub(crate) status: StatusReply,
    pub(crate) keys: Option<KeyStatus>,
    pub(crate) peering: Option<PeersReply>,
    /// Counters of the whole relay before anything else was asked.
    pub(crate) before: Counters,
    /// The same at the end.
    pub(crate) after: Counters,
}

/// What of the counters matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counters {
    pub(crate) full: f64,
    pub(crate) panics: f64,
    pub(crate) damaged: f64,
    pub(crate) connections_refused: f64,
    /// Client addresses that ask, counted up to ten.
    pub(crate) busy: f64,
    /// Requests refused by the limit of an address.
    pub(crate) limited: f64,
    /// Sealed requests that were refused by the limit of the address that sent them.
    pub(crate) limited_relays: f64,
    pub(crate) sources: Sources,
}

/// Requests by where the client's address was found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sources {
    pub(crate) connection: f64,
    pub(crate) forwarded: f64,
    pub(crate) unnamed: f64,
    pub(crate) unbelieved: f64,
}

/// What a gateway answered its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    /// Why it is not ready; `None` when it is.
    pub(crate) not_ready: Option<String>,
}

/// What answers at the public URL, or at a gateway's own port.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where.
    pub(crate) url: String,
    /// Whether this is the URL for clients, and not a gateway's own port.
    pub(crate) is_public: bool,
    /// Whether it is plain HTTP to another machine than this one.
    pub(crate) is_open: bool,
    /// How TLS begins; `None` without TLS.
    pub(crate) tls: Option<Tls>,
    /// What a client finds there.
    pub(crate) seen: Probe,
    /// The status with which a WebSocket of peers was answered.
    pub(crate) upgrade: Option<u16>,
}

/// How TLS begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tls {
    /// This machine has no CA certificates to check one with.
    NoAuthorities,
    /// No answer comes.
    Silent(String),
    /// What answers does not speak TLS as it should.
    Broken(String),
    /// The certificate does not hold.
    Certificate(String),
    /// It holds, from when to when.
    Good { from: UnixSeconds, to: UnixSeconds },
}
