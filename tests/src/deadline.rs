//! Time in tests: waiting for a condition under a deadline, and the clock. Nothing else in this crate sleeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer than anything healthy takes, even in a debug build on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until the probe sees what it waits for.
///
/// # Panics
/// When the limit passes first; the message says what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    match within(limit, &mut probe).await {
        Some(seen) => seen,
        None => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Looks until the probe sees what it waits for, or the limit passes.
pub async fn within<T>(limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = probe().await {
            return Some(seen);
        }
        if start.elapsed() >= limit {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets time pass where the passing itself is what a test is about: the pace of a slow peer, the pulse of a
/// kill loop. Never a stand-in for a condition.
pub async fn pace(step: Duration) {
    tokio::time::sleep(step).await;
}

/// The beat of a client that asks at a fixed rate. A beat that was missed is made up for.
pub fn beats(every: Duration) -> tokio::time::Interval {
    tokio::time::interval(every)
}

/// Bounds something that should end by itself.
///
/// # Panics
/// When it does not end in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Seconds since 1970, as clients put them into signed requests.
#[expect(clippy::disallowed_methods, reason = "tests are clients: they live in real time")]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}
