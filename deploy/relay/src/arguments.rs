//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Runs, inspects and tests a relay. Everything is set by variables; the README lists them.
#[derive(Debug, Parser)]
#[command(name = "relay", version = relay_daemon::build::VERSION, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a relay here: the store, the gateways and federated, each as its own process
    Up,
    /// Show a running relay: its processes, how full it is, its keys
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try a relay out as a client would: send, fetch, ack, purge and register, each with its time
    Selftest {
        /// Where it serves clients, for example <http://127.0.0.1:8080>
        url: String,
    },
    /// Print the tables of the README
    #[command(hide = true)]
    Reference {
        /// Write them into this file, between its markers
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Be one of the relay's processes
    #[command(hide = true)]
    Role {
        /// Which
        role: RoleName,
        /// The process without which this one must not live
        #[arg(long)]
        supervisor: Option<i32>,
    },
}

/// A process of the relay, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// The store.
    Storaged,
    /// The edge.
    Gateway,
    /// The link to other relays.
    Federated,
}
