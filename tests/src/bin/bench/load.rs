//! The load generator: every connection asks, waits for the answer and asks again (a closed loop). One thread,
//! so that most of both cores is left to what is measured; what it takes itself is in the report.

use crate::Fallible;
use crate::processes::{self, Watched};
use crate::wire::Connection;
use hdrhistogram::Histogram;
use relay_tests::deadline;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a connection tries to come back before its scenario ends.
const RECONNECT: Duration = Duration::from_secs(5);
/// How long answers may be outstanding after the window before they count as never given.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
/// How many errors are kept to be shown.
const SAMPLES: usize = 5;
const LONGEST_WARM_UP: Duration = Duration::from_millis(500);

/// The window of a load whose scenarios end by themselves.
pub(crate) const TO_THE_END: Duration = Duration::from_secs(3600);

/// What a load measured.
#[derive(Clone)]
pub(crate) struct Outcome {
    /// Microseconds of the answers within the window.
    histogram: Histogram<u64>,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// CPU microseconds a request, of each process.
    pub(crate) cpu_us: BTreeMap<&'static str, f64>,
    /// The slowest answer of all, also outside the window.
    pub(crate) slowest_ms: f64,
    pub(crate) errors: u64,
    /// Some of the errors.
    pub(crate) samples: Vec<String>,
}

impl Outcome {
    fn new() -> Fallible<Self> {
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        let (cpu_us, samples) = (BTreeMap::new(), Vec::new());
        Ok(Self { histogram, seconds: 0.0, cpu_us, slowest_ms: 0.0, errors: 0, samples })
    }

    pub(crate) fn requests(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests() as f64 / self.seconds
    }

    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Fails if anything went wrong, for loads that only prepare or check.
    pub(crate) fn flawless(self, what: &str) -> Fallible<Self> {
        if self.errors == 0 {
            return Ok(self);
        }
        Err(format!("{what}: {} errors, for example: {}", self.errors, self.samples.join("; ")).into())
    }

    pub(crate) fn show_errors(&self) {
        for sample in &self.samples {
            eprintln!("    wrong: {sample}");
        }
    }

    fn fail(&mut self, error: String) {
        self.errors += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(error);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    WarmUp,
    Measuring,
    Over,
}

struct Shared {
    stage: Cell<Stage>,
    outcome: RefCell<Outcome>,
}

/// One connection of a load, and where its times are recorded.
pub(crate) struct LoadClient {
    address: SocketAddr,
    /// None when the server did not come back in time.
    connection: Option<Connection>,
    shared: Rc<Shared>,
}

impl LoadClient {
    /// Whether the load is not over and the server is there.
    pub(crate) fn is_on(&self) -> bool {
        self.connection.is_some() && self.shared.stage.get() != Stage::Over
    }

    /// Sends a request, and records the time of the answer or what `check` finds wrong with it.
    /// Returns nothing when it is wrong, and when the load is over.
    pub(crate) async fn ask<T>(
        &mut self,
        request: &[u8],
        check: impl FnOnce(u16, &[u8]) -> Result<T, String>,
    ) -> Option<T> {
        if !self.is_on() {
            return None;
        }
        let started = Instant::now();
        let answer = self.connection.as_mut()?.exchange(request).await;
        let took = started.elapsed();
        let is_broken = answer.is_err();
        let checked = match answer {
            Ok((status, body)) => check(status, body),
            Err(error) => Err(format!("the connection broke: {error}")),
        };
        if is_broken {
            self.connection = connect(self.address).await;
        }
        let mut outcome = self.shared.outcome.borrow_mut();
        outcome.slowest_ms = outcome.slowest_ms.max(took.as_secs_f64() * 1000.0);
        // Errors always count; only times wait for the window.
        if checked.is_ok() && self.shared.stage.get() == Stage::Measuring {
            outcome.histogram.saturating_record(took.as_micros() as u64);
        }
        checked.map_err(|error| outcome.fail(error)).ok()
    }
}

/// Connects to a server that may be a moment away.
async fn connect(address: SocketAddr) -> Option<Connection> {
    deadline::within(RECONNECT, async || Connection::open(address).await.ok()).await
}

/// Runs the scenario on so many connections, after a short warm-up if it is the window that ends it, and watches
/// processes meanwhile, the load generator among them. Returns what was measured and what each scenario returned.
pub(crate) async fn run<T, F>(
    address: SocketAddr,
    connections: usize,
    window: Duration,
    mut watched: Watched,
    scenario: impl Fn(LoadClient) -> F,
) -> Fallible<(Outcome, Vec<T>)>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    watched.push(("generator", std::process::id()));
    let warm_up =
        if window == TO_THE_END { Duration::ZERO } else { window.mul_f64(0.15).min(LONGEST_WARM_UP) };
    let stage = Cell::new(if warm_up.is_zero() { Stage::Measuring } else { Stage::WarmUp });
    let shared = Rc::new(Shared { stage, outcome: RefCell::new(Outcome::new()?) });
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let connection = connect(address).await.ok_or("nobody takes connections")?;
        clients.push(LoadClient { address, connection: Some(connection), shared: Rc::clone(&shared) });
    }
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn_local(scenario(client));
    }
    tokio::time::sleep(warm_up).await;
    let (cpu_before, started) = (processes::cpu_times(&watched), Instant::now());
    shared.stage.set(Stage::Measuring);

    let mut finished = Vec::new();
    collect(&mut tasks, &mut finished, window, &shared).await;
    shared.stage.set(Stage::Over);
    let (seconds, cpu_times) = (started.elapsed().as_secs_f64(), processes::cpu_times(&watched));
    collect(&mut tasks, &mut finished, LAST_ANSWERS, &shared).await;
    for _ in 0..tasks.len() {
        shared.outcome.borrow_mut().fail("a request was never answered".to_owned());
    }
    tasks.shutdown().await;
    let mut outcome = shared.outcome.borrow().clone();
    for (name, time) in cpu_times {
        let time = time.saturating_sub(cpu_before.get(name).copied().unwrap_or_default());
        outcome.cpu_us.insert(name, time.as_secs_f64() * 1e6 / outcome.requests().max(1) as f64);
    }
    Ok((Outcome { seconds, ..outcome }, finished))
}

/// Collects what scenarios returned until all have ended or the time is up.
async fn collect<T: 'static>(tasks: &mut JoinSet<T>, finished: &mut Vec<T>, time: Duration, shared: &Shared) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(returned) => finished.push(returned),
                Err(error) => {
                    shared.outcome.borrow_mut().fail(format!("a client of the bench failed: {error}"))
                }
            }
        }
    };
    // Time being up is the ordinary end of a window.
    tokio::time::timeout(time, all).await.unwrap_or_default();
}
