//! A relay as most operators run it: `relay up`, one command that starts and watches the others.

use crate::binaries::Program;
use crate::client::{Client, Via};
use crate::deadline::{self, PATIENCE};
use crate::ops::Ops;
use crate::ports::HeldPort;
use crate::process::{Launch, Process};
use crate::procfs;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A relay under `relay up`.
#[derive(Debug)]
pub struct Supervised {
    /// How it is started.
    pub launch: Launch,
    /// Its ops endpoints: the first gateway's.
    pub ops: Ops,
    process: Option<Process>,
    main: HeldPort,
    operator: HeldPort,
    directory: TempDir,
}

impl Supervised {
    /// Lays the relay out and starts nothing. Only the addresses are set; everything else is as it is for an
    /// operator who sets nothing.
    pub fn build() -> Self {
        let directory = tempfile::Builder::new().prefix("relay-").tempdir_in("/tmp").expect("a directory");
        let (main, ops) = (HeldPort::draw(), HeldPort::draw());
        let launch = Launch::new(Program::Relay, directory.path())
            .arguments(&["up"])
            .variable("RELAY_LISTEN_ADDR", main.address())
            .variable("RELAY_METRICS_ADDR", ops.address());
        Self { launch, ops: Ops::Port(ops.address()), process: None, main, operator: ops, directory }
    }

    /// The same with a variable set.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.launch.set(name, value);
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead, or takes too long; the message shows what it said.
    pub async fn start(mut self) -> Self {
        let mut process = self.launch.start();
        let seen = deadline::within(PATIENCE, async || {
            if !process.is_running() {
                return Some(false);
            }
            self.ops.is_ready().await.then_some(true)
        })
        .await;
        assert!(seen == Some(true), "relay up is not ready; it said:\n{}", process.output());
        self.process = Some(process);
        self
    }

    /// The command's own process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    /// The most memory that each of its processes ever held, in bytes, by name; of several with one name the most.
    pub fn peaks(&mut self) -> BTreeMap<String, u64> {
        let mut peaks = BTreeMap::new();
        for child in procfs::descendants(self.process().pid()) {
            let Some((name, bytes)) = procfs::name(child).zip(procfs::peak_bytes(child)) else { continue };
            let peak: &mut u64 = peaks.entry(name).or_default();
            *peak = bytes.max(*peak);
        }
        peaks
    }

    /// Main address.
    pub const fn address(&self) -> SocketAddr {
        self.main.address()
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client::new(self.address(), Via::Plain)
    }

    /// The directory it was started in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the operator is served.
    pub fn ops_address(&self) -> SocketAddr {
        self.operator.address()
    }

    /// Everything the relay holds on disk.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The `relay` command with other arguments, in the same place with the same variables.
    pub fn command(&self, arguments: &[&str]) -> Launch {
        self.launch.clone().only_arguments(arguments).named("relay-command")
    }
}
