//! What the service manager is told (sd_notify(3)): that the process is ready, that it stops, and, as long as it gets on
//! with its work, that it lives. Without one, nothing happens.

use crate::Shutdown;
use sd_notify::NotifyState;
use std::future::Future;
use std::time::Duration;
use tokio::time::{sleep, timeout};

fn tell(state: NotifyState<'_>) {
    // Whether a manager listens is its own affair.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(kind = ?error.kind(), "the service manager cannot be told");
    }
}

/// Tells that the process serves now.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Tells that the process is stopping.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Tells again and again that the process lives, as often as the manager wants to hear it, and only while `alive` says
/// so in time. Ends with `shutdown`, or at once where nobody wants to hear it.
pub async fn live<F>(shutdown: Shutdown, mut alive: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let pause = beat(limit);
    loop {
        if timeout(pause, alive()).await == Ok(true) {
            tell(NotifyState::Watchdog);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.begun() => return,
        }
    }
}

/// A third of the time after which the manager takes the process for dead: one beat may be late.
fn beat(limit: Duration) -> Duration {
    limit / 3
}
