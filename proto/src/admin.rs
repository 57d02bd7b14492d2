//! What operators and peers may know of the store: how full it is, who runs, how old its keys are.

use crate::telemetry::Process;
use crate::{Commitment, PublicKey, UnixSeconds};
use bytes::Bytes;

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes in use.
    pub live_bytes: u64,
    /// Bytes that may be in use.
    pub ceiling_bytes: u64,
    /// Whether what is stored outlives the process.
    pub durable: bool,
    /// Of the bytes in use, those of mail that is held for peers and for nobody else; 0 where only the whole is told.
    pub foreign_bytes: u64,
}

impl Capacity {
    /// Which part of the ceiling is in use.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn fill(&self) -> f64 {
        self.live_bytes as f64 / self.ceiling_bytes.max(1) as f64
    }
}

/// What an operator is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Everybody who is running, storage first.
    pub processes: Vec<Process>,
    /// How full the store is.
    pub capacity: Capacity,
    /// Blobs stored.
    pub blobs: u64,
    /// Mailboxes registered.
    pub registrations: u64,
    /// Of the database.
    pub schema_version: u32,
    /// Of the bundled library.
    pub sqlite_version: String,
    /// Whether expiry waits for an operator, because the clock looks wrong.
    pub sweep_suspended: bool,
    /// Keys that the relay holds, by name and age.
    pub keys: Vec<Key>,
    /// Whether storage believes its machine's clock; an older storage does not say.
    pub clock: Option<ClockStatus>,
}

/// Whether storage believes its machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStatus {
    /// Whether it does, and why not.
    pub standing: ClockStanding,
    /// How far the clock is from the time that storage goes by, in seconds.
    pub apart_secs: u64,
    /// Uptime after which a clock that stays the same is trusted, in seconds; 0 when it is, or never will be.
    pub trusted_in_secs: u64,
}

/// How a clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStanding {
    /// It is believed.
    Trusted,
    /// Too far ahead of the last trusted time: nothing expires by it.
    Ahead,
    /// Behind the newest trusted time: nothing is stored.
    Behind,
    /// Before the time the program was built: nothing is stored.
    BeforeBuild,
}

impl ClockStanding {
    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Ahead => "ahead",
            Self::Behind => "behind",
            Self::BeforeBuild => "before build",
        }
    }
}

/// A key that the relay holds; never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub since: UnixSeconds,
}

/// What an operator may know of the keys for Oblivious HTTP: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Length of a window, in seconds.
    pub window_secs: u64,
    /// The windows whose keys are accepted, oldest first.
    pub windows: Vec<WindowStatus>,
    /// Whether the relay is its own anchor.
    pub self_anchored: bool,
    /// The anchor behind what is served.
    pub anchor: Option<PublicKey>,
    /// To the anchor's backup, where there is one.
    pub commitment: Option<Commitment>,
    /// The certificates that the relay has, in the order of their beginning.
    pub certificates: Vec<CertificateTimes>,
    /// Why no signed record is served, when none is.
    pub problem: Option<String>,
}

/// A window whose key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowStatus {
    /// Which window.
    pub number: u64,
    /// SHA-256 of its key configuration.
    pub fingerprint: [u8; 32],
}

/// From when to when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateTimes {
    /// Inclusive.
    pub not_before: UnixSeconds,
    /// Exclusive.
    pub not_after: UnixSeconds,
}

/// A part of a backup, as storage hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPart {
    /// How far the copying is. The last one tells the size of the copy.
    Course {
        /// Bytes copied.
        copied: u64,
        /// Bytes that there are to copy now.
        total: u64,
    },
    /// The next bytes of the copy.
    Piece(Bytes),
}

/// How much of the database's file is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slack {
    /// Bytes free inside of it.
    pub free_bytes: u64,
    /// Bytes of it.
    pub file_bytes: u64,
}

/// What the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Mail of the relay's own clients.
    Mail,
    /// Mail that is held for peers.
    Held,
    /// Notes of mail that lies with peers.
    Moved,
    /// Deletions that wait to be told to peers.
    Outbox,
    /// Mailboxes that somebody registered.
    Registrations,
    /// Exchange offers.
    Offers,
    /// Recovery proofs.
    Proofs,
    /// Guardian sets.
    Guardians,
    /// Escrow gates with what lies behind them.
    Escrow,
    /// Ids of what was acked, purged or carried out.
    Tombstones,
    /// Single-use values that were used, and answers that may be asked for again.
    Used,
}

impl RowKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Mail,
        Self::Held,
        Self::Moved,
        Self::Outbox,
        Self::Registrations,
        Self::Offers,
        Self::Proofs,
        Self::Guardians,
        Self::Escrow,
        Self::Tombstones,
        Self::Used,
    ];

    /// Its name for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Held => "held",
            Self::Moved => "moved",
            Self::Outbox => "outbox",
            Self::Registrations => "registrations",
            Self::Offers => "offers",
            Self::Proofs => "proofs",
            Self::Guardians => "guardians",
            Self::Escrow => "escrow",
            Self::Tombstones => "tombstones",
            Self::Used => "used",
        }
    }
}

/// How much of a kind there is, by age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindUsage {
    /// The kind.
    pub kind: RowKind,
    /// The youngest first.
    pub ages: Vec<AgeUsage>,
}

/// How much there is of an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeUsage {
    /// Rows younger than this, in seconds, and not younger than the age before; `None` for all others.
    pub below_secs: Option<u64>,
    /// How many.
    pub rows: u64,
    /// Their content, and about what else they take.
    pub bytes: u64,
}

/// What an operator wants deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evict {
    /// Of which kind.
    pub kind: RowKind,
    /// Only rows of this age and older.
    pub older_than_secs: u64,
    /// Only rows of more content than this.
    pub larger_than_bytes: Option<u64>,
    /// Whether to count only.
    pub dry_run: bool,
}

/// What was deleted so far, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Rows.
    pub rows: u64,
    /// Their content, and about what else they took.
    pub bytes: u64,
}
