//! The relay under measurement: real programs, an empty data directory, limits out of the way.

use crate::Fallible;
use crate::proc::Watched;
use crate::wire;
use nix::sys::signal::Signal;
use relay_tests::binaries::Program;
use relay_tests::ports::HeldPort;
use relay_tests::process::{self, Launch, Process};
use relay_tests::{deadline, procfs};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Limits are not what is measured; memory and disk bounds are far away, but there.
const VARIABLES: [(&str, &str); 9] = [
    ("RUST_LOG", "warn"),
    ("RELAY_RATE_LIMIT", "1000000"),
    ("RELAY_ADDR_RATE_LIMIT", "100000000"),
    ("RELAY_ADDR_BYTES_PER_HOUR", "1099511627776"),
    ("RELAY_ADDR_NAMES_PER_HOUR", "1000000000"),
    ("RELAY_MAX_STORAGE_BYTES", "8589934592"),
    ("RELAY_MAX_BLOBS_PER_USER", "100000"),
    ("RELAY_MAX_CONNECTIONS", "2000"),
    ("RELAY_ADDR_MAX_CONNECTIONS", "2000"),
];

/// One relay's data directory, sockets and ports. They outlive its processes.
#[derive(Debug)]
pub(crate) struct Site {
    directory: TempDir,
    /// Apart, because a socket's path must be short.
    sockets: TempDir,
    http: HeldPort,
    ops: HeldPort,
}

impl Site {
    pub(crate) fn new(parent: &Path) -> Fallible<Self> {
        Ok(Self {
            directory: tempfile::tempdir_in(parent)?,
            sockets: tempfile::tempdir()?,
            http: HeldPort::draw(),
            ops: HeldPort::draw(),
        })
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.http.address()
    }

    fn launch(&self, program: Program) -> Launch {
        let mut launch = Launch::new(program, self.directory.path())
            .variable("RELAY_DATA_DIR", self.directory.path().join("data").display())
            .variable("RELAY_SOCKET_DIR", self.sockets.path().join("run").display())
            .variable("RELAY_LISTEN_ADDR", self.http.address())
            .variable("RELAY_METRICS_ADDR", self.ops.address());
        for (name, value) in VARIABLES {
            launch.set(name, value);
        }
        launch
    }

    /// Starts storaged and a gateway, each by itself, and waits until they are ready.
    pub(crate) async fn apart(&self) -> Fallible<Apart> {
        self.apart_with(&[]).await
    }

    /// The same with other variables.
    pub(crate) async fn apart_with(&self, variables: &[(&str, String)]) -> Fallible<Apart> {
        let start = |program| with(self.launch(program), variables).start();
        let storaged = start(Program::Storaged);
        // A gateway that is there first cannot read the secret of the socket.
        let socket = self.sockets.path().join("run/gateway/storage.sock");
        deadline::within(deadline::PATIENCE, async || socket.exists().then_some(())).await;
        let mut apart = Apart { storaged, gateway: start(Program::Gateway) };
        ready(self.ops.address(), &mut [&mut apart.storaged, &mut apart.gateway]).await?;
        Ok(apart)
    }

    /// One more gateway to the same storage, at an address of its own.
    pub(crate) async fn another_gateway(
        &self,
        variables: &[(&str, String)],
    ) -> Fallible<(SocketAddr, AnotherGateway)> {
        let (http, ops) = (HeldPort::draw(), HeldPort::draw());
        let launch = with(self.launch(Program::Gateway), variables)
            .variable("RELAY_LISTEN_ADDR", http.address())
            .variable("RELAY_METRICS_ADDR", ops.address());
        let mut process = launch.start();
        ready(ops.address(), &mut [&mut process]).await?;
        Ok((http.address(), AnotherGateway { _process: process, _ports: [http, ops] }))
    }

    /// Begins a backup into a directory.
    pub(crate) fn backup(&self, directory: &Path) -> Process {
        self.launch(Program::Relay).arguments(&["backup", &directory.display().to_string()]).start()
    }

    /// Runs `relay up` and tells how long it took to be ready.
    pub(crate) async fn up(&self) -> Fallible<(Supervisor, Duration)> {
        let launch = self.launch(Program::Relay).arguments(&["up"]);
        let started = Instant::now();
        let mut supervisor = Supervisor { process: launch.start() };
        ready(self.ops.address(), &mut [&mut supervisor.process]).await?;
        Ok((supervisor, started.elapsed()))
    }
}

fn with(mut launch: Launch, variables: &[(&str, String)]) -> Launch {
    for (name, value) in variables {
        launch.set(name, value);
    }
    launch
}

/// Waits until the relay is ready, or one of its processes has ended.
async fn ready(ops: SocketAddr, processes: &mut [&mut Process]) -> Fallible<()> {
    let seen = deadline::within(deadline::PATIENCE, async || {
        if let Some(dead) = processes.iter_mut().find_map(|one| (!one.is_running()).then_some(one)) {
            return Some(Err(format!("{} ended; it said:\n{}", dead.name(), dead.output())));
        }
        matches!(wire::get(ops, "/ready").await, Ok((200, _))).then_some(Ok(()))
    })
    .await;
    let said = || processes.iter().map(|one| one.output()).collect::<String>();
    Ok(seen.unwrap_or_else(|| Err(format!("the relay is not ready in time; it said:\n{}", said())))?)
}

/// A gateway beside the first.
#[derive(Debug)]
pub(crate) struct AnotherGateway {
    _process: Process,
    _ports: [HeldPort; 2],
}

/// Storaged and one gateway, unsupervised.
#[derive(Debug)]
pub(crate) struct Apart {
    storaged: Process,
    gateway: Process,
}

impl Apart {
    pub(crate) fn watched(&self) -> Vec<Watched> {
        vec![
            Watched { name: "gateway", pid: self.gateway.pid() },
            Watched { name: "storaged", pid: self.storaged.pid() },
        ]
    }

    /// An error if one of them has ended meanwhile.
    pub(crate) fn still_runs(&mut self) -> Fallible<()> {
        for process in [&mut self.storaged, &mut self.gateway] {
            if !process.is_running() {
                return Err(format!("{} ended; it said:\n{}", process.name(), process.output()).into());
            }
        }
        Ok(())
    }
}

/// `relay up` and the children it looks after.
#[derive(Debug)]
pub(crate) struct Supervisor {
    process: Process,
}

impl Supervisor {
    /// The child in this role now, if it runs.
    pub(crate) fn child(&self, role: &str) -> Option<u32> {
        procfs::descendants(self.process.pid())
            .into_iter()
            .find(|pid| procfs::is_alive(*pid) && procfs::command(*pid).contains(&format!(" role {role} ")))
    }

    /// The supervisor and its children, for the report.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let mut watched = vec![Watched { name: "relay up", pid: self.process.pid() }];
        for name in ["gateway", "storaged", "federated"] {
            watched.extend(self.child(name).map(|pid| Watched { name, pid }));
        }
        watched
    }

    /// What the kernel does when the power goes: all of them, at once.
    pub(crate) async fn kill_everything(mut self) -> Fallible<()> {
        // Stopped first: it would start its children anew, and they would end in good order were it gone.
        self.process.signal(Signal::SIGSTOP);
        let family = procfs::descendants(self.process.pid());
        for child in &family {
            if procfs::is_alive(*child) {
                process::signal_pid(*child, Signal::SIGKILL);
            }
        }
        self.process.kill();
        let gone = async || (!family.iter().any(|child| procfs::is_alive(*child))).then_some(());
        deadline::within(deadline::PATIENCE, gone).await.ok_or("a killed process does not end")?;
        Ok(())
    }

    /// Stops in good order, so that the next measurement has the machine to itself.
    pub(crate) async fn stop(mut self) {
        self.process.terminate().await;
    }
}
