//! What the command line asks for.

use clap::{Parser, ValueEnum};
use std::io;
use std::path::{Path, PathBuf};
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
    pub(crate) quick: bool,
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

impl Options {
    pub(crate) fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// An amount that is smaller in a quick run.
    pub(crate) const fn amount(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 1.0 } else { 3.0 }))
    }

    /// Blobs in the large store that fetches are compared on.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.unwrap_or_else(|| self.amount(1_000_000, 100_000))
    }

    /// Where each part makes a directory of its own.
    pub(crate) fn directory(&self) -> io::Result<PathBuf> {
        let executable = std::env::current_exe()?;
        let beside = executable.parent().unwrap_or(Path::new("."));
        Ok(self.dir.clone().unwrap_or_else(|| beside.to_owned()))
    }

    /// Whether any part needs the relay's own binaries.
    pub(crate) fn needs_relay(&self) -> bool {
        let mut parts = Part::value_variants().iter().filter(|part| self.has(**part));
        parts.any(|part| !matches!(part, Part::Machine | Part::Echo))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds between 0.1 and 600, for example 3".to_owned()),
    }
}
