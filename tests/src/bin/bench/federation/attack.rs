//! A peer that the relay accepts and that means harm. It comes back all the time, each time asks far more than it may,
//! then does one of the things that no peer may do, and is gone. On a thread of its own, at a pace of its own: what its
//! side of it takes of this machine, the relay and its clients do not get, and that is not what is measured.

use crate::Fallible;
use relay_tests::peer::message::Offload;
use relay_tests::peer::{Blob, Body, Dialled, Misdeed, Options, PeerKeys};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Between two attacks.
const PACE: Duration = Duration::from_millis(100);
/// Questions of each. Three hundred a minute are allowed.
const QUESTIONS: usize = 30;
/// Bytes of the blob that each question offers.
const BLOB: usize = 500;

/// An attack that goes on.
pub(super) struct Attack {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<(u64, Duration), String>>,
    began: Instant,
}

impl Attack {
    pub(super) fn begin(address: SocketAddr, keys: PeerKeys) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread =
            std::thread::spawn(move || attack(address, &keys, &over).map_err(|error| error.to_string()));
        Self { is_over, thread, began: Instant::now() }
    }

    /// Ends it. Returns how many attacks a second there were, and what their side took of a processor, in percent.
    pub(super) fn end(self) -> Fallible<(f64, f64)> {
        self.is_over.store(true, Ordering::Relaxed);
        let (attacks, took) = self.thread.join().map_err(|_| "the attackers panicked")??;
        let all = self.began.elapsed().as_secs_f64();
        Ok((attacks as f64 / all, 100.0 * took.as_secs_f64() / all))
    }
}

fn attack(address: SocketAddr, keys: &PeerKeys, is_over: &AtomicBool) -> Fallible<(u64, Duration)> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let relay_key = Some(Dialled::key(address, "").await);
        let options = Options { relay_key, ..Options::default() };
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut attacks = 0;
        for misdeed in Misdeed::ALL.into_iter().cycle() {
            pace.tick().await;
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let met = Dialled::attempt(address, keys, &options).await;
            let mut channel = met.map_err(|closed| format!("no channel for an attack: {closed:?}"))?;
            let offer = || Body::Offload(Offload { blobs: vec![Blob::random(BLOB)], home: false });
            channel.ask_all((0..QUESTIONS).map(|_| offer()).collect()).await;
            misdeed.commit(&mut channel).await;
            channel.cut().await;
            attacks += 1;
        }
        Ok((attacks, cpu_time()?))
    })
}

/// Processor time of this thread.
fn cpu_time() -> Fallible<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let running = times.split_whitespace().next().ok_or("a thread without a time")?;
    Ok(Duration::from_nanos(running.parse()?))
}
