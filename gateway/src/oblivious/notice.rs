//! A line of the log that is written seldom, however often there is a reason.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Remembers when a line was last written.
#[derive(Debug)]
pub(super) struct Notice {
    every: Duration,
    written: Mutex<Option<Duration>>,
}

impl Notice {
    /// A line that is written once in so long a time.
    pub(super) const fn once_in(every: Duration) -> Self {
        Self { every, written: Mutex::new(None) }
    }

    /// Whether to write it now.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = written.is_none_or(|at| now.saturating_sub(at) >= self.every);
        if is_due {
            *written = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_once_in_its_time() {
        let notice = Notice::once_in(Duration::from_secs(60));
        let due = [0, 1, 59, 60, 61, 500].map(|second| notice.is_due(Duration::from_secs(second)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
