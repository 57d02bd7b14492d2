//! What the service manager is told (sd_notify(3)): that the process is ready, that it stops, and, as long as its event loop
//! turns, that it lives. Without one, nothing happens.

use crate::watchdog;
use sd_notify::NotifyState;
use std::time::Duration;

fn tell(state: NotifyState<'_>) {
    // Whether a manager listens is its own affair.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(kind = ?error.kind(), "the service manager cannot be told");
    }
}

/// Tells that the process serves now. From here on its event loop has to turn: the service manager is told again and again
/// that it does, and the watchdog of this process looks. To be called inside a runtime.
pub fn ready() {
    tell(NotifyState::Ready);
    let progress = watchdog::watch("the event loop", 1);
    tokio::spawn(every(watchdog::LOOK, move || progress.made()));
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
        // A third of the time after which the manager takes the process for dead: one message may be late.
        tokio::spawn(every(limit / 3, || tell(NotifyState::Watchdog)));
    }
}

async fn every(pause: Duration, mut act: impl FnMut()) {
    let mut beats = tokio::time::interval(pause);
    loop {
        beats.tick().await;
        act();
    }
}

/// Tells that the process is stopping.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}
