//! What one connection has been doing, and what that means for it. Pure bookkeeping: [`super::stream`] and
//! [`super::connection`] tell what happens, and ask what is due.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection may do what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the first byte of a request's head to its last (HTTP/1).
    pub(crate) head: Duration,
    /// Without a request.
    pub(crate) idle: Duration,
    /// With an answer that the peer does not take.
    pub(crate) blocked: Duration,
    /// With requests in progress of which none begins or ends.
    pub(crate) stuck: Duration,
    /// Altogether.
    pub(crate) age: Duration,
    /// From a friendly end to a hard one.
    pub(crate) farewell: Duration,
    /// From the last answer until the peer has closed, too.
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
pub(super) enum Due {
    /// Let it finish what is in progress, then end it.
    Retire,
    /// End it now.
    Close,
}

/// Moments are milliseconds since the connection began, and one, so that zero means never.
#[derive(Debug)]
pub(super) struct Vitals {
    began: Instant,
    /// First byte of a head that is not complete yet.
    head_since: AtomicU64,
    /// A write that the peer does not take.
    blocked_since: AtomicU64,
    /// Last begin or end of a request.
    moved_at: AtomicU64,
    /// Begin of a friendly end.
    retired_at: AtomicU64,
    /// Begin of waiting for the peer to close.
    lingering_since: AtomicU64,
    in_progress: AtomicU32,
    /// HTTP/2, where bytes are not the beginning of a head.
    multiplexed: AtomicBool,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            moved_at: AtomicU64::new(1),
            retired_at: AtomicU64::new(0),
            lingering_since: AtomicU64::new(0),
            in_progress: AtomicU32::new(0),
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
            self.blocked_since.store(0, Relaxed);
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

    /// A request ends.
    pub(super) fn end(&self) {
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

    /// What is due next, and when.
    pub(super) fn next(&self, limits: &Limits) -> (Instant, Due) {
        let [head, blocked, retired, lingering] =
            [&self.head_since, &self.blocked_since, &self.retired_at, &self.lingering_since]
                .map(|moment| moment.load(Relaxed));
        let moved = self.moved_at.load(Relaxed);
        let busy = self.in_progress.load(Relaxed) > 0;
        let when =
            |since: u64, limit: Duration| (since > 0).then(|| Duration::from_millis(since - 1) + limit);
        let closes = [
            when(head, limits.head),
            when(blocked, limits.blocked),
            when(retired, limits.farewell),
            when(lingering, limits.linger),
            busy.then(|| when(moved, limits.stuck)).flatten(),
        ];
        let close = closes.into_iter().flatten().min();
        let idle = if busy { None } else { when(moved, limits.idle) };
        let retire = if retired > 0 { None } else { Some(idle.unwrap_or(limits.age).min(limits.age)) };
        match (close, retire) {
            (Some(close), Some(retire)) if retire < close => (self.began + retire, Due::Retire),
            (Some(close), _) => (self.began + close, Due::Close),
            (None, retire) => (self.began + retire.unwrap_or(limits.age), Due::Retire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const LIMITS: Limits = Limits::with_idle(Duration::from_secs(300));

    fn next(vitals: &Vitals) -> (u64, Due) {
        let (when, due) = vitals.next(&LIMITS);
        ((when - vitals.began).as_secs(), due)
    }

    async fn pass(seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_retires_and_a_head_must_come_quickly() {
        let vitals = Vitals::new();
        assert_eq!(next(&vitals), (300, Due::Retire));
        pass(10).await;
        vitals.read();
        pass(2).await;
        vitals.read();
        assert_eq!(next(&vitals), (15, Due::Close), "the first byte counts, not the last");
        vitals.begin();
        assert_eq!(next(&vitals), (612, Due::Close));
        pass(3).await;
        vitals.end();
        assert_eq!(next(&vitals), (315, Due::Retire));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_answer_is_cut_off() {
        let vitals = Vitals::new();
        vitals.begin();
        vitals.wrote(true);
        pass(7).await;
        vitals.wrote(true);
        assert_eq!(next(&vitals), (30, Due::Close));
        vitals.wrote(false);
        vitals.wrote(true);
        assert_eq!(next(&vitals), (37, Due::Close));
    }

    #[tokio::test(start_paused = true)]
    async fn no_connection_lives_for_ever() {
        let vitals = Vitals::new();
        for _ in 0..20 {
            pass(179).await;
            vitals.begin();
            vitals.end();
        }
        assert_eq!(next(&vitals), (3600, Due::Retire));
        vitals.retire();
        assert_eq!(next(&vitals), (20 * 179 + 29, Due::Close));
        vitals.linger();
        assert_eq!(next(&vitals), (20 * 179 + 1, Due::Close));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_are_not_heads() {
        let vitals = Vitals::new();
        vitals.read();
        vitals.multiplexes();
        pass(1).await;
        vitals.read();
        assert_eq!(next(&vitals), (300, Due::Retire));
    }
}
