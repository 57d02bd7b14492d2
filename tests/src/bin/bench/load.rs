//! The load generator: every connection asks, waits for the answer and asks again (a closed loop). One thread,
//! so that most of both cores is left to what is measured; what it takes itself is in the report.

use crate::Fallible;
use crate::proc::{self, Watched};
use crate::wire::Connection;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a connection tries to come back before its script ends.
const RECONNECT: Duration = Duration::from_secs(5);
/// How long answers may be outstanding after the window before they count as never given.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
/// How many errors are kept to be shown.
const SAMPLES: usize = 5;

/// What one connection asks, and what it makes of the answers.
pub(crate) trait Script: Send + 'static {
    /// The next request; none ends the connection's part.
    fn next(&mut self) -> Option<&[u8]>;

    /// Takes an answer; an error says what was wrong with it.
    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String>;
}

/// How long a load lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Pace {
    pub(crate) fn measured(window: Duration) -> Self {
        Self { warm_up: window.mul_f64(0.15).min(Duration::from_millis(500)), window }
    }

    /// Until the scripts end by themselves.
    pub(crate) fn to_the_end() -> Self {
        Self { warm_up: Duration::ZERO, window: Duration::from_secs(3600) }
    }
}

/// What a load measured.
#[derive(Debug)]
pub(crate) struct Outcome {
    histogram: Histogram<u64>,
    elapsed: Duration,
    cpu: BTreeMap<&'static str, Duration>,
    /// The slowest answer of all, also outside the window.
    pub(crate) slowest: Duration,
    pub(crate) errors: u64,
    pub(crate) samples: Vec<String>,
}

impl Outcome {
    pub(crate) fn requests(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests() as f64 / self.seconds()
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.elapsed.as_secs_f64()
    }

    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub(crate) fn worst_ms(&self) -> f64 {
        self.histogram.max() as f64 / 1000.0
    }

    pub(crate) fn cpu_us(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let requests = self.requests().max(1) as f64;
        self.cpu.iter().map(move |(name, time)| (*name, time.as_secs_f64() * 1e6 / requests))
    }

    /// An error if anything went wrong, for loads that only prepare or check.
    pub(crate) fn flawless(self, what: &str) -> Fallible<Self> {
        if self.errors == 0 {
            return Ok(self);
        }
        Err(format!("{what}: {} errors, for example: {}", self.errors, self.samples.join("; ")).into())
    }
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

struct Shared {
    stage: AtomicU8,
    book: Mutex<Book>,
}

struct Book {
    histogram: Histogram<u64>,
    slowest: Duration,
    errors: u64,
    samples: Vec<String>,
}

impl Shared {
    fn record(&self, took: Duration, verdict: Result<(), String>) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.slowest = book.slowest.max(took);
        if let Err(flaw) = verdict {
            // Errors always count; only times wait for the window.
            book.errors += 1;
            if book.samples.len() < SAMPLES {
                book.samples.push(flaw);
            }
        } else if self.stage.load(Ordering::Relaxed) == MEASURING {
            let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            book.histogram.saturating_record(microseconds);
        }
    }
}

/// Runs one script a connection and watches processes meanwhile. Gives the scripts back with what they gathered.
pub(crate) async fn drive<S: Script>(
    address: SocketAddr,
    scripts: Vec<S>,
    pace: Pace,
    watched: &[Watched],
) -> Fallible<(Outcome, Vec<S>)> {
    let histogram = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let book = Mutex::new(Book { histogram, slowest: Duration::ZERO, errors: 0, samples: Vec::new() });
    let shared = Arc::new(Shared { stage: AtomicU8::new(WARMING), book });
    let mut connections = Vec::with_capacity(scripts.len());
    for _ in &scripts {
        connections.push(Connection::open_within(address, RECONNECT).await?);
    }
    if pace.warm_up.is_zero() {
        shared.stage.store(MEASURING, Ordering::Relaxed);
    }
    let mut tasks = JoinSet::new();
    for (connection, script) in connections.into_iter().zip(scripts) {
        tasks.spawn(work(address, connection, script, Arc::clone(&shared)));
    }
    tokio::time::sleep(pace.warm_up).await;
    let (cpu_before, started) = (proc::cpu_times(watched), Instant::now());
    shared.stage.store(MEASURING, Ordering::Relaxed);

    let mut finished = Vec::new();
    collect(&mut tasks, &mut finished, pace.window).await;
    shared.stage.store(OVER, Ordering::Relaxed);
    let elapsed = started.elapsed();
    let mut cpu = proc::cpu_times(watched);
    for (name, time) in &mut cpu {
        *time = time.saturating_sub(cpu_before.get(name).copied().unwrap_or_default());
    }
    collect(&mut tasks, &mut finished, LAST_ANSWERS).await;
    let never = tasks.len() as u64;
    tasks.shutdown().await;

    let mut book = shared.book.lock().unwrap_or_else(PoisonError::into_inner);
    if never > 0 {
        book.samples.push(format!("{never} requests were never answered"));
    }
    let outcome = Outcome {
        histogram: book.histogram.clone(),
        elapsed,
        cpu,
        slowest: book.slowest,
        errors: book.errors + never,
        samples: std::mem::take(&mut book.samples),
    };
    Ok((outcome, finished))
}

/// Collects finished scripts until all are there or the time is up.
async fn collect<S: 'static>(tasks: &mut JoinSet<S>, finished: &mut Vec<S>, time: Duration) {
    let all = async {
        while let Some(script) = tasks.join_next().await {
            finished.extend(script);
        }
    };
    // Time being up is the ordinary end of a window.
    tokio::time::timeout(time, all).await.unwrap_or_default();
}

async fn work<S: Script>(
    address: SocketAddr,
    mut connection: Connection,
    mut script: S,
    shared: Arc<Shared>,
) -> S {
    while shared.stage.load(Ordering::Relaxed) != OVER {
        let Some(request) = script.next() else { break };
        let started = Instant::now();
        let answer = connection.exchange(request).await;
        let took = started.elapsed();
        match answer {
            Ok(status) => shared.record(took, script.answered(status, connection.body())),
            Err(error) => {
                shared.record(took, Err(format!("the connection broke: {error}")));
                match Connection::open_within(address, RECONNECT).await {
                    Ok(anew) => connection = anew,
                    Err(_) => break,
                }
            }
        }
    }
    script
}
