//! How the store ended, told once.

use relay_daemon::Failure;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// How the store ended.
pub(crate) type Ended = oneshot::Receiver<Result<(), Failure>>;

/// Says how the store ended. Whoever is first is heard.
#[derive(Debug, Clone)]
pub(crate) struct End(Arc<Mutex<Option<EndSender>>>);

type EndSender = oneshot::Sender<Result<(), Failure>>;

impl End {
    pub(crate) fn channel() -> (Self, Ended) {
        let (end, ended) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(end)))), ended)
    }

    pub(crate) fn tell(&self, outcome: Result<(), Failure>) {
        if let Some(end) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody listens any more when the process is ending anyway.
            drop(end.send(outcome));
        }
    }
}

/// A thread that panics says nothing, and whoever listens hears that nobody will.
pub(super) struct Last(pub(super) End);

impl Drop for Last {
    fn drop(&mut self) {
        drop(self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
