//! A relay of separate processes: one store, any number of gateways, and federation where a test wants it.
//! Each process can be killed, stopped, changed and started again by itself.

use crate::binaries::Program;
use crate::client::{Client, Via};
use crate::deadline::{self, PATIENCE};
use crate::ops::Ops;
use crate::ports::HeldPort;
use crate::process::{Launch, Process};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What one address may add in an hour.
const BYTES_PER_HOUR: &str = "RELAY_ADDR_BYTES_PER_HOUR";

/// How a relay is made up.
#[derive(Debug)]
pub struct Builder {
    gateways: usize,
    separate_ports: bool,
    federated: bool,
    variables: BTreeMap<String, String>,
}

impl Builder {
    /// Sets the number of gateways; one by default.
    #[must_use]
    pub const fn gateways(mut self, gateways: usize) -> Self {
        self.gateways = gateways;
        self
    }

    /// Gives every gateway a main port of its own, so that a test can choose among them. By default they
    /// share one.
    #[must_use]
    pub const fn separate_ports(mut self) -> Self {
        self.separate_ports = true;
        self
    }

    /// Adds federation.
    #[must_use]
    pub const fn federated(mut self) -> Self {
        self.federated = true;
        self
    }

    /// Sets a variable of every process.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Leaves a variable at its default.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// With the limits that a relay has by default.
    #[must_use]
    pub fn with_default_limits(mut self) -> Self {
        self.variables.retain(|name, _| !name.contains("_LIMIT") && !name.ends_with("_PER_HOUR"));
        self
    }

    /// Lays the relay out and starts nothing.
    pub fn build(self) -> Cluster {
        let directory = tempfile::Builder::new().prefix("relay-").tempdir_in("/tmp").expect("a directory");
        let sockets = directory.path().join("run");
        let mut variables = self.variables;
        variables.insert("RELAY_SOCKET_DIR".to_owned(), sockets.display().to_string());
        let launch = |program| Launch::new(program, directory.path()).variables(&variables);

        let data = directory.path().join("data");
        let storaged = Service::new(
            launch(Program::Storaged).variable("RELAY_DATA_DIR", data.display()),
            Ops::Socket(sockets.join("admin/storage.sock")),
        );
        let mut main = HeldPort::draw();
        let mut held = Vec::new();
        let mut gateways = Vec::new();
        let mut addresses = Vec::new();
        for index in 0..self.gateways {
            if self.separate_ports && index > 0 {
                held.push(std::mem::replace(&mut main, HeldPort::draw()));
            }
            let ops = HeldPort::draw();
            let launch = launch(Program::Gateway)
                .named(&format!("gateway-{index}"))
                .variable("RELAY_LISTEN_ADDR", main.address())
                .variable("RELAY_METRICS_ADDR", ops.address());
            gateways.push(Service::new(launch, Ops::Port(ops.address())));
            addresses.push(main.address());
            held.push(ops);
        }
        held.push(main);
        let federated = self.federated.then(|| {
            Service::new(launch(Program::Federated), Ops::Socket(sockets.join("federated/ops.sock")))
        });
        Cluster { storaged, gateways, federated, addresses, _ports: held, directory }
    }

    /// Starts the relay and waits until every process is ready.
    pub async fn start(self) -> Cluster {
        let mut cluster = self.build();
        cluster.start().await;
        cluster
    }
}

/// A relay of separate processes.
#[derive(Debug)]
pub struct Cluster {
    // In this order of fields they are dropped: callers before the store, the directory last.
    /// The edges.
    pub gateways: Vec<Service>,
    /// The peer link, where there is one.
    pub federated: Option<Service>,
    /// The store.
    pub storaged: Service,
    addresses: Vec<SocketAddr>,
    _ports: Vec<HeldPort>,
    directory: TempDir,
}

impl Cluster {
    /// A relay whose limits are out of the way of tests that are not about limits.
    pub fn builder() -> Builder {
        let limits = [
            "RELAY_RATE_LIMIT",
            "RELAY_ADDR_RATE_LIMIT",
            "RELAY_OHTTP_RATE_LIMIT",
            "RELAY_RECOVERY_RATE_LIMIT",
            "RELAY_EXCHANGE_GUESS_LIMIT",
            "RELAY_ADDR_NAMES_PER_HOUR",
        ];
        let builder = Builder {
            gateways: 1,
            separate_ports: false,
            federated: false,
            variables: limits.map(|name| (name.to_owned(), "1000000".to_owned())).into(),
        };
        builder.variable(BYTES_PER_HOUR, 1_u64 << 40)
    }

    /// A relay with the limits that hold where an operator sets none.
    pub const fn with_default_limits() -> Builder {
        Builder { gateways: 1, separate_ports: false, federated: false, variables: BTreeMap::new() }
    }

    /// A relay with one gateway, ready.
    pub async fn simple() -> Self {
        Self::builder().start().await
    }

    /// Starts what does not run and waits until it is ready.
    pub async fn start(&mut self) {
        for service in self.services() {
            if service.process.is_none() {
                service.spawn();
            }
        }
        for service in self.services() {
            service.ready().await;
        }
    }

    /// Kills every process at once, as a power cut would.
    pub fn kill(&mut self) {
        for service in self.services() {
            service.kill();
        }
    }

    /// Every process, the store first.
    pub fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        [&mut self.storaged].into_iter().chain(&mut self.gateways).chain(&mut self.federated)
    }

    /// Main address of the first gateway, or of all.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A client of the first gateway, or of whichever the kernel gives it.
    pub fn client(&self) -> Client {
        self.client_via(Via::Plain)
    }

    /// The same, speaking in some way.
    pub fn client_via(&self, via: Via) -> Client {
        Client::new(self.address(), via)
    }

    /// A client of one gateway, where they have separate ports.
    pub fn client_of(&self, gateway: usize) -> Client {
        self.client_of_via(gateway, Via::Plain)
    }

    /// The same, speaking in some way.
    pub fn client_of_via(&self, gateway: usize, via: Via) -> Client {
        Client::new(self.addresses[gateway], via)
    }

    /// Everything the relay holds on disk.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.data().join("relay.db")
    }

    /// The directory of the sockets.
    pub fn sockets(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The relay's own directory, which ends with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The `relay` command with some arguments, beside this relay.
    pub fn command(&self, arguments: &[&str]) -> Launch {
        self.launch(Program::Relay, "relay-command").only_arguments(arguments)
    }

    /// A further program beside the relay's own, with the variables of its storage daemon.
    pub fn launch(&self, program: Program, name: &str) -> Launch {
        self.storaged.launch.clone().program(program).named(name)
    }
}

/// A process of a relay, over all of its runs.
#[derive(Debug)]
pub struct Service {
    /// How it is started next time.
    pub launch: Launch,
    /// Its ops endpoints.
    pub ops: Ops,
    process: Option<Process>,
    past: String,
}

impl Service {
    fn new(launch: Launch, ops: Ops) -> Self {
        Self { launch, ops, process: None, past: String::new() }
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} was not stopped", self.launch.name());
        self.process = Some(self.launch.start());
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead, or takes too long; the message shows what it said.
    pub async fn ready(&mut self) {
        let ops = self.ops.clone();
        let process = self.process.as_mut().expect("it was started");
        let seen = deadline::within(PATIENCE, async || {
            if !process.is_running() {
                return Some(false);
            }
            ops.is_ready().await.then_some(true)
        })
        .await;
        assert!(seen == Some(true), "{} is not ready; it said:\n{}", process.name(), process.output());
    }

    /// Kills it, starts it again and waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.ready().await;
    }

    /// Kills it as a power cut would. Nothing happens if it does not run.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
        self.retire();
    }

    /// Asks it to stop and returns its exit code.
    pub async fn terminate(&mut self) -> i32 {
        let code = self.process.as_mut().expect("it runs").terminate().await;
        self.retire();
        code
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Waits until it ends by itself and returns its exit code.
    pub async fn exit_code(&mut self) -> i32 {
        let code = self.process.as_mut().expect("it was started").exit_code().await;
        self.retire();
        code
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// The running process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.launch.name()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Everything it said in all its runs.
    pub fn output(&self) -> String {
        self.past.clone() + &self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Processor time of the current run.
    pub fn cpu_time(&self) -> Duration {
        self.process().cpu_time()
    }

    fn retire(&mut self) {
        if let Some(process) = self.process.take() {
            self.past += &process.output();
        }
    }
}
