//! What one connection has been doing, and what that means for it. Pure bookkeeping: [`super::stream`] and
//! [`super::connection`] tell what happens, and ask what is due.
//!
//! Against slow heads (Slowloris), replies that nobody reads, and HTTP/2 windows that are never opened again. hyper sees none
//! of the last two as long as the socket lives: it waits.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// How long a connection may do what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the first byte of a request's head to its last (HTTP/1).
    pub(crate) head: Duration,
    /// Without a request.
    pub(crate) idle: Duration,
    /// With a reply that the peer does not take.
    pub(crate) blocked: Duration,
    /// With an HTTP/2 reply for which the peer makes no room, although it takes what else is written.
    pub(crate) stalled: Duration,
    /// With requests in progress of which none begins or ends.
    pub(crate) stuck: Duration,
    /// Altogether.
    pub(crate) age: Duration,
    /// From a friendly end to a hard one.
    pub(crate) farewell: Duration,
    /// From the last reply until the peer has closed, too.
    pub(crate) linger: Duration,
    /// With nothing moving, where it has become a tunnel. No other limit holds for a tunnel: peers send pings every few
    /// seconds, and end connections themselves.
    pub(crate) quiet: Duration,
}

impl Limits {
    /// The relay's limits for connections that may be idle for so long.
    pub(crate) const fn with_idle(idle: Duration) -> Self {
        Self {
            head: Duration::from_secs(5),
            idle,
            blocked: Duration::from_secs(30),
            stalled: Duration::from_secs(10),
            stuck: Duration::from_secs(600),
            age: Duration::from_secs(3600),
            farewell: Duration::from_secs(29),
            linger: Duration::from_secs(1),
            quiet: Duration::from_secs(150),
        }
    }
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadlineAction {
    /// Let it finish what is in progress, then end it.
    Retire,
    /// End it now.
    Close,
}

/// Moments are milliseconds since the connection began, and one, so that zero means never.
#[derive(Debug)]
pub(super) struct ConnectionState {
    began: Instant,
    /// First byte of a head that is not complete yet.
    head_since: AtomicU64,
    /// A write that the peer does not take, and the last time that there was none any more.
    blocked_since: AtomicU64,
    unblocked_at: AtomicU64,
    /// Last begin or end of a request.
    moved_at: AtomicU64,
    /// Begin of a friendly end.
    retired_at: AtomicU64,
    /// Begin of waiting for the peer to close.
    lingering_since: AtomicU64,
    in_progress: AtomicU32,
    /// HTTP/2 replies that are not all written, and when a piece of each was last handed on.
    answers: Mutex<Vec<(u64, u64)>>,
    /// Names for them, from one.
    next_reply: AtomicU64,
    /// Whether many clients share the connection, so that none of them is a reason to end it at once.
    is_shared: bool,
    replaced: Notify,
    /// HTTP/2, where bytes are not the beginning of a head.
    multiplexed: AtomicBool,
}

impl ConnectionState {
    pub(super) fn new(is_shared: bool) -> Self {
        Self {
            began: Instant::now(),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            unblocked_at: AtomicU64::new(0),
            moved_at: AtomicU64::new(1),
            retired_at: AtomicU64::new(0),
            lingering_since: AtomicU64::new(0),
            in_progress: AtomicU32::new(0),
            answers: Mutex::default(),
            next_reply: AtomicU64::new(1),
            is_shared,
            replaced: Notify::new(),
            multiplexed: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        let between_requests = self.in_progress.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed);
        if between_requests && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    /// The peer speaks HTTP/2.
    pub(super) fn multiplexes(&self) {
        self.multiplexed.store(true, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    /// Bytes went, or could not go.
    pub(super) fn wrote(&self, blocked: bool) {
        if !blocked {
            if self.blocked_since.swap(0, Relaxed) > 0 {
                self.unblocked_at.store(self.now(), Relaxed);
            }
        } else if self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(self.now(), Relaxed);
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.head_since.store(0, Relaxed);
        self.in_progress.fetch_add(1, Relaxed);
        self.moved_at.store(self.now(), Relaxed);
    }

    /// A piece of a reply is handed on, the first one where it has no name (zero) yet. Returns its name.
    pub(super) fn reply_moves(&self, name: u64) -> u64 {
        let (now, mut answers) = (self.now(), self.answers());
        if let Some((_, moved)) = answers.iter_mut().find(|(known, _)| *known == name) {
            *moved = now;
            return name;
        }
        let name = self.next_reply.fetch_add(1, Relaxed);
        answers.push((name, now));
        name
    }

    /// A request ends, and its reply, if it had a name.
    pub(super) fn end(&self, answer: u64) {
        if answer > 0 {
            self.answers().retain(|(name, _)| *name != answer);
        }
        self.in_progress.fetch_sub(1, Relaxed);
        self.moved_at.store(self.now(), Relaxed);
    }

    /// The friendly end begins.
    pub(super) fn retire(&self) {
        self.retired_at.store(self.now(), Relaxed);
    }

    /// Nothing more is said; the peer is to close.
    pub(super) fn linger(&self) {
        if self.lingering_since.load(Relaxed) == 0 {
            self.lingering_since.store(self.now(), Relaxed);
        }
    }

    /// It is whole after any panic.
    fn answers(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the peer has made no room for a reply; zero is never. One that takes nothing at all is another case.
    fn stalled_since(&self) -> u64 {
        if self.blocked_since.load(Relaxed) > 0 {
            return 0;
        }
        let moved = self.answers().iter().map(|(_, moved)| *moved).min();
        moved.map_or(0, |moved| moved.max(self.unblocked_at.load(Relaxed)))
    }

    /// Since when the connection waits for its peer, if it does: for a request, or for room for a reply.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let since = match self.blocked_since.load(Relaxed) {
            0 if self.in_progress.load(Relaxed) > 0 => self.stalled_since(),
            0 => self.moved_at.load(Relaxed),
            blocked => blocked,
        };
        (since > 0).then(|| self.began + Duration::from_millis(since - 1))
    }

    /// Another connection takes the place of this one.
    pub(super) fn replace(&self) {
        self.replaced.notify_one();
    }

    /// Waits until another connection takes the place of this one.
    pub(super) fn replaced(&self) -> Notified<'_> {
        self.replaced.notified()
    }

    /// What is due next, and when.
    pub(super) fn next(&self, limits: &Limits) -> (Instant, DeadlineAction) {
        let [head, blocked, retired, lingering] =
            [&self.head_since, &self.blocked_since, &self.retired_at, &self.lingering_since]
                .map(|moment| moment.load(Relaxed));
        let moved = self.moved_at.load(Relaxed);
        let busy = self.in_progress.load(Relaxed) > 0;
        let when =
            |since: u64, limit: Duration| (since > 0).then(|| Duration::from_millis(since - 1) + limit);
        let stalled = when(self.stalled_since(), limits.stalled);
        let closes = [
            stalled.filter(|_| !self.is_shared),
            when(head, limits.head),
            when(blocked, limits.blocked),
            when(retired, limits.farewell),
            when(lingering, limits.linger),
            busy.then(|| when(moved, limits.stuck)).flatten(),
        ];
        let close = closes.into_iter().flatten().min();
        let idle = if busy { None } else { when(moved, limits.idle) };
        let retires = [Some(limits.age), idle, stalled.filter(|_| self.is_shared)];
        let retire = retires.into_iter().flatten().min().filter(|_| retired == 0);
        match (close, retire) {
            (Some(close), Some(retire)) if retire < close => (self.began + retire, DeadlineAction::Retire),
            (Some(close), _) => (self.began + close, DeadlineAction::Close),
            (None, retire) => (self.began + retire.unwrap_or(limits.age), DeadlineAction::Retire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const LIMITS: Limits = Limits::with_idle(Duration::from_secs(300));

    fn next(state: &ConnectionState) -> (u64, DeadlineAction) {
        let (when, due) = state.next(&LIMITS);
        ((when - state.began).as_secs(), due)
    }

    async fn pass(seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_retires_and_a_head_must_come_quickly() {
        let state = ConnectionState::new(false);
        assert_eq!(next(&state), (300, DeadlineAction::Retire));
        pass(10).await;
        state.read();
        pass(2).await;
        state.read();
        assert_eq!(next(&state), (15, DeadlineAction::Close), "the first byte counts, not the last");
        state.begin();
        assert_eq!(next(&state), (612, DeadlineAction::Close));
        pass(3).await;
        state.end(0);
        assert_eq!(next(&state), (315, DeadlineAction::Retire));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_answer_is_cut_off() {
        let state = ConnectionState::new(false);
        state.begin();
        state.wrote(true);
        pass(7).await;
        state.wrote(true);
        assert_eq!(next(&state), (30, DeadlineAction::Close));
        state.wrote(false);
        state.wrote(true);
        assert_eq!(next(&state), (37, DeadlineAction::Close));
    }

    #[tokio::test(start_paused = true)]
    async fn no_connection_lives_for_ever() {
        let state = ConnectionState::new(false);
        for _ in 0..20 {
            pass(179).await;
            state.begin();
            state.end(0);
        }
        assert_eq!(next(&state), (3600, DeadlineAction::Retire));
        state.retire();
        assert_eq!(next(&state), (20 * 179 + 29, DeadlineAction::Close));
        state.linger();
        assert_eq!(next(&state), (20 * 179 + 1, DeadlineAction::Close));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_are_not_heads() {
        let state = ConnectionState::new(false);
        state.read();
        state.multiplexes();
        pass(1).await;
        state.read();
        assert_eq!(next(&state), (300, DeadlineAction::Retire));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_room_ends_its_connection_whatever_others_do() {
        let state = ConnectionState::new(false);
        state.begin();
        state.begin();
        let (stalled, other) = (state.reply_moves(0), state.reply_moves(0));
        for _ in 0..3 {
            pass(3).await;
            state.read();
            assert_eq!(state.reply_moves(other), other);
        }
        assert_eq!(next(&state), (10, DeadlineAction::Close));
        state.reply_moves(stalled);
        assert_eq!(next(&state), (19, DeadlineAction::Close));
        state.end(stalled);
        state.end(other);
        assert_eq!(next(&state), (309, DeadlineAction::Retire));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_nothing_at_all_has_more_time_than_one_that_makes_no_room() {
        let state = ConnectionState::new(false);
        state.begin();
        state.reply_moves(0);
        state.wrote(true);
        assert_eq!(next(&state), (30, DeadlineAction::Close));
        pass(20).await;
        state.wrote(false);
        assert_eq!(next(&state), (30, DeadlineAction::Close), "ten seconds from here");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_connection_is_retired_for_a_stalled_answer_and_finishes_the_others() {
        let state = ConnectionState::new(true);
        state.begin();
        state.reply_moves(0);
        assert_eq!(next(&state), (10, DeadlineAction::Retire));
        pass(10).await;
        state.retire();
        assert_eq!(next(&state), (39, DeadlineAction::Close));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_a_request_or_for_its_peer_to_take_an_answer() {
        let state = ConnectionState::new(false);
        let began = state.began;
        assert_eq!(state.waits_since(), Some(began));
        pass(1).await;
        state.begin();
        assert_eq!(state.waits_since(), None, "the answer is being made");
        pass(1).await;
        state.wrote(true);
        assert_eq!(state.waits_since(), Some(began + Duration::from_secs(2)));
        state.wrote(false);
        pass(1).await;
        state.end(0);
        assert_eq!(state.waits_since(), Some(began + Duration::from_secs(3)));
    }
}
