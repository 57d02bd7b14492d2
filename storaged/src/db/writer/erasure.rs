//! Answers that wait until what was deleted is gone from the log as well.
//!
//! Emptying the log takes the writer thread away from everybody else, so it is not part of any commit: however many
//! ask for it at once, they share one attempt, attempts keep a distance, and none waits long for a reader.

use crate::db::StoreError;
use relay_proto::StorageError;
use std::time::{Duration, Instant};

/// How long one attempt waits for readers that still use the log.
pub(crate) const READERS_WAIT: Duration = Duration::from_millis(50);
/// Shortest time between two attempts.
const GAP: Duration = Duration::from_millis(50);
/// The same, in times the last attempt took: attempts get a fifth of the writer's time at most.
const GAP_SHARE: u32 = 4;
/// How long answers wait for readers that hold the log back. Gateways ask again for five seconds.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The answers that wait, and when to try next.
#[derive(Default)]
pub(crate) struct Erasures {
    waiting: Vec<(Instant, Answer)>,
    next: Option<Instant>,
}

impl std::fmt::Debug for Erasures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Erasures").field("waiting", &self.waiting.len()).finish()
    }
}

impl Erasures {
    /// Keeps answers whose deletions are committed until the next attempt that succeeds.
    pub(crate) fn wait(&mut self, answers: Vec<Answer>, now: Instant) {
        self.waiting.extend(answers.into_iter().map(|answer| (now, answer)));
    }

    /// How long it is until the next attempt; `None` while nobody waits for one.
    pub(crate) fn due_in(&self, now: Instant) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        Some(self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now)))
    }

    /// Notes how an attempt ended. After a success everybody is answered, after a failure those who waited too long:
    /// their deletions stand, and what is left in the log goes when nobody reads it any more.
    pub(crate) fn attempted(&mut self, begun: Instant, ended: Instant, erased: bool) {
        self.next = Some(ended + GAP.max(ended.saturating_duration_since(begun) * GAP_SHARE));
        if erased {
            for (_, answer) in self.waiting.drain(..) {
                answer(Ok(()));
            }
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (since, answer) in waiting {
            if ended.saturating_duration_since(since) < PATIENCE {
                self.waiting.push((since, answer));
            } else {
                answer(Err(StorageError::OutcomeUnknown.into()));
            }
        }
    }

    /// Answers everybody who still waits when the store ends.
    pub(crate) fn end(&mut self, erased: bool) {
        for (_, answer) in self.waiting.drain(..) {
            answer(if erased { Ok(()) } else { Err(StorageError::OutcomeUnknown.into()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn answer() -> (Answer, Receiver<bool>) {
        let (told, hears) = channel();
        (Box::new(move |outcome: Result<(), StoreError>| told.send(outcome.is_ok()).unwrap()), hears)
    }

    #[test]
    fn many_share_one_attempt_and_attempts_keep_a_distance() {
        let mut erasures = Erasures::default();
        let start = Instant::now();
        assert_eq!(erasures.due_in(start), None, "nobody asks");
        let (answers, heard): (Vec<_>, Vec<_>) = (0..40).map(|_| answer()).unzip();
        erasures.wait(answers, start);
        assert_eq!(erasures.due_in(start), Some(Duration::ZERO), "the first one waits for nobody");
        let ended = start + Duration::from_millis(100);
        erasures.attempted(start, ended, true);
        assert!(heard.iter().all(|heard| heard.try_recv() == Ok(true)));
        assert_eq!(erasures.due_in(ended), None);
        let (late, heard) = answer();
        erasures.wait(vec![late], ended);
        assert_eq!(
            erasures.due_in(ended),
            Some(Duration::from_millis(400)),
            "four times what the last one took"
        );
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn who_waits_for_a_reader_too_long_is_told_to_ask_again() {
        let mut erasures = Erasures::default();
        let start = Instant::now();
        let ((first, first_heard), (second, second_heard)) = (answer(), answer());
        erasures.wait(vec![first], start);
        erasures.attempted(start, start + READERS_WAIT, false);
        assert!(first_heard.try_recv().is_err(), "it is tried again");
        erasures.wait(vec![second], start + PATIENCE);
        erasures.attempted(start + PATIENCE, start + PATIENCE + READERS_WAIT, false);
        assert_eq!(first_heard.try_recv(), Ok(false));
        assert!(second_heard.try_recv().is_err());
        erasures.end(true);
        assert_eq!(second_heard.try_recv(), Ok(true));
    }
}
