//! The network between two relays, and everything that goes wrong with networks, on command: nobody is there, somebody
//! is there and says nothing, connections break in the middle, bytes come late or slowly. It forwards what it is given
//! and reads none of it. Where it breaks connections by itself, a seed says after how many bytes.

mod line;

use crate::ports::HeldPort;
use line::{Fault, Line};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A port that leads to another one, through a network that obeys the test.
#[derive(Debug)]
pub struct FaultProxy {
    port: Arc<HeldPort>,
    line: Arc<Line>,
    serving: JoinHandle<()>,
}

impl FaultProxy {
    /// A faultless way to an address, where nobody need listen yet.
    pub fn to(target: SocketAddr) -> Self {
        let (port, line) = (Arc::new(HeldPort::draw()), Arc::new(Line::new(target)));
        let serving = tokio::spawn(Arc::clone(&line).serve(Arc::clone(&port)));
        Self { port, line, serving }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Nobody is there any more: connections are reset, and new ones are refused.
    pub fn refuse(&self) {
        self.line.change(|fault| fault.is_open = false);
        self.line.cut();
    }

    /// Somebody is there and says nothing: connections are taken and stand, and nothing passes.
    pub fn hang(&self) {
        self.line.change(|fault| fault.hangs = true);
    }

    /// Resets the connections of this moment.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Lets everything be so late.
    pub fn delay(&self, delay: Duration) {
        self.line.change(|fault| fault.delay = delay);
    }

    /// Lets so many bytes a second pass, each way of each connection.
    ///
    /// # Panics
    /// At none: that is [`hang`](Self::hang).
    pub fn limit(&self, bytes_per_second: u32) {
        assert!(bytes_per_second > 0, "a line that hangs is not slow");
        self.line.change(|fault| fault.bytes_per_second = Some(bytes_per_second));
    }

    /// Resets every connection from now on after a number of bytes, both ways together, that the seed draws from a
    /// range. Those that stand are left alone.
    pub fn cut_each(&self, seed: u64, after: Range<u64>) {
        self.line.change(|fault| fault.cuts = Some(line::Cuts::new(seed, after.clone())));
    }

    /// Nothing is wrong any more. Connections that hung go on; those that a seed has doomed are still cut.
    pub fn heal(&self) {
        self.line.change(|fault| *fault = Fault::default());
    }

    /// Bytes that passed, both ways, in all connections.
    pub fn passed(&self) -> u64 {
        self.line.passed()
    }

    /// Connections that were reset because of the seed.
    pub fn cuts(&self) -> u64 {
        self.line.cuts()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[cfg(test)]
mod tests;
