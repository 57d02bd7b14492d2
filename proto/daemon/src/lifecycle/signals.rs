//! The signals that ask a process to stop: SIGTERM, SIGINT, SIGQUIT, and SIGHUP, which a terminal sends when it closes.

use crate::{Exit, Failure};
use std::future::ready;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a process was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// By somebody who may ask again, and then means "at once".
    Stop,
    /// By a terminal that closed. That is no reason to hurry, however often it comes.
    HangUp,
}

/// Streams of these signals.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// `None` where the process was started to outlive its terminal.
    hang_up: Option<Signal>,
}

impl StopSignals {
    /// Watches for them. To be called inside a runtime.
    ///
    /// # Errors
    /// When the system does not let this process watch signals.
    pub fn watch(hang_ups: HangUps) -> Result<Self, Failure> {
        let stream = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(Exit::Internal, format_args!("cannot watch signals: {error}")))
        };
        Ok(Self {
            terminate: stream(SignalKind::terminate())?,
            interrupt: stream(SignalKind::interrupt())?,
            quit: stream(SignalKind::quit())?,
            hang_up: match hang_ups {
                HangUps::Stop => Some(stream(SignalKind::hangup())?),
                HangUps::Ignored => None,
            },
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Request {
        let hang_up = async {
            match &mut self.hang_up {
                Some(stream) => stream.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.quit.recv() => Request::Stop,
            _ = hang_up => Request::HangUp,
        }
    }

    /// Forgets what has come and was not waited for.
    pub async fn forget(&mut self) {
        while self.has_next().await {}
    }

    async fn has_next(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.next() => true,
            () = ready(()) => false,
        }
    }
}

/// What a terminal that closes means to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUps {
    /// It stops.
    Stop,
    /// Nothing: `nohup` started it, and SIGHUP is ignored.
    Ignored,
}

impl HangUps {
    /// As whoever started this process wanted it. To be called before anything is watched or given up.
    pub fn as_started() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if ignores_hang_ups(&status) { Self::Ignored } else { Self::Stop }
    }
}

/// Reads the set of ignored signals as proc(5) writes it. SIGHUP is signal 1.
fn ignores_hang_ups(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_did_is_seen() {
        assert!(ignores_hang_ups("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hang_ups("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hang_ups(""));
    }
}
