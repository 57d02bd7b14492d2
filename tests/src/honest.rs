//! Honest clients beside a hostile one: each at an address of its own, each sending, fetching and acknowledging at a
//! steady pace, and counting what it was answered. What a relay promises is what its worst neighbour leaves of it.

use crate::client::Client;
use crate::deadline::{self, PATIENCE};
use crate::fields::{random_bytes, random_mailbox};
use crate::reply::{Page, UNTOLD};
use crate::{Action, Reply, fields};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long an honest client waits for an answer.
const LONGEST: Duration = Duration::from_secs(10);

/// Bytes of an honest client's mail.
const MAIL: usize = 700;

/// An address on the loopback network that tests give to one client; each counts as another.
pub const fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 77, number))
}

/// Honest clients at work.
#[derive(Debug)]
pub struct Honest {
    tasks: JoinSet<Tally>,
    answers: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

/// What honest clients were answered.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests.
    pub asked: usize,
    /// Answers of each status but 200; [`UNTOLD`] where none came.
    pub refused: BTreeMap<u16, usize>,
    /// How long each answer took.
    pub times: Vec<Duration>,
}

impl Honest {
    /// Starts so many clients like one, at addresses of their own; each asks something after every pause.
    pub fn start(like: &Client, clients: u8, pause: Duration) -> Self {
        let (answers, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        for number in 1..=clients {
            let client = like.another().with_source(address(number));
            let (answers, stop) = (Arc::clone(&answers), Arc::clone(&stop));
            tasks.spawn(async move { work(&client, pause, &answers, &stop).await });
        }
        Self { tasks, answers, stop }
    }

    /// Waits for so many more answers, or refusals.
    pub async fn more(&self, count: usize) {
        let goal = self.answers.load(Relaxed) + count;
        deadline::until("answers to honest clients", 4 * PATIENCE, async || {
            (self.answers.load(Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Ends them and says what they saw.
    ///
    /// # Panics
    /// When one of them did.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            all.add(tally.expect("an honest client ends by itself"));
        }
        all
    }
}

impl Tally {
    /// At least 95 of a hundred were served, and nobody heard that the relay cannot.
    ///
    /// # Panics
    /// When it was not so.
    pub fn is_good(&self) {
        let refused: usize = self.refused.values().sum();
        assert!(self.asked > 0, "nobody asked anything");
        // Shown with --nocapture: how it was beside this attack, to be compared with how it is beside none.
        eprintln!("{} honest requests, {refused} refused, p95 {:?}", self.asked, self.p95());
        assert!(refused * 20 <= self.asked, "of {} honest requests refused: {:?}", self.asked, self.refused);
        assert!(!self.refused.keys().any(|status| *status >= 500), "{:?} of {}", self.refused, self.asked);
    }

    /// The time that 95 of a hundred answers took at most.
    pub fn p95(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times.get(times.len() * 95 / 100).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.times.extend(other.times);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
    }

    fn note(&mut self, began: Instant, reply: Option<&Reply>) {
        self.asked += 1;
        self.times.push(began.elapsed());
        let status = reply.map_or(UNTOLD, |reply| reply.status);
        if status >= 500 {
            // Shown with --nocapture, to be looked into.
            eprintln!("after {:?}: {}", began.elapsed(), reply.map_or_else(String::new, Reply::describe));
        }
        if status != 200 {
            *self.refused.entry(status).or_default() += 1;
        }
    }
}

/// Sends, fetches and acknowledges until told to stop.
async fn work(client: &Client, pause: Duration, answers: &AtomicUsize, stop: &AtomicBool) -> Tally {
    let (mailbox, mut tally) = (random_mailbox(), Tally::default());
    let mut unacked: Vec<String> = Vec::new();
    let mut turn = 0_usize;
    while !stop.load(Relaxed) {
        let (action, fields) = match (turn % 3, unacked.pop()) {
            (2, Some(id)) => (Action::Ack, fields::ack_fields(&mailbox, &id)),
            (0, _) => (Action::Send, fields::send_fields(&mailbox, &random_bytes(MAIL))),
            _ => (Action::Fetch, fields::mailbox_fields(&[&mailbox])),
        };
        turn += 1;
        let began = Instant::now();
        let reply = timeout(LONGEST, client.try_call(action, &fields)).await;
        let reply = reply.ok().and_then(Result::ok);
        tally.note(began, reply.as_ref());
        answers.fetch_add(1, Relaxed);
        if let Some(reply) = reply.filter(|reply| action == Action::Fetch && reply.status == 200) {
            unacked = Page::read(&reply.outcome()).ids().into_iter().map(str::to_owned).collect();
        }
        deadline::pace(pause).await;
    }
    tally
}
