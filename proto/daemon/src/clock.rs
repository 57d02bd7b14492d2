//! Time as an argument: the system's, or a test's.

use relay_proto::UnixSeconds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells wall-clock and monotonic time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(ManualClock),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Wall-clock time. May jump.
    pub fn now(&self) -> UnixSeconds {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(clock) => UnixSeconds::new(clock.0.wall.load(Ordering::SeqCst)),
        }
    }

    /// Time since an arbitrary start. Never jumps.
    pub fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        match &self.0 {
            Source::System => START.get_or_init(Instant::now).elapsed(),
            Source::Manual(clock) => Duration::from_millis(clock.0.monotonic.load(Ordering::SeqCst)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else takes")]
fn system_now() -> UnixSeconds {
    UnixSeconds::new(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()))
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock at this moment.
    pub fn at(now: UnixSeconds) -> Self {
        Self(Arc::new(Hands { wall: AtomicU64::new(now.get()), monotonic: AtomicU64::new(0) }))
    }

    /// The clock to pass in.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(self.clone()))
    }

    /// Lets time pass, on both hands.
    pub fn advance(&self, time: Duration) {
        self.0.wall.fetch_add(time.as_secs(), Ordering::SeqCst);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.monotonic.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator or a broken battery would: no time passes.
    pub fn jump_to(&self, now: UnixSeconds) {
        self.0.wall.store(now.get(), Ordering::SeqCst);
    }
}
