//! What happens when a process ends: decisions only, no processes.

use nix::sys::signal::Signal;
use relay_daemon::{Backoff, Exit};
use relay_proto::telemetry::Role;
use std::time::Duration;

/// A process that lived at least this long was well, and is started again at once.
const WELL: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with a code.
    Code(i32),
    /// By a fault of its own, which the kernel answered with this signal.
    Crash(i32),
    /// Killed from outside, or by the kernel because memory ran out.
    Killed,
    /// It could not even be started.
    NeverBegan,
}

/// How long to wait before a process is started again.
#[derive(Debug)]
pub(super) struct RestartPause(Backoff);

impl Default for RestartPause {
    fn default() -> Self {
        Self(Backoff::new(FIRST_PAUSE, LONGEST_PAUSE))
    }
}

impl RestartPause {
    /// The pause after a run that ended like this. Pauses double for a process that keeps ending early by
    /// its own doing, since it would spin. One that is killed from outside does not spin, however often that
    /// happens, and clients wait for it: its pause stays short.
    pub(super) fn after(&mut self, lived: Duration, end: End) -> Duration {
        if lived >= WELL {
            self.0.reset();
            return Duration::ZERO;
        }
        if end == End::Killed {
            return FIRST_PAUSE;
        }
        self.0.pause()
    }
}

/// The exit of the whole relay, when a process ended in a way that starting it again cannot fix. Clients are served
/// without federated, so its end never ends the relay.
pub(super) fn beyond_restart(role: Role, end: End, was_ready: bool) -> Option<Exit> {
    const NEVER: [Exit; 6] =
        [Exit::Config, Exit::Locked, Exit::Schema, Exit::Permission, Exit::DataMissing, Exit::Corrupt];
    let End::Code(code) = end else { return None };
    if role == Role::Federated {
        return None;
    }
    // What cannot be had when a relay first starts is most likely the operator's mistake. Later, it is most
    // likely gone for a moment.
    let at_first = (!was_ready).then_some(Exit::Unavailable);
    NEVER.into_iter().chain(at_first).find(|exit| i32::from(exit.code()) == code)
}

/// Whether this is how a process ends that was asked to. One that SIGTERM itself ended had only just begun: it
/// did not watch for signals yet, and had nothing in hand.
pub(super) fn ended_well(end: End) -> bool {
    matches!(end, End::Code(0)) || end == End::Crash(Signal::SIGTERM as i32)
}

/// How far the relay is in stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// All processes are wanted.
    Running,
    /// Gateways finish what they have; storage is still wanted for that, and federated for mail that lies with peers.
    Draining,
    /// Federated announces to peers that it leaves, and finishes in storage what it has begun with them.
    StoppingFederation,
    /// No process is wanted any more.
    Closing,
    /// There is no more time.
    Killing,
}

impl Stage {
    /// Whether a process of this role is to live.
    pub(super) fn wants(self, role: Role) -> bool {
        match self {
            Self::Running => true,
            Self::Draining => role != Role::Gateway,
            Self::StoppingFederation => role == Role::Storaged,
            Self::Closing | Self::Killing => false,
        }
    }

    /// The stage after this one, entered when every process that is not wanted has ended.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Draining => Some(Self::StoppingFederation),
            Self::StoppingFederation => Some(Self::Closing),
            Self::Running | Self::Closing | Self::Killing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Duration = Duration::from_millis(900);

    fn millis(pauses: impl IntoIterator<Item = Duration>) -> Vec<u128> {
        pauses.into_iter().map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn a_process_that_was_well_is_started_again_at_once() {
        let mut pause = RestartPause::default();
        for end in [End::Code(0), End::Code(70), End::Crash(11), End::Killed] {
            assert_eq!(pause.after(WELL, end), Duration::ZERO, "{end:?}");
        }
    }

    #[test]
    fn pauses_double_for_one_that_keeps_failing_and_are_forgotten_when_it_is_well() {
        let mut pause = RestartPause::default();
        let pauses: Vec<_> = (0..9).map(|_| pause.after(EARLY, End::Code(70))).collect();
        assert_eq!(millis(pauses), [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause.after(WELL, End::Crash(6)), Duration::ZERO);
        assert_eq!(pause.after(EARLY, End::Crash(6)), FIRST_PAUSE);
        for _ in 0..100 {
            assert!(pause.after(EARLY, End::NeverBegan) <= LONGEST_PAUSE);
        }
    }

    #[test]
    fn one_that_is_killed_every_second_is_back_every_time() {
        let mut pause = RestartPause::default();
        for _ in 0..20 {
            assert_eq!(pause.after(EARLY, End::Killed), FIRST_PAUSE);
        }
    }

    #[test]
    fn only_what_starting_again_cannot_mend_ends_the_relay() {
        for code in [78, 75, 76, 77, 66, 65] {
            let exit = beyond_restart(Role::Storaged, End::Code(code), true).unwrap();
            assert_eq!(i32::from(exit.code()), code);
        }
        for end in [End::Code(0), End::Code(1), End::Code(70), End::Code(74), End::Crash(11), End::Killed] {
            assert_eq!(beyond_restart(Role::Storaged, end, false), None, "{end:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_had_ends_the_relay_at_its_first_start_only() {
        let taken = End::Code(69);
        assert_eq!(beyond_restart(Role::Gateway, taken, false), Some(Exit::Unavailable));
        assert_eq!(beyond_restart(Role::Gateway, taken, true), None);
    }

    #[test]
    fn whatever_ends_federated_ends_nothing_else() {
        for code in 0..=255 {
            for was_ready in [false, true] {
                assert_eq!(beyond_restart(Role::Federated, End::Code(code), was_ready), None, "{code}");
            }
        }
    }

    #[test]
    fn a_process_that_had_only_just_begun_ends_well_by_the_signal_itself() {
        assert!(ended_well(End::Code(0)) && ended_well(End::Crash(15)));
        for end in [End::Code(1), End::Crash(11), End::Killed, End::NeverBegan] {
            assert!(!ended_well(end), "{end:?}");
        }
    }

    #[test]
    fn gateways_leave_first_then_federated_and_storage_last() {
        let roles = [Role::Gateway, Role::Federated, Role::Storaged];
        let mut stage = Stage::Draining;
        let mut wanted = vec![roles.map(|role| stage.wants(role))];
        while let Some(next) = stage.next() {
            stage = next;
            wanted.push(roles.map(|role| stage.wants(role)));
        }
        assert_eq!(stage, Stage::Closing);
        assert_eq!(wanted, [[false, true, true], [false, false, true], [false, false, false]]);
    }

    #[test]
    fn a_relay_that_runs_or_is_killed_goes_nowhere_by_itself() {
        assert!(Stage::Running.next().is_none() && Stage::Killing.next().is_none());
    }
}
