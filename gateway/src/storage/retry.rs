//! Asking again until it is time to give up.

use crate::ops::metrics::Metrics;
use relay_proto::StorageError;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Repeats a call that is refused in passing, until `deadline`. A call that hangs ends there too: storage may
/// be frozen, and then nothing tells.
pub(super) async fn persist<T, F>(
    deadline: Instant,
    metrics: &Metrics,
    mut call: impl FnMut() -> F,
) -> Result<T, StorageError>
where
    F: Future<Output = Result<T, StorageError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let refusal = match timeout_at(deadline, call()).await {
            Ok(Err(refusal)) if refusal.is_passing() => refusal,
            Ok(outcome) => return outcome,
            Err(_) => return Err(StorageError::Unavailable),
        };
        let next = Instant::now() + pause;
        if next >= deadline {
            return Err(refusal);
        }
        metrics.storage_retries.inc();
        sleep_until(next).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::pending;

    async fn persist_with(outcomes: &[Result<u8, StorageError>]) -> (Result<u8, StorageError>, usize, u64) {
        let metrics = Metrics::new().unwrap();
        let asked = Cell::new(0);
        let outcome = persist(Instant::now() + Duration::from_secs(5), &metrics, || {
            let outcome = outcomes.get(asked.get()).or(outcomes.last()).unwrap().clone();
            asked.set(asked.get() + 1);
            async { outcome }
        })
        .await;
        (outcome, asked.get(), metrics.storage_retries.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_refusal_is_waited_out() {
        let away = [
            Err(StorageError::Unavailable),
            Err(StorageError::Busy),
            Err(StorageError::OutcomeUnknown),
            Ok(7),
        ];
        assert_eq!(persist_with(&away).await, (Ok(7), 4, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_real_refusal_is_final() {
        assert_eq!(
            persist_with(&[Err(StorageError::QuotaExceeded)]).await,
            (Err(StorageError::QuotaExceeded), 1, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_at_the_deadline() {
        let began = Instant::now();
        let (outcome, asked, _) = persist_with(&[Err(StorageError::Unavailable)]).await;
        assert_eq!(outcome, Err(StorageError::Unavailable));
        assert!(began.elapsed() <= Duration::from_secs(5));
        assert!(asked > 40, "asked {asked} times only");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_returns_ends_at_the_deadline() {
        let metrics = Metrics::new().unwrap();
        let outcome: Result<(), _> =
            persist(Instant::now() + Duration::from_secs(5), &metrics, pending).await;
        assert_eq!(outcome, Err(StorageError::Unavailable));
    }
}
