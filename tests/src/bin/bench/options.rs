//! What the command line asks for, and the plan that follows from it.

use clap::{Parser, ValueEnum};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Measures this machine's own limits, then the relay on it, and prints what the relay reaches of them.
///
/// Daemons and load generator share the machine, as they do on the small machine a relay is meant for; so run
/// nothing else beside it. Everything happens on loopback and in a temporary directory that is removed.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Options {
    /// One short round, fewer connections and blobs: does it work, and roughly how fast
    #[arg(long)]
    quick: bool,
    /// Also write everything measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Only these parts (targets that need another part stay open)
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    only: Vec<Part>,
    /// How long each measurement lasts, in seconds [default: 3, quick: 1]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Interleaved rounds, of which the median counts [default: 3, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// Blobs in the large store that fetches are compared on [default: 1000000, quick: 100000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    stored: Option<u64>,
    /// Where databases are made; must be the kind of disk that matters [default: beside the binaries]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Serve as the echo that the relay is compared with
    #[arg(long, hide = true)]
    pub(crate) echo: bool,
}

/// One part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// fdatasync, plain SQLite commits and deletes
    Machine,
    /// A bare axum server that parses the same request and answers
    Echo,
    /// Send, fetch, ack and mixed load on storaged and a gateway
    Load,
    /// Sends through Oblivious HTTP, against HPKE alone
    Oblivious,
    /// Sizes of sealed answers to all kinds of requests
    Observer,
    /// Keys that turn every ten seconds, and three gateways that restart in turns, under load
    Rotation,
    /// Fetch latency with ten thousand blobs against many
    Growth,
    /// Memory: at rest, and with a thousand idle and two hundred busy connections
    Memory,
    /// From start to ready, and again after kill -9 of everything
    Startup,
    /// kill -9 of storaged each second under load
    Kills,
    /// Mail that moves to a peer, against a plain WebSocket and SQLite; own clients beside bad peers
    Federation,
    /// A backup of a gigabyte beside sends
    Backup,
    /// A mailbox's limit over three gateways
    Spread,
}

/// Everything that the parts need to know.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
    pub(crate) pairings: Vec<Pairing>,
    /// Blobs that lie in the relay, and rows in the plain table, before either is measured: an index that
    /// fits the cache would flatter the one that has it.
    pub(crate) standing: u64,
    /// Blobs in the large store of the growth part.
    pub(crate) stored: u64,
    /// Sealed answers whose size is looked at.
    pub(crate) observed: u64,
    /// How long keys turn under load.
    pub(crate) rotation: Duration,
    /// Blobs stored when everything is killed.
    pub(crate) killed_with: u64,
    /// Starts of which the median counts.
    pub(crate) starts: u32,
    /// How many times storaged is killed.
    pub(crate) kills: u32,
    /// Blobs that move to a peer.
    pub(crate) moved: u64,
    pub(crate) directory: Option<PathBuf>,
}

/// A plain SQLite limit, and the load that is measured right behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairing {
    /// Rows a transaction.
    pub(crate) group: usize,
    pub(crate) connections: Option<usize>,
    in_quick: bool,
}

impl Pairing {
    const ALL: [Self; 5] = [
        Self { group: 1, connections: Some(1), in_quick: true },
        Self { group: 8, connections: Some(16), in_quick: false },
        Self { group: 32, connections: Some(64), in_quick: true },
        Self { group: 128, connections: Some(256), in_quick: false },
        Self { group: 512, connections: None, in_quick: false },
    ];
}

impl fmt::Display for Pairing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} rows a commit", self.group)?;
        match self.connections {
            Some(connections) => write!(formatter, ", {connections} connections"),
            None => Ok(()),
        }
    }
}

impl Options {
    pub(crate) fn plan(&self) -> Plan {
        let quick = self.quick;
        let parts = if self.only.is_empty() { Part::value_variants().to_vec() } else { self.only.clone() };
        Plan {
            parts,
            rounds: self.rounds.unwrap_or(if quick { 1 } else { 3 }),
            window: Duration::from_secs_f64(self.seconds.unwrap_or(if quick { 1.0 } else { 3.0 })),
            pairings: Pairing::ALL.into_iter().filter(|pairing| !quick || pairing.in_quick).collect(),
            standing: if quick { 20_000 } else { 100_000 },
            stored: self.stored.unwrap_or(if quick { 100_000 } else { 1_000_000 }),
            observed: if quick { 5_000 } else { 100_000 },
            rotation: Duration::from_secs(if quick { 25 } else { 120 }),
            killed_with: if quick { 20_000 } else { 100_000 },
            starts: if quick { 3 } else { 9 },
            kills: if quick { 5 } else { 20 },
            moved: if quick { 1_000 } else { 6_000 },
            directory: self.dir.clone(),
        }
    }
}

impl Plan {
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// Whether any part needs the relay's own binaries.
    pub(crate) fn needs_relay(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Machine | Part::Echo))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds between 0.1 and 600, for example 3".to_owned()),
    }
}
