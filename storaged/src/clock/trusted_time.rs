//! Which time the relay goes by when the machine's clock cannot be believed. Pure: clocks go in, times come out.
//!
//! A wall clock may jump, at any moment and while the relay is off. What is deleted on the word of a clock that jumped
//! is lost, and what is stored under a clock that is behind ends too early. So the newest trusted time is remembered,
//! with the time that the relay has been up since, which no clock can falsify:
//!
//! * A wall clock more than [`STEP`] ahead of that is not trusted. The relay goes by the last trusted time and its
//!   uptime since, until the clock comes back or has been the same for [`HOLD`] of uptime, restarts included.
//! * A wall clock more than [`BEHIND`] behind the newest trusted time, or before the time this program was built, is not
//!   trusted either, and nothing is stored that has an end.
//!
//! The newest trusted time follows a trusted clock at no more than twice the speed of uptime. So a clock that is ahead by
//! less than a step for a moment (a hardware clock in local time, until the network's time arrives) does not make the
//! right time look like one that is behind.

use relay_proto::UnixSeconds;
use std::time::Duration;

/// How far ahead a clock is believed at once, in seconds.
pub(crate) const STEP: u64 = 6 * 3600;
/// How far behind the newest trusted time a clock may be, in seconds.
pub(crate) const BEHIND: u64 = 300;
/// The uptime for which a clock must have been the same to be believed.
pub(crate) const HOLD: Duration = Duration::from_secs(86_400);
/// How much a clock may have moved on over a restart and still be the same one, in seconds: the relay was off.
const OFF: u64 = 86_400;
/// What lives for minutes has an end of an hour at most. So much uptime after a clock jumped, whatever was stored before
/// the jump is over.
const MINUTES: Duration = Duration::from_secs(3600 + BEHIND);

/// Whether the wall clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockTrust {
    /// It is.
    Trusted,
    /// It is too far ahead.
    Ahead,
    /// It is behind the newest trusted time.
    Behind,
    /// It is before the time this program was built.
    BeforeBuild,
}

impl ClockTrust {
    /// Whether what has an end may be stored: a clock that is behind would end it early.
    pub(crate) const fn may_store(self) -> bool {
        matches!(self, Self::Trusted | Self::Ahead)
    }
}

/// The times of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// What the machine's clock says. Signatures are checked against it, and the key it asks for is shown.
    pub(crate) wall: UnixSeconds,
    /// The time that the relay goes by: what has ended by then is not served.
    pub(crate) now: UnixSeconds,
    /// What is written down as the time of something that happens now: never earlier than `wall` or `now`, so that
    /// nothing ends too early.
    pub(crate) stamp: UnixSeconds,
    /// What has ended by then may be deleted: never later than `wall` or `now`.
    pub(crate) deletable: UnixSeconds,
    /// The same for what lives for minutes.
    pub(crate) deletable_minutes: UnixSeconds,
}

#[cfg(test)]
impl Times {
    /// The times of a clock that is trusted.
    pub(crate) const fn trusted(wall: UnixSeconds) -> Self {
        Self { wall, now: wall, stamp: wall, deletable: wall, deletable_minutes: wall }
    }
}

/// What outlives the process, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// The newest trusted time; 0 while there is none.
    pub(crate) newest: u64,
    /// The latest that it can be without the relay having been off: the trusted time and the uptime since. 0 while there
    /// is none.
    pub(crate) running: u64,
    /// What a clock said last that is not trusted; 0 while there is none.
    pub(crate) rival: u64,
    /// For how much uptime it has been the same.
    pub(crate) held: u64,
}

/// A clock that is not trusted.
#[derive(Debug, Clone, Copy)]
struct Rival {
    /// What it should say now, if it is still the same.
    at: Duration,
    /// For how much uptime it has been the same.
    held: Duration,
}

/// The state.
#[derive(Debug)]
pub(crate) struct TrustedTime {
    built: u64,
    newest: u64,
    running: Option<Duration>,
    rival: Option<Rival>,
    /// The last look, on the monotonic clock; none since the process started.
    looked: Option<Duration>,
    standing: ClockTrust,
    wall: u64,
}

impl TrustedTime {
    /// Goes on from what is remembered. `built` is when this program was built, or 0.
    pub(crate) fn new(memory: Memory, built: UnixSeconds) -> Self {
        let Memory { newest, running, rival, held } = memory;
        let rival = Rival { at: Duration::from_secs(rival), held: Duration::from_secs(held) };
        Self {
            built: built.get(),
            newest,
            running: (running > 0).then(|| Duration::from_secs(running)),
            rival: Some(rival).filter(|rival| !rival.at.is_zero()),
            looked: None,
            standing: ClockTrust::Trusted,
            wall: 0,
        }
    }

    /// Looks at the clocks. Answers whether the wall clock is believed, and the times of this moment.
    pub(crate) fn look(&mut self, wall: UnixSeconds, monotonic: Duration) -> (ClockTrust, Times) {
        let is_first = self.looked.is_none();
        let elapsed = monotonic.saturating_sub(self.looked.unwrap_or(monotonic));
        self.looked = Some(monotonic);
        self.wall = wall.get();
        self.running = self.running.map(|running| running.saturating_add(elapsed));
        self.standing = self.judge();
        match self.standing {
            ClockTrust::Trusted => self.follow(elapsed),
            ClockTrust::BeforeBuild => self.rival = None,
            ClockTrust::Ahead | ClockTrust::Behind => self.hold(elapsed, if is_first { OFF } else { STEP }),
        }
        (self.standing, self.times())
    }

    /// Believes the wall clock from now on: the operator says so. Answers whether that can be.
    pub(crate) fn trust(&mut self) -> bool {
        let possible = self.standing != ClockTrust::BeforeBuild;
        if possible {
            self.newest = self.wall;
            self.running = Some(Duration::from_secs(self.wall));
            self.rival = None;
            self.standing = ClockTrust::Trusted;
        }
        possible
    }

    /// How far the wall clock is from the time that the relay goes by, in seconds.
    pub(crate) fn apart(&self) -> u64 {
        let known = if self.standing == ClockTrust::BeforeBuild { self.built } else { self.running() };
        if self.standing == ClockTrust::Trusted { 0 } else { self.wall.abs_diff(known) }
    }

    /// For how much uptime a clock that is not trusted has been the same.
    pub(crate) fn held(&self) -> Duration {
        self.rival.map_or(Duration::ZERO, |rival| rival.held)
    }

    /// What is to outlive the process.
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            newest: self.newest,
            running: self.running.map_or(0, |running| running.as_secs()),
            rival: self.rival.map_or(0, |rival| rival.at.as_secs()),
            held: self.held().as_secs(),
        }
    }

    fn judge(&self) -> ClockTrust {
        let is_before = |time: u64| self.wall.saturating_add(BEHIND) < time;
        match self.running {
            _ if is_before(self.built) => ClockTrust::BeforeBuild,
            _ if is_before(self.newest) => ClockTrust::Behind,
            Some(running) if self.wall > running.as_secs().saturating_add(STEP) => ClockTrust::Ahead,
            _ => ClockTrust::Trusted,
        }
    }

    /// Follows a clock that is trusted.
    fn follow(&mut self, elapsed: Duration) {
        let wall = Duration::from_secs(self.wall);
        let running = match self.running {
            Some(running) if running < wall => wall.min(running.saturating_add(elapsed)),
            Some(_) => Duration::from_secs(self.wall.max(self.newest)),
            None => wall,
        };
        self.newest = self.newest.max(self.wall.min(running.as_secs()));
        self.running = Some(running);
        self.rival = None;
    }

    /// Counts for how long a clock that is not trusted has been the same, and trusts it in the end.
    fn hold(&mut self, elapsed: Duration, ahead: u64) {
        let wall = Duration::from_secs(self.wall);
        let is_same = |rival: &Rival| {
            let expected = rival.at.saturating_add(elapsed);
            wall.saturating_add(Duration::from_secs(BEHIND)) >= expected
                && wall <= expected.saturating_add(Duration::from_secs(ahead))
        };
        let held =
            self.rival.filter(is_same).map_or(Duration::ZERO, |rival| rival.held.saturating_add(elapsed));
        self.rival = Some(Rival { at: wall, held });
        if held >= HOLD {
            self.trust();
        }
    }

    fn running(&self) -> u64 {
        self.running.map_or(self.wall, |running| running.as_secs())
    }

    fn times(&self) -> Times {
        let now =
            if self.standing == ClockTrust::Trusted { self.wall } else { self.running().max(self.newest) };
        let stamp = self.wall.max(now);
        let deletable_minutes = if self.held() >= MINUTES { stamp } else { now };
        let [wall, now, stamp, deletable, deletable_minutes] =
            [self.wall, now, stamp, self.wall.min(now), deletable_minutes].map(UnixSeconds::new);
        Times { wall, now, stamp, deletable, deletable_minutes }
    }
}

#[cfg(test)]
mod tests;
