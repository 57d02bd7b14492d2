//! The relay end to end: HTTP in, committed in storage, HTTP out.

use crate::Fallible;
use crate::load::{self, Outcome, Pace, Script};
use crate::proc::{self, Memory, Watched};
use crate::relay::{Apart, Site};
use crate::requests::Mailboxes;
use crate::scripts::{Acker, BLOB, Fetcher, Mixer, Pool, Sender, Sent};
use crate::stock::Stock;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Mailboxes with one blob each, to be fetched.
const READ: Mailboxes = Mailboxes(2);
/// Mailboxes that are sent to.
const WRITTEN: Mailboxes = Mailboxes(3);
/// Mailboxes of the mixed load, where a fetch finds a blob or two.
const MIXED: Mailboxes = Mailboxes(4);
const MAILBOXES: u64 = 20_000;

/// A relay under load, round after round.
pub(crate) struct Throughput {
    site: Site,
    apart: Apart,
    /// Mailboxes with one blob each.
    standing: u64,
    /// Sent and not yet acked.
    unacked: Vec<Sent>,
}

impl Throughput {
    pub(crate) async fn start(directory: &Path, standing: u64) -> Fallible<Self> {
        let site = Site::new(directory)?;
        let apart = site.apart().await?;
        let stock = Stock { mailboxes: READ, place: |number| number, sizes: vec![BLOB] };
        stock.fill(site.address(), 0..standing).await?;
        Ok(Self { site, apart, standing, unacked: Vec::new() })
    }

    pub(crate) async fn send(&mut self, connections: usize, window: Duration) -> Fallible<Outcome> {
        let senders = (0..connections).map(|_| Sender::new(WRITTEN, MAILBOXES)).collect();
        let (outcome, senders) = self.drive(senders, window).await?;
        self.unacked.extend(senders.into_iter().flat_map(|sender| sender.sent));
        Ok(outcome)
    }

    /// Acks what was sent, as far as the time goes.
    pub(crate) async fn ack(&mut self, connections: usize, window: Duration) -> Fallible<Outcome> {
        let pool = Arc::new(Pool::shuffled(std::mem::take(&mut self.unacked)));
        let ackers = (0..connections).map(|_| Acker::new(WRITTEN, Arc::clone(&pool))).collect();
        let (outcome, _) = self.drive(ackers, window).await?;
        self.unacked = pool.rest();
        Ok(outcome)
    }

    pub(crate) async fn fetch(&mut self, connections: usize, window: Duration) -> Fallible<Outcome> {
        let fetchers = (0..connections).map(|_| Fetcher::new(READ, 1, self.standing)).collect();
        Ok(self.drive(fetchers, window).await?.0)
    }

    pub(crate) async fn mixed(&mut self, connections: usize, window: Duration) -> Fallible<Outcome> {
        let mixers = (0..connections).map(|_| Mixer::new(MIXED, MAILBOXES)).collect();
        Ok(self.drive(mixers, window).await?.0)
    }

    async fn drive<S: Script>(&mut self, scripts: Vec<S>, window: Duration) -> Fallible<(Outcome, Vec<S>)> {
        let mut watched = self.apart.watched();
        watched.push(Watched::generator());
        let done = load::drive(self.site.address(), scripts, Pace::measured(window), &watched).await?;
        self.apart.still_runs()?;
        Ok(done)
    }

    /// Memory after all rounds.
    pub(crate) fn memory(&self) -> Fallible<BTreeMap<&'static str, Memory>> {
        proc::memories(&self.apart.watched())
    }
}
