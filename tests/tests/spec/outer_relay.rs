//! The outer relay that this project ships: it brings sealed requests to the relays that its operator named, tells them
//! nothing of who asked, and goes nowhere else.

mod fake;
mod forwarding;
mod keys;
mod refusing;
mod sharing;
mod starting;

use relay_tests::binaries::Program;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::ops::Ops;
use relay_tests::ports::HeldPort;
use relay_tests::process::{Launch, Process};
use relay_tests::{Client, Reply, Via, oblivious};
use std::net::SocketAddr;
use tempfile::TempDir;

/// An outer relay. Dropped in this order: the process first.
pub(crate) struct Outer {
    process: Process,
    address: SocketAddr,
    ops: Ops,
    _ports: [HeldPort; 2],
    _directory: TempDir,
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("relay-").tempdir_in("/tmp").unwrap()
}

impl Outer {
    /// Starts one for some targets and waits until it is ready.
    async fn start(targets: &str, variables: &[(&str, &str)]) -> Self {
        let (directory, ports) = (directory(), [HeldPort::draw(), HeldPort::draw()]);
        let [address, ops] = [&ports[0], &ports[1]].map(HeldPort::address);
        let mut launch = Launch::new(Program::Oblivious, directory.path())
            .variable("OBLIVIOUS_TARGETS", targets)
            .variable("OBLIVIOUS_ORIGIN", "https://outer.example")
            .variable("OBLIVIOUS_LISTEN_ADDR", address)
            .variable("OBLIVIOUS_METRICS_ADDR", ops);
        for (name, value) in variables {
            launch.set(name, value);
        }
        let (mut process, ops) = (launch.start(), Ops::Port(ops));
        let ready = deadline::within(PATIENCE, async || {
            if !process.is_running() {
                return Some(false);
            }
            ops.is_ready().await.then_some(true)
        })
        .await;
        assert!(ready == Some(true), "the outer relay is not ready; it said:\n{}", process.output());
        Self { process, address, ops, _ports: ports, _directory: directory }
    }

    /// One for a target on this machine.
    async fn of(target: SocketAddr) -> Self {
        Self::start(&format!("http://{target}"), &[]).await
    }

    fn client(&self) -> Client {
        Client::new(self.address, Via::Plain)
    }

    /// What it counted of a name.
    async fn counted(&self, name: &str) -> f64 {
        self.ops.metrics().await.sum(name)
    }
}

/// Sends something as a sealed request.
async fn carry(client: &Client, body: impl Into<bytes::Bytes>) -> Reply {
    client.raw("POST", oblivious::PATH, &[("content-type", oblivious::REQUEST_TYPE)], body).await
}
